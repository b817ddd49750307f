"""LeRobotDataset out: clips become a v3.0 data set that the lerobot package loads as its own.

    meta/, data/chunk-000/file-000.parquet       the tables, see `lerobot_tables`
    videos/<camera>/chunk-000/file-000.mp4       the frames of the same episodes, one after the other

A new pair of data and video file is begun when one of them has grown large.

May import: interfaces, data.encode, data.lerobot_layout, data.lerobot_tables, data.pixels. Refuses to know: the lerobot package, parquet.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldline.data.encode import VideoWriter
from worldline.data.lerobot_layout import ACTION, OWN_COLUMNS, REWARD, STATE
from worldline.data.lerobot_tables import DATA_FILE_MEGABYTES, VIDEO_FILE_MEGABYTES, Episode, TableWriter, file_name
from worldline.data.pixels import to_float
from worldline.interfaces import Clip

KEYFRAME_INTERVAL = 2  # LeRobot reads single frames at random; each costs at most two decodes.


def write_lerobot(
    root: str | Path,
    clips: Iterable[Clip],
    *,
    camera: str = "observation.image",
    robot_type: str | None = None,
    action_names: Sequence[str] = (),
) -> None:
    """Write `clips` as a LeRobotDataset v3.0 at `root`, one episode each; it appears when the last one is written.

    Actions become `action`, states `observation.state`, rewards `next.reward` (one frame earlier, since LeRobot notes what an
    action earned; the last one is repeated), text the episode's task, further labels columns of their names, facts and the source
    columns of the table of episodes. Labels are kept exactly (as float32, int64 or bool); frames pass through H.264, and odd sizes
    gain a row or column (see `VideoWriter`).

    Args:
        root: must not exist.
        clips: of one rate, one frame size, and with the same kinds of labels.
        camera: the name of the video feature.
        robot_type: noted in the data set's description.
        action_names: one name per action component, or none.

    Raises:
        FileExistsError: if `root` exists.
        ValueError: if there are no clips, or they differ where a data set needs them alike; nothing is left behind.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root} exists; remove it or write the data set elsewhere")
    if "/" in camera or not camera:
        raise ValueError(f"camera is {camera!r}; the name of a feature must not be empty or hold a slash")
    partial = root.with_name(f".{root.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with ExitStack() as open_files:
            writer = _DatasetWriter(partial, camera, open_files)
            for clip in clips:
                writer.add(clip)
        writer.write_meta(robot_type, tuple(action_names))
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _DatasetWriter:
    """A data set that is being written: the open video, and the tables."""

    def __init__(self, root: Path, camera: str, open_files: ExitStack) -> None:
        self._root = root
        self._camera = camera
        self._open_files = open_files
        self._first: Clip | None = None
        self._tables: TableWriter | None = None
        self._video: VideoWriter | None = None
        self._num_files = 0

    def add(self, clip: Clip) -> None:
        self._first = self._first or clip
        _check_alike(self._first, clip)
        video, tables = self._files_with_room(clip)
        from_frame = video.num_frames
        video.write(clip.frames)
        episode = Episode(
            num_frames=len(clip),
            source=clip.source,
            task=clip.text or "",
            columns=_columns_of(clip),
            facts=clip.facts,
            pixels=_sample_pixels(clip),
        )
        tables.add(episode, data_file=self._num_files - 1, video_file=self._num_files - 1, from_frame=from_frame)

    def write_meta(self, robot_type: str | None, action_names: tuple[str, ...]) -> None:
        if self._tables is None:
            raise ValueError("no clips to write a data set from")
        self._tables.write_meta(robot_type, action_names)

    def _files_with_room(self, clip: Clip) -> tuple[VideoWriter, TableWriter]:
        if self._video is not None and self._tables is not None:
            if self._video.num_bytes / 2**20 < VIDEO_FILE_MEGABYTES and self._tables.data_megabytes < DATA_FILE_MEGABYTES:
                return self._video, self._tables
            self._open_files.close()
        if self._tables is None:
            height, width = (side + side % 2 for side in clip.frames.shape[-2:])
            self._tables = TableWriter(self._root, self._camera, clip.rate_hz, (height, width))
        path = self._root / "videos" / self._camera / f"{file_name(self._num_files)}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._video = self._open_files.enter_context(VideoWriter(path, rate_hz=clip.rate_hz, keyframe_interval=KEYFRAME_INTERVAL))
        self._open_files.callback(self._tables.close)
        self._num_files += 1
        return self._video, self._tables


def _check_alike(first: Clip, clip: Clip) -> None:
    """A data set has one rate, one frame size and one set of features."""

    def description(of: Clip) -> dict[str, object]:
        labels = {"action": of.actions, "observation.state": of.states, "next.reward": of.rewards, **of.labels}
        widths = {name: (values.shape[1:], values.is_floating_point()) for name, values in labels.items() if values is not None}
        return {"rate_hz": of.rate_hz, "frames": tuple(of.frames.shape[1:]), **widths}

    if len(clip) == 0:
        raise ValueError(f"{clip.source}: a clip without frames")
    expected, found = description(first), description(clip)
    names = dict.fromkeys([*expected, *found])
    different = [f"{name} {found.get(name)} instead of {expected.get(name)}" for name in names if found.get(name) != expected.get(name)]
    if different:
        raise ValueError(f"{clip.source}: {', '.join(different)}; all clips of a data set need the same")


def _sample_pixels(clip: Clip, max_frames: int = 8, max_side: int = 16) -> np.ndarray:
    """(N, P, 3) pixels in [0, 1], spread evenly over the clip: enough for a channel's statistics."""
    frames = clip.frames
    for dim, most in ((0, max_frames), (2, max_side), (3, max_side)):
        length = frames.shape[dim]
        frames = frames.index_select(dim, torch.linspace(0, length - 1, min(length, most)).round().long())
    return to_float(frames).flatten(2).transpose(1, 2).numpy()


def _columns_of(clip: Clip) -> dict[str, np.ndarray]:
    """The labels of a clip as LeRobot's columns; see `Episode.columns`.

    Raises:
        ValueError: if a label has the name of a column that the format itself defines.
    """
    # LeRobot notes what an action earned, a clip what arriving at a frame earned; the last one is repeated.
    rewards = None if clip.rewards is None else torch.cat([clip.rewards[1:], clip.rewards[-1:]])
    columns = {ACTION: clip.actions, STATE: clip.states, REWARD: rewards}
    taken = sorted({*OWN_COLUMNS, *columns} & clip.labels.keys())
    if taken:
        raise ValueError(f"{clip.source}: labels called {', '.join(taken)}; the format uses these names, choose others")
    found = {name: _array(values.to(torch.float32)) for name, values in columns.items() if values is not None}
    return found | {name: _array(values) for name, values in clip.labels.items()}


def _array(values: Tensor) -> np.ndarray:
    """A label as an array; numbers as the format's kinds of them, and one component as plain numbers, as LeRobot stores it."""
    dtype = torch.float32 if values.is_floating_point() else values.dtype if values.dtype == torch.bool else torch.int64
    array = values.detach().cpu().to(dtype).numpy()
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
