"""What the actions of a data set are worth: their ranges, and which components are missing, never change or hit a stop.

Reads the tables themselves, since the readers leave out episodes with values that are no numbers, and here they are what is looked for.

May import: data (folder, lerobot, episodes, sources.labels), numpy, pyarrow. Refuses to know: pixels.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldline.data.episodes import EpisodeStore
from worldline.data.folder import find_videos
from worldline.data.lerobot_layout import ACTION, flat_names, open_dataset
from worldline.data.sources.labels import INDEX_COLUMNS, REWARD_COLUMNS, STATE_PREFIXES


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionComponent:
    """One number of an action, over the whole data set.

    Attributes:
        name: as the data set calls it.
        low, high, mean, std: of the values that are numbers; NaN where there are none.
        num_missing: rows without a finite number.
        is_constant: it has one value only.
        share_at_ends: share of the rows that are exactly at `low` or at `high`; much of it is clipping, or a switch.
    """

    name: str
    low: float
    high: float
    mean: float
    std: float
    num_missing: int
    is_constant: bool
    share_at_ends: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionTable:
    """The actions of every episode as they are on disk.

    Attributes:
        names: of the components; `action 0` ... where the data set has none.
        episodes: name of the episode -> (T, A) float64, with NaN where a value is missing.
        unreadable: name of a file -> why its actions could not be read.
    """

    names: tuple[str, ...]
    episodes: Mapping[str, np.ndarray]
    unreadable: Mapping[str, str]


def read_actions(root: str | Path, *, action_columns: Sequence[str] = ()) -> ActionTable:
    """Read the actions, and nothing else, of a LeRobotDataset, an `EpisodeStore` or a folder of videos with CSV files.

    Args:
        root: the folder.
        action_columns: of CSV files; all columns of numbers but those that count frames if none are given.

    Raises:
        FileNotFoundError: if there is nothing of the kind.
    """
    root = Path(root)
    if (root / "meta" / "info.json").is_file():
        return _of_lerobot(root)
    if (root / "store.json").is_file():
        store = EpisodeStore.open(root)
        found = {f"{number} {episode.source}": store.rows("actions", episode) for number, episode in enumerate(store.episodes)}
        rows = {name: actions.double().numpy() for name, actions in found.items() if actions is not None}
        return _table(rows, () if store.action_spec is None else store.action_spec.names, {})
    return _of_folder(root, action_columns)


def describe_actions(table: ActionTable) -> tuple[ActionComponent, ...]:
    """Each component over all episodes."""
    if not table.episodes:
        return ()
    everything = np.concatenate(list(table.episodes.values()))
    components = []
    for name, values in zip(table.names, everything.T, strict=True):
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)
        components.append(
            ActionComponent(
                name=name,
                low=low,
                high=high,
                mean=float(known.mean()) if len(known) else np.nan,
                std=float(known.std()) if len(known) else np.nan,
                num_missing=len(values) - len(known),
                is_constant=len(known) > 0 and high - low <= 1e-9 * (1 + abs(low)),
                share_at_ends=float(((known == low) | (known == high)).mean()) if len(known) else 0.0,
            )
        )
    return tuple(components)


def csv_columns(path: Path) -> tuple[str, ...]:
    """The columns of a CSV file that make up an action, by the convention of `data.sources.labels`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            first = next(reader, {})
            return tuple(name for name in reader.fieldnames or () if _is_action(name.strip().lower()) and _is_number(first.get(name)))
    except (OSError, csv.Error, ValueError):
        return ()


def _of_lerobot(root: Path) -> ActionTable:
    dataset = open_dataset(root)
    rows: dict[str, np.ndarray] = {}
    unreadable = {}
    if ACTION not in dataset.features:
        return _table({}, (), {})
    for path in sorted((root / "data").rglob("*.parquet")):
        try:
            table = pq.read_table(path, columns=[ACTION, "episode_index"])
            values, episodes = _values(table[ACTION]), table["episode_index"].to_numpy()
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            unreadable[str(path.relative_to(root))] = str(error)
            continue
        for episode in np.unique(episodes):
            rows[f"episode_{episode:06d}"] = values[episodes == episode]
    return _table(rows, flat_names(dataset.features[ACTION].get("names")), unreadable)


def _values(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers or of lists as (rows, A) float64; NaN for what is missing."""
    lists = [row if isinstance(row, list) else [row] for row in column.to_pylist()]
    widths = {len(row) for row in lists if row != [None]}
    if len(widths) > 1:
        raise ValueError(f"actions of {', '.join(map(str, sorted(widths)))} components in one file")
    width = widths.pop() if widths else 1
    filled = [row if row != [None] else [None] * width for row in lists]
    return np.array(filled, dtype=np.float64).reshape(len(filled), width)


def _of_folder(root: Path, action_columns: Sequence[str]) -> ActionTable:
    rows: dict[str, np.ndarray] = {}
    unreadable = {}
    columns = tuple(action_columns)
    for video in find_videos(root):
        path = video.with_suffix(".csv")
        if not path.is_file():
            continue
        columns = columns or csv_columns(path)
        name = str(path.relative_to(root))
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                missing = [column for column in columns if column not in (reader.fieldnames or ())]
                if missing:
                    raise ValueError(f"no column {', '.join(missing)}")
                values = [[_number(row[column]) for column in columns] for row in reader]
        except (OSError, csv.Error, ValueError) as error:
            unreadable[name] = str(error)
            continue
        if values and columns:
            rows[name] = np.array(values, dtype=np.float64)
    return _table(rows, columns, unreadable)


def _table(rows: Mapping[str, np.ndarray], names: Sequence[str], unreadable: Mapping[str, str]) -> ActionTable:
    widths = [values.shape[1] for values in rows.values()]
    width = max(set(widths), key=widths.count) if widths else 0
    odd = {name: f"{values.shape[1]} components, the others have {width}" for name, values in rows.items() if values.shape[1] != width}
    return ActionTable(
        names=tuple(names) if len(names) == width else tuple(f"action {number}" for number in range(width)),
        episodes={name: values for name, values in rows.items() if name not in odd},
        unreadable={**unreadable, **odd},
    )


def _is_action(name: str) -> bool:
    if name in INDEX_COLUMNS or name.removeprefix("next.") in REWARD_COLUMNS:
        return False
    return not any(name == prefix or name.startswith((f"{prefix}.", f"{prefix}_")) for prefix in STATE_PREFIXES)


def _is_number(text: str | None) -> bool:
    return text is not None and (text.strip() == "" or not np.isnan(_number(text)) or text.strip().lower() == "nan")


def _number(text: str | None) -> float:
    try:
        return float(text) if text else np.nan
    except ValueError:
        return np.nan
