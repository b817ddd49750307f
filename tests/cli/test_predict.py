import json
from pathlib import Path

import pytest

from worldline.cli import main
from worldline.data import read_video


def test_predict_writes_a_film_and_says_how_far_off_it_is(
    world_folder: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "future.mp4"
    status = main(
        ["predict", str(videos / "square_0.mp4"), "--world", str(world_folder), "--out", str(out), "--seconds", "1", "--samples", "2"]
    )
    shown = capsys.readouterr().out
    assert status == 0
    assert "36 x 24 pixels, seen by the world as 32 x 32, stretched" in shown
    assert "actions: unknown" in shown
    assert shown.count(" s  ") == 5  # a row per predicted frame at 5 Hz
    clip = read_video(out)
    assert len(clip) == 8 + 5
    assert clip.rate_hz == 5
    assert clip.frames.shape[-1] == 4 * 192 + 3 * 4  # truth, two futures and the error, with gaps


def test_predict_prints_json(world_folder: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "predict",
        str(videos / "square_1.mp4"),
        "--world",
        str(world_folder),
        "--out",
        str(tmp_path / "f.mp4"),
        "--fit",
        "pad",
        "--json",
    ]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["fit"] == "pad"
    assert figures["source_size"] == [24, 36]
    assert len(figures["psnr_db"]) == figures["known_frames"] == figures["predicted_frames"] == 10


def test_a_video_that_ends_with_the_prompt_has_no_error(
    world_folder: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "predict",
        str(videos / "square_0.mp4"),
        "--world",
        str(world_folder),
        "--out",
        str(tmp_path / "f.mp4"),
        "--prompt-frames",
        "20",
    ]
    assert main(words) == 0
    assert "no truth to compare with" in capsys.readouterr().out
