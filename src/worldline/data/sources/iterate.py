"""From what somebody types, folders, files, patterns, lists, to items: `iterate_sources`.

May import: data.sources, data.sandbox. Refuses to know: what becomes of an item.
"""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from worldline.data.sandbox import Sandbox
from worldline.data.sources.folder import VIDEO_SUFFIXES, FolderReader
from worldline.data.sources.item import Rejection, SourceItem
from worldline.data.sources.labels import LabelError, decode_text
from worldline.data.sources.lerobot import is_lerobot, read_lerobot_items
from worldline.data.sources.places import Refused, read_small, walk
from worldline.data.sources.shards import SHARD_SUFFIXES, is_shard, read_shard
from worldline.data.sources.tar_stream import ArchiveLimits

_MAX_LIST_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        source_column: the column of tables, or member of JSON objects, that training and held-out sets are split by.
        camera: of LeRobotDatasets; the first one that has files when None.
        archives: where reading an archive stops.
    """

    source_column: str | None = None
    camera: str | None = None
    archives: ArchiveLimits = field(default_factory=ArchiveLimits)


def iterate_sources(
    arguments: Iterable[str | Path], options: SourceOptions | None = None, *, sandbox: Sandbox | None = None
) -> Iterator[SourceItem | Rejection]:
    """Everything that the arguments stand for, in their order, and by name below each; what cannot be read comes as a `Rejection`.

    Args:
        arguments: each a folder (searched with its sub-folders; LeRobotDatasets and shards in it are recognised), a video, a shard
            (.tar, .tar.gz), a text file with one of these per line, or a pattern of any of them (`drives/*/front.mp4`).
        options: how they are read.
        sandbox: where tables are read; one of its own when None.

    Raises:
        FileNotFoundError: at once, for an argument that names nothing.
        ValueError: at once, for an address or a file of no kind that is read.
    """
    options = options or SourceOptions()
    places = [place for argument in arguments for place in _places_of(str(argument))]
    return _iterate(places, options, sandbox)


def _iterate(places: list[Path], options: SourceOptions, sandbox: Sandbox | None) -> Iterator[SourceItem | Rejection]:
    own = Sandbox() if sandbox is None else None
    try:
        for place in places:
            yield from _read(place, options, sandbox or own or Sandbox(), is_listed=False)
    finally:
        if own is not None:
            own.close()


def _places_of(argument: str) -> list[Path]:
    if "://" in argument:
        raise ValueError(f"{argument}: an address; download it first and give the file or folder")
    path = Path(argument).expanduser()
    if not path.exists() and glob.has_magic(argument):
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        if not found:
            raise FileNotFoundError(f"{argument}: nothing matches this pattern")
        return [place for place in found if place.is_dir() or _is_known(place)]
    if not path.exists():
        raise FileNotFoundError(f"{argument}: no such file or folder; give a folder, a video, a .tar shard or a .txt list of them")
    if not path.is_dir() and not _is_known(path):
        kinds = ", ".join((*VIDEO_SUFFIXES, *SHARD_SUFFIXES, ".txt"))
        raise ValueError(f"{argument}: not a kind of file that is read; give a folder or one of {kinds}")
    return [path]


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in (*VIDEO_SUFFIXES, ".txt") or is_shard(path)


def _read(place: Path, options: SourceOptions, sandbox: Sandbox, *, is_listed: bool) -> Iterator[SourceItem | Rejection]:
    # The last part of `..` or of `.` is no name.
    place = Path(os.path.abspath(place))
    if place.is_dir():
        yield from _read_folder(place, options, sandbox)
    elif is_shard(place):
        yield from read_shard(place, place.name, sandbox, source_column=options.source_column, limits=options.archives)
    elif place.suffix.lower() in VIDEO_SUFFIXES:
        reader = FolderReader(place.parent, f"{place.parent.name}/", sandbox, options.source_column)
        yield from reader.read_video(place)
    elif place.suffix.lower() == ".txt" and not is_listed:
        yield from _read_list(place, options, sandbox)
    else:
        yield Rejection(name=place.name, reason="missing, or not a kind of file that is read")


def _read_list(place: Path, options: SourceOptions, sandbox: Sandbox) -> Iterator[SourceItem | Rejection]:
    """Lines of a list: paths, absolute or relative to the list; empty lines and those that begin with # are passed over."""
    try:
        lines = [line.strip() for line in decode_text(read_small(place, _MAX_LIST_BYTES)).splitlines()]
    except (Refused, LabelError) as error:
        yield Rejection(name=place.name, reason=f"not readable as a list of paths ({error})")
        return
    for line in lines:
        if not line or line.startswith("#"):
            continue
        if "://" in line or "\0" in line or len(os.fsencode(line)) > 4096:
            yield Rejection(name=f"{place.name}: {line[:200]}", reason="not a path")
            continue
        try:
            yield from _read(place.parent / line, options, sandbox, is_listed=True)
        except OSError as error:  # A part of the path is too long.
            yield Rejection(name=f"{place.name}: {line[:200]}", reason=str(error.strerror))


def _read_folder(root: Path, options: SourceOptions, sandbox: Sandbox) -> Iterator[SourceItem | Rejection]:
    reader = FolderReader(root, f"{root.name}/", sandbox, options.source_column)
    datasets: list[Path] = []
    for found in walk(root, root):
        if isinstance(found, Rejection):
            yield Rejection(name=reader.name_of(Path(found.name)), reason=found.reason)
            continue
        folder, files = found
        if any(folder.is_relative_to(dataset) for dataset in datasets):
            continue
        if is_lerobot(folder):
            datasets.append(folder)
            prefix = reader.name_of(folder) if folder != root else root.name
            yield from read_lerobot_items(folder, f"{prefix}/", sandbox, camera=options.camera)
            continue
        yield from reader.read(files)
        for path in files:
            if is_shard(path):
                yield from _read_shard_in(path, root, reader.name_of(path), options, sandbox)
    yield from reader.unread_rows()


def _read_shard_in(path: Path, root: Path, name: str, options: SourceOptions, sandbox: Sandbox) -> Iterator[SourceItem | Rejection]:
    if not path.resolve().is_relative_to(root.resolve()):
        yield Rejection(name=name, reason="a link that leads out of its folder")
        return
    yield from read_shard(path, name, sandbox, source_column=options.source_column, limits=options.archives)
