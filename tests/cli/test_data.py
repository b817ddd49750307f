import json
from pathlib import Path

import pytest
import torch

from worldline.cli import main


def test_show_sheet_and_stats_of_a_folder_of_videos(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(videos)]) == 0
    shown = capsys.readouterr().out
    assert "120; 40 to 40 per episode" in shown
    assert "24 x 36 @ 10 Hz: 3 episodes" in shown
    assert main(["data", "sheet", str(videos), "--out", str(tmp_path / "sheet.png"), "--num-clips", "2", "--json"]) == 0
    assert [row["source"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["square_0", "square_1"]
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert main(["data", "stats", str(videos)]) == 0
    assert "no actions: a world of this data set cannot be steered" in capsys.readouterr().out


def test_stats_draws_the_lags(tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        (tmp_path / f"{number}.mp4").write_bytes((videos / "square_0.mp4").read_bytes())
        rows = [f"{turn:.3f},0" for turn in torch.randn(40).tolist()]
        (tmp_path / f"{number}.csv").write_text("\n".join(["turn,brake", *rows]))
    assert main(["data", "stats", str(tmp_path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["is_misaligned"] is False
    assert [component["is_constant"] for component in figures["components"]] == [False, True]
    assert main(["data", "stats", str(tmp_path)]) == 0
    assert "brake: constant at 0" in capsys.readouterr().out


def test_mistakes_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err
