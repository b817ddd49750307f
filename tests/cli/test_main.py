"""The front door: help that teaches, errors that say what to do, JSON that parses."""

import sys
from pathlib import Path
from typing import get_args

import pytest

from worldline.cli import arguments, main, train_arguments
from worldline.data import Fit
from worldline.dynamics import Size
from worldline.envs.pusht import PolicyName

COMMANDS = ("demo", "train", "predict", "eval", "plan", "collect", "bench", "doctor")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_an_example_and_what_is_written(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert stopped.value.code == 0
    assert f"worldline {command}" in shown.split("Example:")[1]
    assert "Writes:" in shown
    assert "--json" in shown


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_the_help_lists_all_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    shown = capsys.readouterr().out
    assert stopped.value.code == 0
    assert all(f"• {command} " in shown for command in COMMANDS)


@pytest.mark.parametrize(
    "words", [["dance"], ["--json", "doctor"], ["predict"], ["bench", "swim"], ["predict", "a.mp4", "--world", "w", "--samples", "x"]]
)
def test_words_that_do_not_parse_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert capsys.readouterr().err


def test_the_words_are_those_of_the_library() -> None:
    assert get_args(arguments.Fit) == get_args(Fit)
    assert get_args(arguments.Size) == get_args(Size)
    assert set(get_args(train_arguments.Policy)) < set(get_args(PolicyName))


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said on stderr by a command that must refuse: one line, no traceback, nothing on stdout."""
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    message = shown.err.strip().splitlines()[-1]
    assert message.startswith("worldline: ")
    assert "Traceback" not in shown.err
    return message


def test_a_missing_video_is_named(world_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(tmp_path / "no.mp4"), "--world", str(world_folder), "--out", str(tmp_path / "f.mp4")]
    assert f"{tmp_path / 'no.mp4'}: no such file" in refusal(words, capsys)


def test_a_corrupt_video_is_refused(world_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "broken.mp4"
    video.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 20)
    words = ["predict", str(video), "--world", str(world_folder), "--out", str(tmp_path / "f.mp4")]
    assert "not readable as video" in refusal(words, capsys)
    assert not (tmp_path / "f.mp4").exists()


@pytest.mark.parametrize("content", [None, "{}", '{"format": "something-else"}', "not json"])
def test_a_folder_without_a_world_is_refused(content: str | None, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    if content is not None:
        (folder / "config.json").write_text(content)
        (folder / "model.safetensors").write_bytes(b"")
    words = ["predict", str(videos / "square_0.mp4"), "--world", str(folder), "--out", str(tmp_path / "f.mp4")]
    assert str(folder) in refusal(words, capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "future.gif"], "ends in .mp4"),
        (["--frames", "0"], "at least one frame"),
        (["--frames", "3", "--seconds", "1"], "one of the two"),
        (["--prompt-frames", "1000"], "not enough for a prompt of 1000"),
        (["--samples", "0"], "at least 1"),
        (["--num-steps", "3"], "power of two"),
        (["--actions", "missing.csv"], "missing.csv"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], said: str, world_folder: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(["predict", str(videos / "square_0.mp4"), "--world", str(world_folder), *options], capsys)


def test_actions_that_are_not_numbers_are_refused(
    world_folder: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actions = tmp_path / "actions.csv"
    actions.write_text("target_x,target_y\n" + "1,2\n" * 5 + "nan,2\n" + "1,2\n" * 60)
    words = [
        "predict",
        str(videos / "square_0.mp4"),
        "--world",
        str(world_folder),
        "--actions",
        str(actions),
        "--out",
        str(tmp_path / "f.mp4"),
    ]
    assert "row 5" in refusal(words, capsys)


def test_a_missing_extra_is_named(
    world_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht.envs.pusht", None)
    assert 'pip install "worldline[pusht]"' in refusal(["plan", "--world", str(world_folder), "--out", str(tmp_path / "p.mp4")], capsys)


def test_the_demo_looks_at_the_video_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in refusal(["demo", "--out", str(tmp_path / "demo"), "--video", str(tmp_path / "no.mp4")], capsys)


def test_tracebacks_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLINE_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        main(["predict", "no.mp4", "--world", "no world", "--out", str(tmp_path / "f.mp4")])
