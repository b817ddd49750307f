"""`worldline collect`: films, lists, refuses."""

import json
import sys
from pathlib import Path

import pytest

from worldline.cli import main
from worldline.envs.zoo import DOMAINS, load_domain


def test_a_small_zoo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gym_pusht", reason="the domain that is filmed here needs the extra pusht")
    options = ["--domains", "push", "--episodes", "2", "--frames", "3", "--size", "32", "--num-workers", "1", "--json"]
    assert main(["collect", "zoo", "--out", str(tmp_path), *options]) == 0
    collections = json.loads(capsys.readouterr().out)["collections"]
    assert [(one["split"], one["num_episodes"]) for one in collections] == [("train", 2), ("validation", 1), ("ood", 1)]
    for one in collections:
        assert Path(one["sheet"]).is_file()
        assert (Path(one["folders"]["32"]) / "meta" / "info.json").is_file()
        assert set(one["episodes_with"]) == set(load_domain("push").event_names)
    # What is there is not filmed again, and its events are shown again.
    assert main(["collect", "zoo", "--out", str(tmp_path), *options[:-1]]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("push: contact"))
    assert line.split()[2:] == [f"{100 * one['episodes_with']['contact'] / one['num_episodes']:.0f}" for one in collections]


def test_the_list_names_every_domain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(domain in shown for domain in DOMAINS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["push"], "--out is missing"),
        (["push", "--out", "x", "--domains", "push"], "worldline collect zoo --domains push"),
        (["atlantis", "--out", "x"], "choose one of push"),
        (["zoo", "--out", "x", "--domains", "atlantis"], "choose one of push"),
        (["push", "--out", "x", "--frames", "1"], "2 frames"),
    ],
)
def test_mistakes_are_explained(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_simulator_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht.envs.pusht", None)
    assert main(["collect", "push", "--out", str(tmp_path / "out")]) == 2
    assert 'pip install "worldline[pusht]"' in capsys.readouterr().err
