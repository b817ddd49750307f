"""`worldline eval` from end to end, on a world of random weights."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from worldline.cli import eval_arguments, main
from worldline.data import EpisodeStore
from worldline.envs.pusht import pusht_action_spec
from worldline.eval.suites.control import PLANNERS, POLICIES, TASKS
from worldline.interfaces import Clip

STATES = ("agent_x", "agent_y", "agent_angle")
SMALL = ["--windows", "6", "--seeds", "2", "--samples", "2", "--long-rollouts", "2", "--state-names", *STATES]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve episodes of a square that goes where the action says, at the world's 5 Hz."""
    clips = []
    for index in range(12):
        targets = torch.rand(24, 2) * 512
        places = targets.roll(1, 0)
        frames = torch.full((24, 3, 32, 32), 200, dtype=torch.uint8)
        for time, (x, y) in enumerate((places / 512 * 24).long().tolist()):
            frames[time, :, y : y + 8, x : x + 8] = 30
        angle = torch.linspace(0, 2, 24)[:, None]
        states = torch.cat([places, angle], dim=1)
        clips.append(Clip(frames=frames, rate_hz=5.0, source=f"square_{index}", actions=targets, states=states))
    folder = tmp_path_factory.mktemp("squares") / "store"
    EpisodeStore.build(folder, clips, action_spec=pusht_action_spec())
    return folder


def measured(capsys: pytest.CaptureFixture[str], words: list[str]) -> dict[str, Any]:
    assert main(["eval", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def figures_of(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(suite, figure["name"]): figure for suite, content in report["suites"].items() for figure in content["figures"]}


def test_all_suites_are_measured_twice_alike(world_folder: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(world_folder), "--data", str(store), *SMALL]
    report = measured(capsys, [*words, "--out", str(tmp_path / "one")])
    again = measured(capsys, [*words, "--out", str(tmp_path / "two"), "--batch-size", "5"])
    assert set(report["suites"]) == {"video", "honesty", "physics", "in-context"}
    first, second = figures_of(report), figures_of(again)
    assert first.keys() == second.keys()
    compared = 0
    for key, figure in first.items():
        assert figure["command"].startswith("worldline eval ")
        if figure["interval"] is not None and None not in figure["interval"] and figure["value"] is not None:
            low, high = figure["interval"]
            assert low - 1e-4 <= second[key]["value"] <= high + 1e-4, key
            assert second[key]["value"] == pytest.approx(figure["value"], rel=1e-3, abs=1e-4), key
            compared += 1
    assert compared > 30
    assert ("honesty", "collapsed 128-frame rollouts") in first
    assert ("physics", "probe r of agent_x") in first
    assert "no physical attribute" in str(report["suites"]["in-context"]["not_measured"])
    assert json.loads((tmp_path / "one" / "figures.json").read_text())["num_episodes"] == 12
    page = (tmp_path / "one" / "index.html").read_text()
    assert page.count('src="data:video/mp4;base64,') == 4
    assert "<script" not in page
    assert "://" not in page.replace("http-equiv", "")


def test_one_suite_is_measured_as_text_and_its_command_repeats_it(
    world_folder: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", str(world_folder), "--data", str(store), "--suite", "video", "--windows", "6", "--seeds", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "PSNR at frame 16" in shown
    assert "copy last frame" in shown
    assert "not measured: 32 frames: needs episodes of 4 + 32 frames" in shown
    command = next(line for line in shown.splitlines() if line.startswith("again: ")).removeprefix("again: worldline ").split()
    value = next(line for line in shown.splitlines() if line.startswith("PSNR at frame 16"))
    assert main(command) == 0
    assert value in capsys.readouterr().out


def test_the_run_that_a_world_is_from_says_what_it_held_out(
    world_folder: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "data").symlink_to(store)
    (run / "world").symlink_to(world_folder)
    (run / "figures.json").write_text(json.dumps({"held_out": {"sources": ["square_0", "square_4", "square_7"]}}))
    words = [str(run), "--suite", "video", "--windows", "3", "--seeds", "1", "--out", str(tmp_path / "eval")]
    report = measured(capsys, words)
    assert report["num_episodes"] == 3
    assert "held out" in report["data"][0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --data"),
        (["--data", "no/such/folder"], "neither a store (store.json) nor a LeRobotDataset"),
        (["--data", "STORE", "--windows", "1"], "at least 2"),
        (["--data", "STORE", "--sources", "nobody"], "has no source nobody"),
        (["--data", "STORE", "--state-names", "x", "y"], "2 state names for states of [3] components"),
        (["--data", "STORE", "--num-steps", "3"], "power of two"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    options: list[str], said: str, world_folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(store) if option == "STORE" else option for option in options]
    assert main(["eval", str(world_folder), *options]) == 2
    assert said in capsys.readouterr().err


CONTROL = ["--suite", "control", "--environments", "pusht", "--pairs", "1", "--seeds", "1", "--offsets", "6", "--budgets", "40"]


@pytest.mark.parametrize("word", ["WORLD", "simulator"])
def test_control_is_measured_in_a_world_and_in_the_simulator(
    word: str, world_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A world of random weights, at 5 Hz, acts in Push-T at 10 Hz; the page shows what it imagined beside what happened."""
    words = [str(world_folder) if word == "WORLD" else word, *CONTROL, "--prompt-frames", "2", "--out", str(tmp_path)]
    words += ["--in-simulator"] if word == "simulator" else []
    report = measured(capsys, words)
    command = shlex.split(report["suites"]["control"]["command"])
    assert measured(capsys, command[2:])["suites"]["control"]["figures"] == report["suites"]["control"]["figures"]
    names = [figure["name"] for figure in report["suites"]["control"]["figures"]]
    assert any(name.endswith("cem, 40 frame evaluations: success") for name in names)
    assert any("gradient cosine" in name for name in names) == (word == "WORLD")
    assert report["control_plan"]["num_pairs"] == 1
    assert report["num_episodes"] == 0
    assert (tmp_path / "index.html").read_text().count('src="data:video/mp4;base64,') == 1
    assert len((tmp_path / "control" / "attempts.jsonl").read_text().splitlines()) == 1


def test_only_control_can_be_measured_in_the_simulator(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "simulator", "--suite", "video"]) == 2
    assert "of which only --suite control" in capsys.readouterr().err


def test_the_words_are_those_of_the_suite() -> None:
    assert set(get_args(eval_arguments.Environment)) == set(TASKS)
    assert set(get_args(eval_arguments.Planner)) == {*PLANNERS, *POLICIES}


def test_each_of_two_runs_says_what_it_held_out(
    world_folder: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, kept in (("one", "square_3"), ("two", "square_5")):
        shutil.copytree(store, tmp_path / name / "data")
        (tmp_path / name / "figures.json").write_text(json.dumps({"held_out": {"sources": [kept]}}))
    words = [str(world_folder), "--data", *(str(tmp_path / name / "data") for name in ("one", "two")), "--suite", "video", *SMALL]
    report = measured(capsys, [*words, "--out", str(tmp_path / "page")])
    assert report["num_episodes"] == 2
    assert all("held out" in text for text in report["data"])


def test_the_data_of_a_run_that_has_not_ended_is_refused(
    world_folder: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(store, tmp_path / "run" / "data")
    (tmp_path / "run" / "command.json").write_text("{}")
    words = [str(world_folder), "--data", str(tmp_path / "run" / "data"), "--suite", "video", *SMALL, "--out", str(tmp_path / "page")]
    assert main(["eval", *words]) == 2
    assert "what it held out is unknown" in capsys.readouterr().err
    assert main(["eval", *words, "--sources", "square_1", "square_2"]) == 0


def test_video_in_which_nothing_moves_is_measured_to_the_page(
    world_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = [torch.full((24, 3, 32, 32), 40 * index + 20, dtype=torch.uint8) for index in range(4)]
    clips = [Clip(frames=film, rate_hz=5.0, source=str(index)) for index, film in enumerate(films)]
    EpisodeStore.build(tmp_path / "still", clips, action_spec=None)
    words = [str(world_folder), "--data", str(tmp_path / "still"), *SMALL[:8], "--out", str(tmp_path / "page")]
    report = measured(capsys, words)
    assert (tmp_path / "page" / "index.html").is_file()
    gain = figures_of(report)["video", "gain over copy last frame at frame 1"]
    assert gain["interval"] is None
    assert main(["eval", *words, "--prompt-frames", "1"]) == 0


def test_one_episode_says_nothing_of_others(world_folder: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(world_folder), "--data", str(store), "--sources", "square_1", "--suite", "video", *SMALL, "--out", str(tmp_path)]
    report = measured(capsys, words)
    gain = figures_of(report)["video", "gain over copy last frame at frame 1"]
    assert gain["interval"] is None
    assert gain["num_windows"] > 1
    assert "random frame" not in figures_of(report)["video", "PSNR at frame 1"]["floors"], "another frame of one episode is no floor"


def test_where_nothing_could_be_measured_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise ImportError('two_room needs stable-worldmodel: pip install "it"')

    monkeypatch.setitem(TASKS, "two_room", replace(TASKS["two_room"], make=missing))
    words = [
        "eval",
        "simulator",
        "--suite",
        "control",
        "--environments",
        "two_room",
        "--pairs",
        "1",
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "nothing was measured" in error
    assert "stable-worldmodel" in error
    assert (tmp_path / "index.html").is_file()


def test_a_world_of_many_domains_is_measured_in_that_of_the_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--pairs", "1", "--seeds", "1", "--offsets", "6", "--budgets", "40", "--out", str(tmp_path)]
    report = measured(capsys, ["tiny", "--suite", "control", "--environments", "push", *small])
    assert report["suites"]["control"]["figures"]
    assert main(["eval", "tiny", "--suite", "control", "--environments", "pusht", *small]) == 2
    assert "say with --domain" in capsys.readouterr().err
