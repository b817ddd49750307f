import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldline.data import ReadReport, VideoError, find_videos, read_folder, write_video
from worldline.data.folder import LabelError, read_columns


@pytest.fixture
def folder(tmp_path: Path, square_frames: Tensor) -> Path:
    """Two readable videos, one of them labelled, and three that are not."""
    (tmp_path / "site_a").mkdir()
    (tmp_path / "site_b").mkdir()
    write_video(tmp_path / "site_b" / "labelled.mp4", square_frames, 10)
    write_labels(tmp_path / "site_b" / "labelled.csv", [[t, t / 100, -t] for t in range(20)])
    write_video(tmp_path / "site_a" / "plain.mp4", square_frames[:8], 10)
    (tmp_path / "empty.mkv").touch()
    (tmp_path / "text.AVI").write_text("no video")
    (tmp_path / "notes.txt").write_text("not even called a video")
    return tmp_path


def write_labels(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["frame", "steering", "throttle"], *rows])


def test_find_videos_is_sorted_and_goes_by_suffix(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in find_videos(folder)]
    assert names == ["empty.mkv", "site_a/plain.mp4", "site_b/labelled.mp4", "text.AVI"]


def test_nothing_to_find_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_videos(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"no \.mp4, \.mkv"):
        find_videos(tmp_path)


def test_broken_files_are_skipped_and_counted(folder: Path) -> None:
    report = ReadReport()
    clips = list(read_folder(folder, size=16, report=report))
    assert [clip.source for clip in clips] == ["site_a/plain", "site_b/labelled"]
    assert [clip.actions for clip in clips] == [None, None]
    assert report.num_clips == 2
    assert set(report.skipped) == {"empty.mkv", "text.AVI"}
    assert "the file is empty" in report.skipped["empty.mkv"]
    assert str(report).startswith("2 clips read, 2 skipped")


def test_labels_follow_the_frames_through_a_change_of_rate(folder: Path) -> None:
    plain, labelled = read_folder(folder, size=16, rate_hz=5, action_columns=("throttle", "steering"))
    assert plain.actions is None
    assert labelled.actions is not None
    kept = torch.arange(0, 20, 2)
    assert torch.equal(labelled.actions, torch.stack([-kept, kept / 100], 1))


def test_sources_can_be_named(folder: Path) -> None:
    sources = [clip.source for clip in read_folder(folder, size=16, source_of=lambda path: path.parent.name)]
    assert sources == ["site_a", "site_b"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[t, 0, 0] for t in range(19)], "19 rows for at least 20 frames"),
        ([[t, 0, "nan"] for t in range(20)], "every frame needs finite numbers"),
        ([[t, 0, "fast"] for t in range(20)], "not readable as CSV"),
        ([[t, 0] for t in range(20)], "every frame needs finite numbers"),
    ],
)
def test_misaligned_labels_are_skipped_with_the_reason(folder: Path, rows: Sequence[Sequence[object]], reason: str) -> None:
    write_labels(folder / "site_b" / "labelled.csv", rows)
    report = ReadReport()
    assert len(list(read_folder(folder, size=16, action_columns=("steering", "throttle"), report=report))) == 1
    assert reason in report.skipped["site_b/labelled.mp4"]


def test_a_missing_column_names_those_that_exist(folder: Path) -> None:
    with pytest.raises(LabelError, match="no column brake; it has frame, steering, throttle"):
        read_columns(folder / "site_b" / "labelled.csv", ["steering", "brake"])


def test_a_folder_of_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="none of its videos could be read"):
        list(read_folder(tmp_path, size=16))
