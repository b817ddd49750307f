"""How a LeRobotDataset lies on disk: what `meta/` says, where each episode is, its rows as arrays. No video.

Two layouts are read. v2.1 has one parquet and one MP4 file per episode and `meta/*.jsonl`; v3.0 packs many episodes into
each file and keeps `meta/episodes/*/*.parquet`, which says where each lies.

May import: numpy, pyarrow. Refuses to know: torch, so that ingest does not wait for it; clips, the lerobot package.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ACTION, STATE, REWARD = "action", "observation.state", "next.reward"
TableReader: TypeAlias = Callable[[Path, Sequence[str] | None], pa.Table]
_PATTERN = re.compile(r"(?:[^{}]|\{\w+(?::0?\d{1,2}d)?\})*")
_MAX_META_BYTES = 1 << 28
OWN_COLUMNS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
SOURCE, FACTS = "source", "facts/"
"""Columns of the table of episodes that are ours: what the episode was cut from, and the prefix of what is known of it."""


class DatasetError(ValueError):
    """A data set or an episode that is not what its format promises; the message says which part and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Where one episode lies: files relative to the root, and its first second in the video file."""

    index: int
    task: str | None
    data: str
    video: str
    start_seconds: float
    source: str | None = None
    facts: Mapping[str, float | int | str | bool] = field(default_factory=dict)


class Dataset:
    """`meta/` of a data set of either version.

    Args:
        root: the folder that holds it.
        info: what `meta/info.json` says.
        read_table: reads parquet files; a sandbox's, where the data set comes from strangers.

    Raises:
        DatasetError: if `info` does not say what it should.
    """

    def __init__(self, root: Path, info: Mapping[str, Any], read_table: TableReader) -> None:
        self.root = root
        self.is_packed = str(info["codebase_version"]).startswith("v3")
        try:
            self.rate_hz = float(info["fps"])
        except (TypeError, ValueError):
            self.rate_hz = math.nan
        features = info["features"]
        if not 0 < self.rate_hz < math.inf:
            raise DatasetError(f"{root}: its meta/info.json gives {info['fps']!r} frames per second")
        if not isinstance(features, Mapping) or not all(isinstance(feature, Mapping) for feature in features.values()):
            raise DatasetError(f"{root}: the features in its meta/info.json are no table")
        for pattern in (info["data_path"], info["video_path"]):
            # A pattern is a program: `{episode_index:>9999999999}` would ask for ten gigabytes.
            if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
                raise DatasetError(f"{root}: its meta/info.json names files by {str(pattern)[:200]!r}, which is no pattern of the format")
        self.features: Mapping[str, Mapping[str, Any]] = features
        self._info = info
        self._read_table = read_table
        self._table: tuple[str, pa.Table] | None = None

    def choose_camera(self, camera: str | None) -> str:
        """The video feature of this name, or the first one that has files.

        Raises:
            DatasetError, FileNotFoundError: if there is none.
        """
        cameras = [name for name, feature in self.features.items() if feature.get("dtype") == "video"]
        if camera is not None and camera not in cameras:
            raise DatasetError(f"{self.root}: no video feature {camera!r}; it has {', '.join(cameras) or 'none (only images in tables?)'}")
        for name in cameras if camera is None else [camera]:
            pattern = f"videos/{name}/*/*.mp4" if self.is_packed else f"videos/*/{name}/*.mp4"
            if next(self.root.glob(pattern), None):
                return name
        raise FileNotFoundError(
            f"{self.root}: no video files of {camera or ' or '.join(cameras) or 'any camera'} under {self.root / 'videos'}"
        )

    def episodes(self, camera: str) -> list[Entry]:
        """What `meta/` lists, in order.

        Raises:
            DatasetError: if it lists nothing, or cannot be read.
        """
        try:
            entries = self._packed_episodes(camera) if self.is_packed else self._single_episodes(camera)
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(f"{self.root}: its meta/ does not describe its episodes ({type(error).__name__}: {error})") from error
        if not entries:
            raise DatasetError(f"{self.root}: its meta/ lists no episodes")
        return entries

    def statistics(self, feature: str) -> list[Mapping[str, Any]]:
        """Statistics of one feature: of the whole data set, or, in v2.1, of each episode."""
        whole = self.root / "meta" / "stats.json"
        if whole.is_file():
            return [_read_json(whole).get(feature, {})]
        rows = _read_json_lines(self.root / "meta" / "episodes_stats.jsonl")
        return [row.get("stats", {}).get(feature, {}) for row in rows]

    def rows_of(self, entry: Entry) -> pa.Table:
        """The rows of one episode, in order."""
        if self._table is None or self._table[0] != entry.data:
            path = self.path(entry.data)
            if not path.is_file():
                raise FileNotFoundError(f"{path}: missing")
            try:
                self._table = (entry.data, self._read_table(path, None).combine_chunks())
            except (pa.ArrowException, OSError) as error:
                raise DatasetError(f"{path}: not readable as parquet ({error})") from error
        table = self._table[1]
        if self.is_packed:
            if "episode_index" not in table.column_names:
                raise DatasetError(f"{entry.data}: no column episode_index")
            # Arrow's filter takes a hundred times as long: it looks at every column of every row, for every episode.
            found = np.flatnonzero(table["episode_index"].to_numpy() == entry.index)
            is_stretch = len(found) > 0 and found[-1] - found[0] == len(found) - 1
            table = table.slice(found[0], len(found)) if is_stretch else table.take(found)
        return self._in_order(table, entry)

    def _in_order(self, table: pa.Table, entry: Entry) -> pa.Table:
        """The rows by the frame that they belong to, which the video shows in order; from the first on, none missing."""
        if "frame_index" not in table.column_names:
            return table
        number = array_of(table, "frame_index", np.int64)[:, 0]
        order = np.argsort(number, kind="stable")
        if not np.array_equal(number[order], np.arange(len(number))):
            raise DatasetError(f"{entry.data}: the rows of episode {entry.index} are not those of frames 0 to {len(number) - 1}")
        return table if np.array_equal(order, np.arange(len(order))) else table.take(order)

    def path(self, relative: str) -> Path:
        """A file of the data set; its `meta/` must not lead anywhere else."""
        if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts:
            raise DatasetError(f"{self.root}: its meta/ points outside of it, to {relative}")
        return self.root / relative

    def _single_episodes(self, camera: str) -> list[Entry]:
        entries = []
        for row in _read_json_lines(self.root / "meta" / "episodes.jsonl"):
            index = int(row["episode_index"])
            chunk = index // int(self._info.get("chunks_size") or 1000)
            # Converters in the wild call the chunk either way.
            keys = {"episode_chunk": chunk, "chunk_index": chunk, "episode_index": index, "video_key": camera}
            entries.append(
                Entry(
                    index=index,
                    task=_first_task(row.get("tasks")),
                    data=self._info["data_path"].format(**keys),
                    video=self._info["video_path"].format(**keys),
                    start_seconds=0.0,
                )
            )
        return entries

    def _packed_episodes(self, camera: str) -> list[Entry]:
        video = f"videos/{camera}"
        columns = ["episode_index", "tasks", "data/chunk_index", "data/file_index"]
        columns += [f"{video}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        paths = sorted((self.root / "meta" / "episodes").glob("*/*.parquet"))
        rows = []
        for path in paths:
            rows += self._read_table(path, [*columns, SOURCE, f"{FACTS}*"]).to_pylist()
        return [
            Entry(
                index=row["episode_index"],
                task=_first_task(row["tasks"]),
                data=self._info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]),
                video=self._info["video_path"].format(
                    video_key=camera, chunk_index=row[f"{video}/chunk_index"], file_index=row[f"{video}/file_index"]
                ),
                start_seconds=row[f"{video}/from_timestamp"],
                source=row.get(SOURCE),
                facts={name[len(FACTS) :]: value for name, value in row.items() if name.startswith(FACTS) and value is not None},
            )
            for row in sorted(rows, key=lambda row: row["episode_index"])
        ]


def read_parquet(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """Read those of the named columns that there are, or all; a name that ends in * stands for all that begin so."""
    if columns is None:
        return pq.read_table(path)
    return pq.read_table(path, columns=chosen_columns(pq.read_schema(path).names, columns))


def chosen_columns(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of `names` that are `wanted`, where `facts/*` wants all that begin with `facts/`."""
    prefixes = tuple(name.removesuffix("*") for name in wanted if name.endswith("*"))
    return [name for name in names if name in wanted or (prefixes and name.startswith(prefixes))]


def open_dataset(root: Path, read_table: TableReader = read_parquet) -> Dataset:
    """Read `meta/info.json`.

    Raises:
        FileNotFoundError: if there is none.
        DatasetError: if it cannot be read, or is of an unknown version.
    """
    path = root / "meta" / "info.json"
    if not path.is_file():
        raise FileNotFoundError(f"{root}: no LeRobotDataset here (meta/info.json is missing)")
    info = _read_json(path)
    missing = {"codebase_version", "fps", "features", "data_path", "video_path"} - info.keys()
    if missing:
        raise DatasetError(f"{path}: lacks {', '.join(sorted(missing))}")
    if not str(info["codebase_version"]).startswith(("v2.", "v3.")):
        raise DatasetError(f"{path}: version {info['codebase_version']}; versions 2.x and 3.x are read, convert older ones with lerobot")
    return Dataset(root, info, read_table)


def array_of(table: pa.Table, name: str, dtype: type[np.generic] = np.float32) -> np.ndarray:
    """A column of numbers, or of lists of one length, as (rows, dim) of a kind; whole numbers stay exact as np.int64."""
    column = table[name].combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        if column.null_count:
            raise DatasetError(f"column {name} holds {column.null_count} missing rows")
        if not pa.types.is_fixed_size_list(column.type) and len(set(np.diff(column.offsets.to_numpy()).tolist())) > 1:
            raise DatasetError(f"column {name} does not hold vectors of one length")
        column = column.flatten()
    if column.null_count:
        raise DatasetError(f"column {name} holds missing, NaN or infinite values")
    try:
        number = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
        number = number.cast(pa.int64() if np.issubdtype(dtype, np.integer) else pa.float64())
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
            values = number.to_numpy(zero_copy_only=False).astype(dtype)
        matrix = values.reshape(table.num_rows, -1) if table.num_rows else values.reshape(0, 1)
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(f"column {name} does not hold vectors of one length ({error})") from error
    if not np.isfinite(matrix).all():
        raise DatasetError(f"column {name} holds missing, NaN or infinite values")
    return matrix


def _first_task(tasks: object) -> str | None:
    return str(tasks[0]) if isinstance(tasks, list) and tasks else None


def flat_names(names: object) -> tuple[str, ...]:
    """Component names; data sets in the wild write a list, a list in a list, or a list under a key."""
    if isinstance(names, Mapping):
        names = list(names.values())
    if not isinstance(names, list):
        return () if names is None else (str(names),)
    return tuple(flat for name in names for flat in flat_names(name))


def _read_text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(_MAX_META_BYTES)
    if len(text) == _MAX_META_BYTES:
        raise ValueError(f"more than {_MAX_META_BYTES} characters")
    return text


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: holds a {type(content).__name__}, not an object")
    return content


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in _read_text(path).splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON lines ({error})") from error
    return [row for row in rows if isinstance(row, dict)]
