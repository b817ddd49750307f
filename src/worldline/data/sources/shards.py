"""WebDataset shards: tar archives in which neighbours of one name are one sample, read as a stream and never unpacked.

    clip_01.mp4   clip_01.txt or .json (caption, facts)   clip_01.npy, .csv or .parquet (rows per frame)

The name of a sample ends at the first dot of its last part. A NumPy array is the actions, or the states where its field says so
(`clip_01.states.npy`). Several videos of one sample (`clip_01.left.mp4`) are several items with the same labels.

May import: data.sources, data.sandbox, numpy. Refuses to know: the archive's format.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from worldline.data.media import VideoError
from worldline.data.sandbox import Sandbox
from worldline.data.sources import labels as parse
from worldline.data.sources.folder import VIDEO_SUFFIXES, item_of, read_labels
from worldline.data.sources.item import Rejection, SourceItem
from worldline.data.sources.labels import LabelError, Labels
from worldline.data.sources.places import MAX_LABEL_BYTES, Refused, open_regular
from worldline.data.sources.tar_stream import ArchiveLimits, Member, read_members

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_LABEL_SUFFIXES = (".csv", ".parquet", ".json", ".txt")
_CAPTION_FIELDS = ("caption", "text", "prompt")
_MAX_FIELDS = 64


@dataclass(slots=True)
class _Sample:
    """The members of one name: field, such as `left.mp4`, -> content."""

    name: str
    fields: dict[str, bytes] = field(default_factory=dict)
    num_bytes: int = 0


def is_shard(path: Path) -> bool:
    """Whether a file is called like an archive that is read."""
    return path.name.lower().endswith(SHARD_SUFFIXES)


def read_shard(
    path: Path, name: str, sandbox: Sandbox, *, source_column: str | None, limits: ArchiveLimits
) -> Iterator[SourceItem | Rejection]:
    """The videos in one archive, with their labels; `name` goes in front of theirs."""
    try:
        file = open_regular(path)
    except Refused as refusal:
        yield Rejection(name=name, reason=str(refusal))
        return
    without = 0
    with file:
        for found in _read_samples(read_members(file, name, limits), name, sandbox, source_column, limits):
            yield found
            without = without + 1 if isinstance(found, Rejection) else 0
            if without >= limits.max_rejections:
                yield Rejection(name=name, reason=f"given up after {without} members in a row that are no video")
                return


def _read_samples(
    members: Iterator[Member | Rejection], archive: str, sandbox: Sandbox, source_column: str | None, limits: ArchiveLimits
) -> Iterator[SourceItem | Rejection]:
    sample = _Sample("")
    for member in members:
        if isinstance(member, Rejection):
            yield member
            continue
        stem, dot, key = _split(member.name)
        if stem != sample.name:
            yield from _items(sample, archive, sandbox, source_column)
            sample = _Sample(stem)
        reason = _refusal(sample, key if dot else "", member, limits)
        if reason is not None:
            yield Rejection(name=f"{archive}/{member.name}", reason=reason)
            continue
        sample.fields[key] = member.content
        sample.num_bytes += len(member.content)
    yield from _items(sample, archive, sandbox, source_column)


def _split(name: str) -> tuple[str, str, str]:
    """`folder/clip.left.mp4` as the sample's name `folder/clip` and the field `left.mp4`."""
    folder, slash, last = name.rpartition("/")
    stem, dot, key = last.partition(".")
    return folder + slash + stem, dot, key.lower()


def _refusal(sample: _Sample, key: str, member: Member, limits: ArchiveLimits) -> str | None:
    if not key:
        return "no suffix that says what it is"
    if key in sample.fields:
        return "a second member of this name"
    if len(sample.fields) >= _MAX_FIELDS or sample.num_bytes + len(member.content) > limits.max_member_bytes:
        return f"its sample holds more than {limits.max_member_bytes} bytes, or {_MAX_FIELDS} members"
    if not f".{key}".endswith(VIDEO_SUFFIXES) and len(member.content) > MAX_LABEL_BYTES:
        return f"more than {MAX_LABEL_BYTES} bytes of labels"
    return None


def _items(sample: _Sample, archive: str, sandbox: Sandbox, source_column: str | None) -> Iterator[SourceItem | Rejection]:
    videos = [key for key in sample.fields if f".{key}".endswith(VIDEO_SUFFIXES)]
    if not videos:
        if sample.fields:
            yield Rejection(name=f"{archive}/{sample.name}", reason=f"no video in it, only {', '.join(sorted(sample.fields))[:200]}")
        return
    labels = Labels()
    for key in sorted(sample.fields):
        if key in videos:
            continue
        try:
            labels.add(_labels_of(key, sample.fields[key], sandbox, source_column))
        except (LabelError, VideoError) as error:
            yield Rejection(name=f"{archive}/{sample.name}.{key}", reason=f"labels left out: {error}")
    for key in videos:
        content = sample.fields[key]
        name = f"{archive}/{sample.name}.{key}"
        if not content:
            yield Rejection(name=name, reason="the file is empty")
            continue
        labels.source = labels.source or f"{archive}/{sample.name}"
        yield item_of(labels, key=hashlib.sha256(content).hexdigest(), name=name, content=content)


def _labels_of(key: str, content: bytes, sandbox: Sandbox, source_column: str | None) -> Labels:
    suffix = Path(f"x.{key}").suffix
    if suffix == ".npy":
        rows = parse.from_array(content)
        return Labels(states=rows) if "state" in key else Labels(actions=rows)
    if suffix in _LABEL_SUFFIXES:
        return read_labels(suffix, content, sandbox, source_column)
    if key in _CAPTION_FIELDS:
        return parse.from_text(content)
    return Labels()
