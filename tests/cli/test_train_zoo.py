"""`worldline train zoo` and what the other commands make of a world of several domains."""

import json
from pathlib import Path

import pytest
import torch

from worldline.cli import main
from worldline.data import write_lerobot
from worldline.interfaces import Clip
from worldline.world import World


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains, one without actions: squares that go right."""
    folder = tmp_path_factory.mktemp("zoo")
    for domain, dim in (("arm", 1), ("film", 0)):
        for split, count in (("train", 3), ("validation", 10), ("ood", 2)):
            clips = []
            for index in range(count):
                frames = torch.full((24, 3, 16, 16), 60, dtype=torch.uint8)
                for time in range(24):
                    frames[time, :, 4:8, (time + index) % 12 : (time + index) % 12 + 4] = 230
                actions = torch.rand(24, 1) if dim else None
                facts = {"domain": domain, "split": split}
                clips.append(Clip(frames=frames, rate_hz=10.0, source=f"{domain}/{split}/{index}", actions=actions, facts=facts))
            (folder / domain).mkdir(exist_ok=True)
            write_lerobot(folder / domain / split, clips)
    return folder


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["train", "zoo", "--data", str(data), "--out", str(out), "--size", "nano", "--image-size", "16", "--steps", "2", "2", *more]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "zoo"
    assert main(command(data, out)) == 0
    return out


def test_the_table_has_every_domain_and_split(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, run)) == 0
    shown = capsys.readouterr().out
    assert "FLOPs in all" in shown
    rows = [line.split()[:2] for line in shown.splitlines() if line.startswith(("arm", "film"))]
    assert rows == [["arm", "validation"], ["arm", "ood"], ["film", "validation"], ["film", "ood"]]
    assert shown.count("no actions") == 2
    assert main(command(data, run, "--json")) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "figures.json").read_text())


def test_other_options_are_another_run(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, run, "--only", "arm")) == 2
    assert "only was [] and is ['arm']" in capsys.readouterr().err


def test_a_run_is_evaluated_by_domain_on_what_it_held_out(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(run), "--suite", "video", "--windows", "4", "--seeds", "1", "--prompt-frames", "2", "--json"]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "choose one with --domain: arm, film" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path), "--domain", "arm"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_episodes"] == 12
    assert any("validation" in one for one in report["data"])
    assert any(figure["name"].startswith("out of distribution") for figure in report["suites"]["video"]["figures"])


def test_the_domain_follows_from_the_data(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(run), "--suite", "video", "--windows", "2", "--seeds", "1", "--prompt-frames", "2", "--out", str(tmp_path)]
    assert main([*words, "--data", str(data / "film" / "ood"), "--json"]) == 0
    capsys.readouterr()
    assert main([*words, "--data", str(data / "film" / "ood"), str(data / "arm" / "ood")]) == 2
    assert "choose with --domain: arm, film" in capsys.readouterr().err


def test_labels_on_a_share_are_noted_on_the_card(data: Path, tmp_path: Path) -> None:
    assert main(command(data, tmp_path / "run", "--only", "arm", "--label-share", "0.4")) == 0
    world = World.load(tmp_path / "run" / "world")
    assert world.config.provenance["share of episodes with action labels"] == 0.4


def test_a_domain_may_be_drawn_more_often(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, tmp_path / "run", "--shares", "film", "3")) == 0
    assert World.load(tmp_path / "run" / "world").config.provenance["shares of the windows, where not 1"] == {"film": 3.0}
    capsys.readouterr()
    assert main(command(data, tmp_path / "run")) == 2
    assert "shares was {'film': 3.0} and is {}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zoo"], "reads --data"),
        (["balls"], "reads --data"),
        (["zoo", "--data", "{missing}"], "no such folder"),
        (["zoo", "--data", "{data}", "--only", "push"], "has no push with a training set"),
        (["zoo", "--data", "{data}", "--shares", "push", "3"], "shares are given for ['push']"),
        (["zoo", "--data", "{data}", "--shares", "arm", "-1"], "give positive numbers"),
        (["balls", "--data", "{data}"], "has no balls with a training set"),
        (["push", "--data", "{data}"], "belong to the recipes zoo and balls"),
        (["zoo", "--data", "{data}", "--label-share", "2"], "from 0 to 1"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    words: list[str], said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"missing": tmp_path / "missing", "data": data}
    assert main(["train", *(word.format(**known) for word in words), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
