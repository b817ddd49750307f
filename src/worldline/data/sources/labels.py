"""What came with a video: captions, facts, and rows per frame, from text, CSV, JSON, NumPy and parquet.

One convention for every table (CSV or parquet) that belongs to a single video, by the names of its columns:

    frame, frame_index, index, timestamp, timestamp_ms, time, ...     not read: they only count
    caption, text, instruction, description, prompt, task             words: the first one that is not empty is the caption
    source                                                            what training and held-out sets are split by
    reward, next.reward ...                                           rewards
    state, state.x, state_x, observation.state ...                    states
    every other column of numbers                                     a component of the action, in the order of the columns
    every other column of words                                       a fact, from the first row

A table of one row describes the whole clip: its numbers are facts too. A column of lists is as many components as its lists are long.

May import: data.sources (the record), numpy, pyarrow. Refuses to know: files, archives, videos.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from worldline.data.sources.item import Fact

INDEX_COLUMNS = frozenset(
    f"{name}{unit}" for name in ("frame", "time", "timestamp") for unit in ("", "_index", "_id", "_seconds", "_s", "_ms", "_us", "_ns")
) | {"index", "t", "episode_index", "task_index"}
CAPTION_COLUMNS = ("caption", "text", "instruction", "description", "prompt", "task")
REWARD_COLUMNS = ("reward", "rewards")
STATE_PREFIXES = ("state", "states", "observation.state")
SOURCE_COLUMN = "source"
MAX_TEXT = 20_000
_MAX_FACT = 1000
_MAX_VALUES = 50_000_000


class LabelError(ValueError):
    """Labels that are not what they should be; the message says where, without the name of the file."""


@dataclass(kw_only=True, slots=True)
class Labels:
    """What is known of one video; fields as of `SourceItem`."""

    caption: str | None = None
    source: str | None = None
    facts: dict[str, Fact] = field(default_factory=dict)
    actions: np.ndarray | None = None
    action_names: tuple[str, ...] = ()
    states: np.ndarray | None = None
    rewards: np.ndarray | None = None

    def add(self, other: "Labels") -> None:
        """Take from `other` what is not known yet; a second caption becomes a fact."""
        if self.caption is None:
            self.caption = other.caption
        elif other.caption is not None and other.caption != self.caption:
            self.facts.setdefault("other_caption", other.caption)
        self.source = self.source or other.source
        self.facts = other.facts | self.facts
        if self.actions is None:
            self.actions, self.action_names = other.actions, other.action_names
        self.states = other.states if self.states is None else self.states
        self.rewards = other.rewards if self.rewards is None else self.rewards


def from_text(content: bytes) -> Labels:
    """A caption."""
    return Labels(caption=_words(decode_text(content)))


def from_json(content: bytes, source_column: str | None = None) -> Labels:
    """Captions and facts: the members of an object; lists of words are joined, deeper ones are left out."""
    try:
        value = json.loads(decode_text(content))
    except (ValueError, RecursionError) as error:
        raise LabelError(f"not readable as JSON ({error})") from error
    if isinstance(value, str):
        return Labels(caption=_words(value))
    if not isinstance(value, dict):
        raise LabelError(f"holds a {type(value).__name__}; give an object with a caption")
    return from_row(value, source_column)


def from_row(row: Mapping[str, Any], source_column: str | None = None) -> Labels:
    """Captions, source and facts: name -> value, for one clip."""
    labels = Labels()
    texts = {name: _words(str(row[name])) for name in CAPTION_COLUMNS if isinstance(row.get(name), str | int | float)}
    captions = [name for name in CAPTION_COLUMNS if texts.get(name)]
    if captions:
        labels.caption = texts[captions[0]]
    source = row.get(source_column or SOURCE_COLUMN)
    labels.source = str(source)[:_MAX_FACT] if source not in (None, "") else None
    for name, value in list(row.items())[:1000]:
        if name in (SOURCE_COLUMN, *captions[:1]) or not isinstance(name, str):
            continue
        fact = _fact(value)
        if fact is not None:
            labels.facts[name] = fact
    return labels


def from_array(content: bytes) -> np.ndarray:
    """A NumPy file as (T, D) float32."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        # Before anything of that size is allocated: the header says so, but are there as many bytes?
        if dtype.hasobject or math.prod(shape) * dtype.itemsize > len(content) or math.prod(shape) > _MAX_VALUES:
            raise LabelError(f"an array of shape {shape} and {dtype} in {len(content)} bytes")
        file.seek(0)
        return rows_of(np.load(file, allow_pickle=False))
    except LabelError:
        raise
    except (ValueError, TypeError, EOFError, OSError, SyntaxError, MemoryError, OverflowError, RecursionError) as error:
        raise LabelError(f"not readable as a NumPy array ({error})") from error


def parse_csv(content: bytes) -> dict[str, list[str]]:
    """A CSV table with a header: name -> cells, all of one length."""
    reader = csv.reader(io.StringIO(decode_text(content), newline=""))
    try:
        header = [name.strip() for name in next(reader, [])]
        if not any(header) or len(set(header)) != len(header) or len(header) > 4096:
            raise LabelError("no header of different names in its first row")
        columns: list[list[str]] = [[] for _ in header]
        num_blank = 0
        for number, row in enumerate(reader):
            if not row:
                num_blank += 1
                continue
            if num_blank and len(header) == 1:  # an empty cell, of which only one at the end is none
                raise LabelError(f"a blank line before row {number}; every frame needs a row")
            if len(row) != len(header):
                raise LabelError(f"row {number} has {len(row)} cells, the header {len(header)}")
            for cells, cell in zip(columns, row):
                cells.append(cell)
    except csv.Error as error:
        raise LabelError(f"not readable as CSV ({error})") from error
    return dict(zip(header, columns, strict=True))


def parse_table(table: pa.Table) -> dict[str, Any]:
    """A parquet table: name -> numbers (T,) or (T, D), or a list of words; other columns are left out."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            columns[name] = ["" if cell is None else cell for cell in column.to_pylist()]
        elif _is_list(column.type) or _is_number(column.type):
            columns[name] = _numbers(column, name)
    return columns


def from_columns(columns: Mapping[str, Any], source_column: str | None = None) -> Labels:
    """Labels from the table of one video: see the top of this file."""
    lengths = {len(cells) for cells in columns.values()}
    if not lengths or 0 in lengths:
        raise LabelError("a table without rows")
    if lengths == {1}:
        return from_row({name: _cell(cells[0]) for name, cells in columns.items() if name not in INDEX_COLUMNS}, source_column)
    words: dict[str, Any] = {}
    parts: dict[str, list[tuple[str, np.ndarray]]] = {"action": [], "state": [], "reward": []}
    for name, cells in columns.items():
        if name in INDEX_COLUMNS:
            continue
        if name in (SOURCE_COLUMN, source_column, *CAPTION_COLUMNS):
            words[name] = next((str(cell) for cell in cells if str(cell).strip()), "")
            continue
        values = cells if isinstance(cells, np.ndarray) else _parse_numbers(cells, name)
        if values is None:
            words[name] = str(cells[0])
        else:
            parts[_part_of(name)].append((name, values))
    labels = from_row(words, source_column)
    if parts["action"]:
        labels.actions = rows_of(_stack(parts["action"]))
        names = tuple(name for name, values in parts["action"] for _ in range(1 if values.ndim == 1 else values.shape[1]))
        labels.action_names = names if len(set(names)) == len(names) else ()
    if parts["state"]:
        labels.states = rows_of(_stack(parts["state"]))
    if parts["reward"]:
        labels.rewards = rows_of(_stack(parts["reward"][:1]))[:, 0]
    return labels


def rows_of(values: np.ndarray) -> np.ndarray:
    """Numbers (T,) or (T, D) as (T, D) float32.

    Raises:
        LabelError: for other shapes, other types, or numbers that are not finite.
    """
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiub" or 0 in values.shape:
        raise LabelError(f"an array of shape {values.shape} and {values.dtype}; give one row of numbers per frame")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(values.reshape(len(values), -1), np.float32)
    if not np.isfinite(rows).all():
        row = int(np.argwhere(~np.isfinite(rows))[0, 0])
        raise LabelError(f"row {row} holds {rows[row].tolist()[:8]}; every frame needs finite numbers")
    return rows


def decode_text(content: bytes) -> str:
    """Text in UTF-8, with or without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"not text in UTF-8 ({error.reason})") from error


def _words(text: str) -> str | None:
    return text.strip()[:MAX_TEXT].replace("\0", "") or None


def _cell(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _fact(value: Any) -> Fact | None:
    """A value as a fact; words that are numbers become numbers, lists of words one text; None where it is nothing."""
    if isinstance(value, bool | int | float):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = ", ".join(value)
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip()[:_MAX_FACT].replace("\0", "")
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # "007", "1_000" and "1e999" are names rather than numbers.
        if math.isfinite(number) and (str(number) == text if kind is int else not text.isdigit() and "_" not in text):
            return number
    return {"true": True, "false": False}.get(text.lower(), text)


def _part_of(name: str) -> str:
    last = name.removeprefix("next.")
    if last in REWARD_COLUMNS:
        return "reward"
    return "state" if any(name == prefix or name.startswith((f"{prefix}.", f"{prefix}_")) for prefix in STATE_PREFIXES) else "action"


def _parse_numbers(cells: Sequence[str], name: str) -> np.ndarray | None:
    """Cells of CSV as numbers; None where the first is a word."""
    try:
        float(cells[0] or "nan")
    except ValueError:
        return None
    try:
        return np.array([float(cell or "nan") for cell in cells])
    except ValueError as error:
        raise LabelError(f"column {name} begins with numbers and goes on with something else ({error})") from error


def _numbers(column: pa.Array, name: str) -> np.ndarray:
    rows = len(column)
    try:
        if _is_list(column.type):
            if column.null_count:
                raise LabelError(f"column {name} holds {column.null_count} missing rows")
            if not pa.types.is_fixed_size_list(column.type) and len(set(np.diff(column.offsets.to_numpy()).tolist())) > 1:
                raise LabelError(f"column {name} does not hold lists of one length")
            column = column.flatten()
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values if len(values) == rows else values.reshape(rows, -1)
    except (pa.ArrowException, ValueError) as error:
        raise LabelError(f"column {name} does not hold numbers, or lists of one length ({error})") from error


def _stack(parts: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([values.reshape(len(values), -1) for _, values in parts], axis=1)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _is_list(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    return _is_number(kind.value_type)
