"""LeRobotDataset out: clips become a v3.0 data set that the lerobot package loads as its own.

    meta/info.json, meta/stats.json, meta/tasks.parquet, meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet              one row per frame
    videos/<camera>/chunk-000/file-000.mp4       the frames of the same episodes, one after the other

A new pair of data and video file is begun when one of them has grown large.

May import: interfaces, data.encode, data.pixels, data.lerobot (names of columns), pyarrow. Refuses to know: the lerobot package.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from worldline.data.encode import VideoWriter
from worldline.data.lerobot import ACTION, REWARD, STATE
from worldline.data.pixels import to_float
from worldline.interfaces import Clip

FILES_PER_CHUNK = 1000
DATA_FILE_MEGABYTES = 100
VIDEO_FILE_MEGABYTES = 200
KEYFRAME_INTERVAL = 2  # LeRobot reads single frames at random; each costs at most two decodes.
QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"

_Columns = dict[str, np.ndarray]


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
    action earned; the last one is repeated), text the episode's task. Labels are kept exactly (as float32); frames pass through
    H.264, and odd sizes gain a row or column (see `VideoWriter`).

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
    """A data set that is being written: the open pair of files, and what `meta/` will say."""

    def __init__(self, root: Path, camera: str, open_files: ExitStack) -> None:
        self._root = root
        self._camera = camera
        self._open_files = open_files
        self._files: tuple[VideoWriter, pq.ParquetWriter] | None = None
        self._table_path = root
        self._num_files = 0
        self._num_frames = 0
        self._first: Clip | None = None
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._samples: dict[str, list[np.ndarray]] = {}

    def add(self, clip: Clip) -> None:
        self._first = self._first or clip
        _check_alike(self._first, clip)
        task = clip.text or ""
        columns = _columns(clip, len(self._episodes), self._num_frames, self._tasks.setdefault(task, len(self._tasks)))
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        video, tables = self._files_with_room(table.schema)
        from_frame = video.num_frames
        video.write(clip.frames)
        tables.write_table(table)
        samples = columns | {self._camera: _sample_pixels(clip)}
        for name, values in samples.items():
            self._samples.setdefault(name, []).append(values)
        chunk_index, file_index = divmod(self._num_files - 1, FILES_PER_CHUNK)
        key = f"videos/{self._camera}"
        stats = {name: _stats(values, is_image=name == self._camera) for name, values in samples.items()}
        self._episodes.append(
            {
                "episode_index": len(self._episodes),
                "tasks": [task],
                "length": len(clip),
                "data/chunk_index": chunk_index,
                "data/file_index": file_index,
                "dataset_from_index": self._num_frames,
                "dataset_to_index": self._num_frames + len(clip),
                f"{key}/chunk_index": chunk_index,
                f"{key}/file_index": file_index,
                f"{key}/from_timestamp": from_frame / clip.rate_hz,
                f"{key}/to_timestamp": video.num_frames / clip.rate_hz,
                **{f"stats/{name}/{kind}": value for name, kinds in stats.items() for kind, value in kinds.items()},
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        self._num_frames += len(clip)

    def write_meta(self, robot_type: str | None, action_names: tuple[str, ...]) -> None:
        if self._first is None:
            raise ValueError("no clips to write a data set from")
        meta = self._root / "meta"
        episodes = meta / "episodes" / (_FILE.format(chunk_index=0, file_index=0) + ".parquet")
        episodes.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._episodes), episodes)
        pq.write_table(_task_table(self._tasks), meta / "tasks.parquet")
        stats = {name: _stats(np.concatenate(values), is_image=name == self._camera) for name, values in self._samples.items()}
        (meta / "stats.json").write_text(json.dumps(stats, indent=4), encoding="utf-8")
        info = {
            "codebase_version": "v3.0",
            "robot_type": robot_type,
            "total_episodes": len(self._episodes),
            "total_frames": self._num_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": DATA_FILE_MEGABYTES,
            "video_files_size_in_mb": VIDEO_FILE_MEGABYTES,
            "fps": _whole_if_possible(self._first.rate_hz),
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": f"data/{_FILE}.parquet",
            "video_path": f"videos/{{video_key}}/{_FILE}.mp4",
            "features": self._features(self._first, action_names),
        }
        (meta / "info.json").write_text(json.dumps(info, indent=4), encoding="utf-8")

    def _features(self, clip: Clip, action_names: tuple[str, ...]) -> dict[str, Any]:
        features: dict[str, Any] = {}
        for name, values in _columns(clip, 0, 0, 0).items():
            dim = values.shape[1] if values.ndim == 2 else 1
            features[name] = {"dtype": str(values.dtype), "shape": [dim], "names": None}
        if action_names:
            dim = features[ACTION]["shape"][0] if ACTION in features else 0
            if len(action_names) != dim:
                raise ValueError(f"{len(action_names)} action_names for {dim} action components; give one per component or none")
            features[ACTION]["names"] = list(action_names)
        height, width = (side + side % 2 for side in clip.frames.shape[-2:])
        features[self._camera] = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": _whole_if_possible(clip.rate_hz),
                "video.channels": 3,
                "has_audio": False,
            },
        }
        return features

    def _files_with_room(self, schema: pa.Schema) -> tuple[VideoWriter, pq.ParquetWriter]:
        if self._files is not None:
            megabytes = self._files[0].num_bytes / 2**20, self._table_path.stat().st_size / 2**20
            if megabytes[0] < VIDEO_FILE_MEGABYTES and megabytes[1] < DATA_FILE_MEGABYTES:
                return self._files
            self._open_files.close()
        place = dict(zip(("chunk_index", "file_index"), divmod(self._num_files, FILES_PER_CHUNK), strict=True))
        video_path = self._root / "videos" / self._camera / (_FILE.format(**place) + ".mp4")
        self._table_path = self._root / "data" / (_FILE.format(**place) + ".parquet")
        for path in (video_path, self._table_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        assert self._first is not None
        video = VideoWriter(video_path, rate_hz=self._first.rate_hz, keyframe_interval=KEYFRAME_INTERVAL)
        table = pq.ParquetWriter(self._table_path, schema)
        self._files = self._open_files.enter_context(video), self._open_files.enter_context(table)
        self._num_files += 1
        return self._files


def _check_alike(first: Clip, clip: Clip) -> None:
    """A data set has one rate, one frame size and one set of features."""

    def description(of: Clip) -> dict[str, object]:
        widths = {name: None if values is None else values.shape[1:] for name, values in _labels(of).items()}
        return {"rate_hz": of.rate_hz, "frames": tuple(of.frames.shape[1:]), **widths}

    if len(clip) == 0:
        raise ValueError(f"{clip.source}: a clip without frames")
    expected, found = description(first), description(clip)
    different = [f"{name} {found[name]} instead of {expected[name]}" for name in expected if found[name] != expected[name]]
    if different:
        raise ValueError(f"{clip.source}: {', '.join(different)}; all clips of a data set need the same")


def _labels(clip: Clip) -> dict[str, torch.Tensor | None]:
    rewards = None if clip.rewards is None else torch.cat([clip.rewards[1:], clip.rewards[-1:]])
    return {ACTION: clip.actions, STATE: clip.states, REWARD: rewards}


def _columns(clip: Clip, episode_index: int, first_index: int, task_index: int) -> _Columns:
    """One row per frame: vectors (T, D) float32, and scalars (T,)."""
    frame_index = np.arange(len(clip), dtype=np.int64)
    columns = {name: values.to(torch.float32).cpu().numpy() for name, values in _labels(clip).items() if values is not None}
    # LeRobot stores features of one component as plain numbers.
    columns = {name: values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values for name, values in columns.items()}
    return columns | {
        "timestamp": (frame_index / clip.rate_hz).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.full_like(frame_index, episode_index),
        "index": first_index + frame_index,
        "task_index": np.full_like(frame_index, task_index),
    }


def _arrow(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _sample_pixels(clip: Clip, max_frames: int = 8, max_side: int = 16) -> np.ndarray:
    """(N, P, 3) pixels in [0, 1], spread evenly over the clip: enough for a channel's statistics."""
    frames = clip.frames
    for dim, most in ((0, max_frames), (2, max_side), (3, max_side)):
        length = frames.shape[dim]
        frames = frames.index_select(dim, torch.linspace(0, length - 1, min(length, most)).round().long())
    return to_float(frames).flatten(2).transpose(1, 2).numpy()


def _stats(values: np.ndarray, *, is_image: bool) -> Mapping[str, list[Any]]:
    """Statistics over the rows, in LeRobot's names; those of an image (N, P, 3) are (3, 1, 1) and count frames."""
    rows = values.reshape(-1, 3) if is_image else values.reshape(len(values), -1)
    rows = rows.astype(np.float64)
    stats = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    for quantile, value in zip(QUANTILES, np.quantile(rows, QUANTILES, axis=0), strict=True):
        stats[f"q{round(quantile * 100):02d}"] = value
    shape = (3, 1, 1) if is_image else (-1,)
    return {"count": [len(values)], **{name: value.reshape(shape).tolist() for name, value in stats.items()}}


def _task_table(tasks: Mapping[str, int]) -> pa.Table:
    """Tasks as pandas would write them, indexed by their text, which is how lerobot looks them up."""
    names = {"index": "__index_level_0__", "task_index": "task_index"}
    kinds = {"index": ("unicode", "object"), "task_index": ("int64", "int64")}
    described = [
        {"name": None if key == "index" else key, "field_name": names[key], "pandas_type": kind, "numpy_type": dtype, "metadata": None}
        for key, (kind, dtype) in kinds.items()
    ]
    pandas = {"index_columns": [names["index"]], "column_indexes": [], "columns": described, "pandas_version": "2.2.0"}
    table = pa.table({names["task_index"]: pa.array(tasks.values(), pa.int64()), names["index"]: pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _whole_if_possible(rate_hz: float) -> int | float:
    return int(rate_hz) if float(rate_hz).is_integer() else rate_hz
