"""A folder of videos, with or without labels beside them.

Labels are a CSV file with the video's name (`drive_007.mp4`, `drive_007.csv`), a header, and one row per frame.

May import: interfaces, data.decode, data.report. Refuses to know: data set formats, training.
"""

import csv
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from worldline.data.decode import VideoError, read_video_indexed
from worldline.data.pixels import Fit, Size
from worldline.data.report import ReadReport
from worldline.interfaces import Clip

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".webm", ".mov")


def find_videos(folder: str | Path) -> list[Path]:
    """Every video under `folder`, sorted by path.

    Raises:
        FileNotFoundError: if there is no such folder, or no video in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the folder that holds your videos")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    if not paths:
        raise FileNotFoundError(f"{folder}: no {', '.join(VIDEO_SUFFIXES)} files in it or below it")
    return paths


def read_folder(
    folder: str | Path,
    *,
    size: Size,
    rate_hz: float | None = None,
    fit: Fit = "stretch",
    max_frames: int | None = None,
    action_columns: Sequence[str] = (),
    source_of: Callable[[Path], str] | None = None,
    report: ReadReport | None = None,
) -> Iterator[Clip]:
    """Read every video under `folder`, one clip each, in order of path; unreadable files are skipped, counted and logged.

    Args:
        folder: searched with its sub-folders.
        size: height and width of all clips, in pixels.
        rate_hz: frames per second of all clips; each file's own when None. A clip that drops frames keeps the actions recorded
            at the frames that it keeps, which is right for actions that are held, such as steering.
        fit: see `read_video`.
        max_frames: longest clip; the rest of a longer video is not read.
        action_columns: columns of the CSV files that make up an action, in this order. A video without a CSV file is unlabelled;
            one whose CSV file lacks a column, a number or a row is skipped, because misaligned labels do harm unseen.
        source_of: path -> `Clip.source`, by which training and held-out sets are split; the path below `folder` when None.
        report: filled while the clips are consumed.

    Raises:
        FileNotFoundError: if there is no such folder, or no video in it.
        VideoError: after the last file, if none could be read.
    """
    folder = Path(folder)
    paths = find_videos(folder)
    report = ReadReport() if report is None else report
    for path in paths:
        try:
            clip, indices = read_video_indexed(path, size=size, fit=fit, rate_hz=rate_hz, max_frames=max_frames)
            labels = path.with_suffix(".csv")
            actions = read_columns(labels, action_columns) if action_columns and labels.is_file() else None
            if actions is not None and len(actions) <= int(indices[-1]):
                raise LabelError(f"{labels}: {len(actions)} rows for at least {int(indices[-1]) + 1} frames; give one row per frame")
        except (VideoError, LabelError) as error:
            report.skipped[str(path.relative_to(folder))] = str(error)
            logger.warning("skipped: %s", error)
            continue
        source = source_of(path) if source_of else path.relative_to(folder).with_suffix("").as_posix()
        report.num_clips += 1
        yield dataclasses.replace(clip, source=source, actions=None if actions is None else actions[indices])
    logger.info("%s: %s", folder, report)
    if report.num_clips == 0:
        raise VideoError(f"{folder}: none of its videos could be read: {report}")


_LARGEST = torch.finfo(torch.float32).max


class LabelError(ValueError):
    """A file of labels that does not hold what was asked of it; the message says where."""


def read_columns(path: str | Path, columns: Sequence[str]) -> Tensor:
    """The named columns of a CSV file with a header, (rows, len(columns)) float32.

    Raises:
        LabelError: if the file is not CSV text, lacks a column, or holds something else than a finite number.
    """
    path = Path(path)
    rows: list[list[float]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            names = next(reader, [])
            missing = [column for column in columns if column not in names]
            if missing:
                raise LabelError(f"{path}: no column {', '.join(missing)}; it has {', '.join(names or ('none',))}")
            places, num_blank = [names.index(column) for column in columns], 0
            for number, row in enumerate(reader):
                if not row:
                    num_blank += 1
                    continue
                if num_blank and len(names) == 1:  # an empty cell, of which only one at the end is none
                    raise LabelError(f"{path}: a blank line before row {number}; every frame needs a row")
                values = [float(row[place] or "nan") if place < len(row) else math.nan for place in places]
                if not all(abs(value) <= _LARGEST for value in values):
                    raise LabelError(f"{path}: row {number} holds {values} for {', '.join(columns)}; every frame needs finite numbers")
                rows.append(values)
    except LabelError:
        raise
    except (OSError, csv.Error, ValueError) as error:
        raise LabelError(f"{path}: not readable as CSV ({error})") from error
    return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(columns))
