"""A folder of videos: labels beside each (`clip.csv`, `clip.txt`, `clip.json`, `clip.parquet`), or in a table of all.

A table of all is a CSV, JSON-lines or parquet file with a column `file_name` (as the Hugging Face `videofolder` writes it) or `file`,
relative to the table, or to the folder beside it that has its name. Its words and numbers are captions and facts.

May import: data.sources, data.sandbox, numpy. Refuses to know: archives, robot data sets.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worldline.data.media import VideoError
from worldline.data.sandbox import Sandbox
from worldline.data.sources import labels as parse
from worldline.data.sources.item import Rejection, SourceItem
from worldline.data.sources.labels import LabelError, Labels
from worldline.data.sources.places import Refused, check_inside, hash_file, inside, read_small

VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".webm", ".mov", ".gif", ".m4v")
PLAYLIST_SUFFIXES = (".m3u8", ".m3u", ".mpd", ".pls", ".ffconcat", ".sdp", ".asx", ".url")
LABEL_SUFFIXES = (".csv", ".parquet", ".json", ".txt")
FILE_COLUMNS = ("file_name", "file", "video", "path")
_TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")


class FolderReader:
    """Reads the videos of one folder at a time, all below the same root.

    Args:
        root: what was asked for; nothing outside of it is read.
        prefix: goes in front of names, so that two roots do not mix.
        sandbox: where parquet files are read.
        source_column: a column of tables that says what training and held-out sets are split by.
    """

    def __init__(self, root: Path, prefix: str, sandbox: Sandbox, source_column: str | None) -> None:
        self._root, self._prefix, self._sandbox, self._source_column = root, prefix, sandbox, source_column
        self._rows: dict[Path, Labels] = {}

    def name_of(self, path: Path) -> str:
        """How a file is called in reports."""
        try:
            relative = path.relative_to(self._root).as_posix()
        except ValueError:
            relative = path.name
        return f"{self._prefix}{relative}"

    def read(self, files: list[Path]) -> Iterator[SourceItem | Rejection]:
        """The videos among the files of one folder, with their labels."""
        stems = {path.with_suffix("") for path in files if path.suffix.lower() in VIDEO_SUFFIXES}
        for path in files:
            if path.suffix.lower() in _TABLE_SUFFIXES and path.with_suffix("") not in stems:
                yield from self._read_table_of_all(path)
        for path in files:
            suffix = path.suffix.lower()
            if suffix in VIDEO_SUFFIXES:
                yield from self.read_video(path)
            elif suffix in PLAYLIST_SUFFIXES:
                yield Rejection(name=self.name_of(path), reason="a playlist, which is not followed")

    def unread_rows(self) -> Iterator[Rejection]:
        """Files that tables list and that were not there."""
        for path in sorted(self._rows):
            yield Rejection(name=self.name_of(path), reason="listed in a table, but missing")
        self._rows.clear()

    def read_video(self, path: Path) -> Iterator[SourceItem | Rejection]:
        """One video and the labels beside it; labels that cannot be read are left out, and said."""
        name = self.name_of(path)
        labels = Labels()
        try:
            check_inside(path, self._root)
            key = hash_file(path)
        except Refused as refusal:
            self._rows.pop(path, None)
            yield Rejection(name=name, reason=str(refusal))
            return
        for suffix in LABEL_SUFFIXES:
            beside = path.with_suffix(suffix)
            if not beside.is_file():
                continue
            try:
                check_inside(beside, self._root)
                labels.add(read_labels(beside.suffix, read_small(beside), self._sandbox, self._source_column))
            except (Refused, LabelError, VideoError) as error:
                yield Rejection(name=self.name_of(beside), reason=f"labels left out: {error}")
        labels.add(self._rows.pop(path, Labels()))
        yield item_of(labels, key=key, name=name, path=path)

    def _read_table_of_all(self, path: Path) -> Iterator[Rejection]:
        try:
            check_inside(path, self._root)
            rows = self._rows_of(path)
        except (Refused, LabelError, VideoError) as error:
            yield Rejection(name=self.name_of(path), reason=f"table left out: {error}")
            return
        columns = [next((name for name in FILE_COLUMNS if isinstance(row.get(name), str)), None) for row in rows]
        if not any(columns):
            return  # A table of something else.
        for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
            if column is None:
                yield Rejection(name=self.name_of(path), reason=f"row {number} names no file")
                continue
            try:
                # A name that is too long for a file raises, rather than not to exist.
                target = inside(path.parent, row[column])
                beside = path.with_suffix("") / row[column]
                target = target if target.exists() or not beside.exists() else beside
                found = parse.from_row({name: value for name, value in row.items() if name != column}, self._source_column)
                self._rows.setdefault(target, Labels()).add(found)
            except (Refused, OSError) as refusal:
                yield Rejection(name=self.name_of(path), reason=str(refusal))

    def _rows_of(self, path: Path) -> list[dict[str, Any]]:
        content = read_small(path, 256 * 1024**2)
        if path.suffix.lower() == ".jsonl":
            try:
                lines = [json.loads(line) for line in parse.decode_text(content).splitlines() if line.strip()]
            except (ValueError, RecursionError) as error:
                raise LabelError(f"not readable as JSON lines ({error})") from error
            return [line for line in lines if isinstance(line, dict)]
        if path.suffix.lower() == ".parquet":
            return self._sandbox.read_table(content).to_pylist()
        columns = parse.parse_csv(content)
        return [dict(zip(columns, cells)) for cells in zip(*columns.values())]


def read_labels(suffix: str, content: bytes, sandbox: Sandbox, source_column: str | None) -> Labels:
    """Labels of one video from the content of a file of this kind.

    Raises:
        LabelError, VideoError: if they are not what they should be.
    """
    match suffix.lower():
        case ".txt":
            return parse.from_text(content)
        case ".json":
            return parse.from_json(content, source_column)
        case ".csv":
            return parse.from_columns(parse.parse_csv(content), source_column)
        case ".parquet":
            return parse.from_columns(parse.parse_table(sandbox.read_table(content)), source_column)
        case _:
            raise LabelError(f"labels of an unknown kind, {suffix}")


def item_of(labels: Labels, *, key: str, name: str, path: Path | None = None, content: bytes | None = None) -> SourceItem:
    """A whole file as an item; its source is its name without suffix where the labels know nothing better."""
    suffix = Path(name).suffix
    return SourceItem(
        key=key,
        name=name,
        source=labels.source or name.removesuffix(suffix),
        path=path,
        content=content,
        caption=labels.caption,
        facts=labels.facts,
        actions=labels.actions,
        action_names=labels.action_names,
        states=labels.states,
        rewards=labels.rewards,
    )
