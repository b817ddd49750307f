"""The tables of a LeRobotDataset v3.0: one row per frame, one per episode, one per task, and what describes them. No video.

    meta/info.json, meta/stats.json, meta/tasks.parquet, meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet

Columns beyond LeRobot's own are the labels of each frame, by their names; in the table of episodes `source`, and each fact as
`facts/<name>`, empty where an episode has none of that name.

May import: data.lerobot_layout (names of columns), numpy, pyarrow. Refuses to know: clips, torch, how frames are encoded, the lerobot
package.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldline.data.lerobot_layout import ACTION, FACTS, SOURCE

FILES_PER_CHUNK = 1000
DATA_FILE_MEGABYTES = 100
VIDEO_FILE_MEGABYTES = 200
QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"

Fact = float | int | str | bool
_Columns = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """An episode without its frames.

    Attributes:
        num_frames: its length.
        source: what training and held-out sets are split by.
        task: in words; empty where there are none.
        columns: one value (T,) or vector (T, D) per frame, by the names of LeRobot.
        facts: values of the whole episode.
        pixels: (N, P, 3) float in [0, 1], a sample for statistics of the colours.
    """

    num_frames: int
    source: str
    task: str
    columns: Mapping[str, np.ndarray]
    pixels: np.ndarray
    facts: Mapping[str, Fact] = field(default_factory=dict)


def file_name(number: int) -> str:
    """Where the format puts file number `number`, counted from 0: its chunk's folder and its name without suffix."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return _FILE.format(chunk_index=chunk, file_index=file)


class TableWriter:
    """Writes the tables of a data set, episode by episode.

    Args:
        root: the folder of the data set.
        camera: the name of the video feature.
        rate_hz: frames per second.
        frame_size: (height, width) of the encoded video.
    """

    def __init__(self, root: Path, camera: str, rate_hz: float, frame_size: tuple[int, int]) -> None:
        self._root, self._camera, self._rate_hz, self._frame_size = root, camera, rate_hz, frame_size
        self._file: pq.ParquetWriter | None = None
        self._file_number = -1
        self._path = root
        self._num_frames = 0
        self._columns: _Columns = {}
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._samples: dict[str, list[np.ndarray]] = {}

    @property
    def data_megabytes(self) -> float:
        """Size so far of the file of rows that is being written."""
        return self._path.stat().st_size / 2**20 if self._file is not None else 0.0

    def add(self, episode: Episode, *, data_file: int, video_file: int, from_frame: int) -> None:
        """Append an episode, whose frames begin at `from_frame` of the video file; file numbers count from 0, rows go in order."""
        task_index = self._tasks.setdefault(episode.task, len(self._tasks))
        columns = self._all_columns(episode, task_index)
        self._columns = self._columns or columns
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        self._open(data_file, table.schema).write_table(table)
        samples = columns | {self._camera: episode.pixels}
        for name, values in samples.items():
            self._samples.setdefault(name, []).append(values)
        data, video = divmod(data_file, FILES_PER_CHUNK), divmod(video_file, FILES_PER_CHUNK)
        key = f"videos/{self._camera}"
        stats = _stats_of(columns) | {self._camera: _stats(episode.pixels, is_image=True)}
        self._episodes.append(
            {
                "episode_index": len(self._episodes),
                "tasks": [episode.task],
                "length": episode.num_frames,
                "data/chunk_index": data[0],
                "data/file_index": data[1],
                "dataset_from_index": self._num_frames,
                "dataset_to_index": self._num_frames + episode.num_frames,
                f"{key}/chunk_index": video[0],
                f"{key}/file_index": video[1],
                f"{key}/from_timestamp": from_frame / self._rate_hz,
                f"{key}/to_timestamp": (from_frame + episode.num_frames) / self._rate_hz,
                **{f"stats/{name}/{kind}": value for name, kinds in stats.items() for kind, value in kinds.items()},
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                SOURCE: episode.source,
                **{f"{FACTS}{name}": value for name, value in episode.facts.items()},
            }
        )
        self._num_frames += episode.num_frames

    def close(self) -> None:
        """Finish the file of rows that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def write_meta(self, robot_type: str | None, action_names: tuple[str, ...]) -> None:
        """Write what describes the data set, after the last episode.

        Raises:
            ValueError: if there was no episode, or the names do not fit the actions.
        """
        if not self._episodes:
            raise ValueError("no clips to write a data set from")
        meta = self._root / "meta"
        features = self._features(action_names)
        episodes = meta / "episodes" / f"{file_name(0)}.parquet"
        episodes.parent.mkdir(parents=True)
        pq.write_table(_episode_table(self._episodes), episodes)
        pq.write_table(_task_table(self._tasks), meta / "tasks.parquet")
        samples = {name: np.concatenate(values) for name, values in self._samples.items()}
        pixels = samples.pop(self._camera)
        stats = _stats_of(samples) | {self._camera: _stats(pixels, is_image=True)}
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
            "fps": _whole_if_possible(self._rate_hz),
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": f"data/{_FILE}.parquet",
            "video_path": f"videos/{{video_key}}/{_FILE}.mp4",
            "features": features,
        }
        (meta / "info.json").write_text(json.dumps(info, indent=4), encoding="utf-8")

    def _open(self, number: int, schema: pa.Schema) -> pq.ParquetWriter:
        if self._file is None or number != self._file_number:
            self.close()
            self._path = self._root / "data" / f"{file_name(number)}.parquet"
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file, self._file_number = pq.ParquetWriter(self._path, schema), number
        return self._file

    def _all_columns(self, episode: Episode, task_index: int) -> _Columns:
        frame_index = np.arange(episode.num_frames, dtype=np.int64)
        return dict(episode.columns) | {
            "timestamp": (frame_index / self._rate_hz).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full_like(frame_index, len(self._episodes)),
            "index": self._num_frames + frame_index,
            "task_index": np.full_like(frame_index, task_index),
        }

    def _features(self, action_names: tuple[str, ...]) -> dict[str, Any]:
        features: dict[str, Any] = {}
        for name, values in self._columns.items():
            dim = values.shape[1] if values.ndim == 2 else 1
            features[name] = {"dtype": str(values.dtype), "shape": [dim], "names": None}
        if action_names:
            dim = features[ACTION]["shape"][0] if ACTION in features else 0
            if len(action_names) != dim:
                raise ValueError(f"{len(action_names)} action_names for {dim} action components; give one per component or none")
            features[ACTION]["names"] = list(action_names)
        height, width = self._frame_size
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
                "video.fps": _whole_if_possible(self._rate_hz),
                "video.channels": 3,
                "has_audio": False,
            },
        }
        return features


def _arrow(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _stats_of(columns: _Columns) -> dict[str, Mapping[str, list[Any]]]:
    """`_stats` of every column (T,) or (T, D), at once: numpy takes as long for one short column as for many."""
    widths = {name: values.shape[1] if values.ndim == 2 else 1 for name, values in columns.items()}
    found = _stats(np.concatenate([values.reshape(len(values), -1) for values in columns.values()], axis=1), is_image=False)
    stats: dict[str, Mapping[str, list[Any]]] = {}
    start = 0
    for name, width in widths.items():
        stats[name] = {kind: value if kind == "count" else value[start : start + width] for kind, value in found.items()}
        start += width
    return stats


def _stats(values: np.ndarray, *, is_image: bool) -> Mapping[str, list[Any]]:
    """Statistics over the rows, in LeRobot's names; those of an image (N, P, 3) are (3, 1, 1) and count frames."""
    rows = values.reshape(-1, 3) if is_image else values.reshape(len(values), -1)
    rows = rows.astype(np.float64)
    stats = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    for quantile, value in zip(QUANTILES, np.quantile(rows, QUANTILES, axis=0), strict=True):
        stats[f"q{round(quantile * 100):02d}"] = value
    shape = (3, 1, 1) if is_image else (-1,)
    return {"count": [len(values)], **{name: value.reshape(shape).tolist() for name, value in stats.items()}}


def _episode_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as columns; a fact that is a number in one episode and text in another becomes text in all."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns: dict[str, pa.Array] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name.startswith(FACTS):
            kinds = {type(value) for value in values if value is not None}
            if kinds == {int, float}:
                values = [None if value is None else float(value) for value in values]
            elif len(kinds) > 1:
                values = [None if value is None else str(value) for value in values]
        columns[name] = pa.array(values)
    return pa.table(columns)


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
