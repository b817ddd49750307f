"""All results in, data sets out: duplicates dropped, episodes numbered, tables written, encoded video linked and not touched.

    <out>/datasets -> versions/<hash>            replaced at once, so that a reader sees the old set or the new one
    <out>/versions/<hash>/<group>/               one LeRobotDataset v3.0 per kind of labels: video, actions_7, ...
    <out>/versions/<hash>/clips.parquet          every clip, kept or not, with its scores and why

The order is that of the content's hashes. The hash is over the bytes of everything in the version.

May import: data, data.curate, data.ingest, numpy, pyarrow. Refuses to know: how results are made, who asked.
"""

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldline.data.curate.duplicates import DuplicateConfig, find_duplicates
from worldline.data.curate.fingerprint import NUM_PICTURES, SIDE
from worldline.data.curate.record import ClipRecord
from worldline.data.ingest.labels import columns_for
from worldline.data.ingest.work import Labels, Result, WorkFolder
from worldline.data.lerobot_layout import ACTION, REWARD, STATE
from worldline.data.lerobot_tables import Episode, TableWriter, file_name

CAMERA = "observation.image"
LINK = "datasets"
CLIPS_TABLE = "clips.parquet"
_EPISODES_PER_DATA_FILE = 1000


@dataclass(kw_only=True, slots=True, eq=False)
class Entry:
    """One clip on its way into a data set.

    Attributes:
        labels: what came with its file.
        result: what became of its file.
        number: which clip of the file it is.
        verdict: "kept", or why not: a fault, "duplicate" or "labels".
        detail: more about it: the clip that it repeats.
        caption: in words, or "".
        columns: labels of its frames.
        group, episode: where it lies in the data sets; empty and -1 if it does not.
    """

    labels: Labels
    result: Result
    number: int
    verdict: str
    detail: str = ""
    caption: str = ""
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    group: str = ""
    episode: int = -1

    @property
    def clip(self) -> ClipRecord:
        """What the pass noted of it."""
        assert self.result.passage is not None
        return self.result.passage.clips[self.number]

    @property
    def key(self) -> str:
        """Unique, and the same wherever the file lies."""
        return f"{self.result.name}-{self.number:05d}"

    @property
    def rank(self) -> tuple:
        """Of clips that show the same the smallest is kept: of the largest picture, then with actions, with words, by key."""
        assert self.result.passage is not None
        area = self.result.passage.width * self.result.passage.height
        return (-area, self.labels.actions is None, self.labels.caption is None, self.key)


def collect(work: WorkFolder) -> tuple[list[Entry], dict[str, str]]:
    """Every clip of every result in the order of keys, and the items that could not be read: name -> why.

    Files of equal bytes are one file; the one with actions, then with words, then with the smallest name speaks for them. Of one name the
    labels that were put last count.
    """
    latest: dict[tuple[str, str], Labels] = {}
    for labels in work.all_labels():
        of = labels.key, labels.name
        if of not in latest or labels.put_at > latest[of].put_at:
            latest[of] = labels
    speakers: dict[str, Labels] = {}
    for labels in latest.values():
        rank = (labels.actions is None, labels.caption is None, labels.name)
        other = speakers.get(labels.key)
        if other is None or rank < (other.actions is None, other.caption is None, other.name):
            speakers[labels.key] = labels
    entries: list[Entry] = []
    failures: dict[str, str] = {}
    for labels in speakers.values():
        result = work.result(labels.key)
        if result is None:
            continue
        if result.passage is None:
            failures[labels.name] = result.failure or "unknown"
            continue
        for number, clip in enumerate(result.passage.clips):
            entry = Entry(labels=labels, result=result, number=number, verdict=clip.verdict, caption=labels.caption or "")
            if entry.verdict == "kept":
                try:
                    entry.columns = columns_for(labels, clip)
                except ValueError as error:
                    entry.verdict, entry.detail = "labels", str(error)
            entries.append(entry)
    return sorted(entries, key=lambda entry: entry.key), dict(sorted(failures.items()))


def drop_duplicates(entries: Sequence[Entry], config: DuplicateConfig | None) -> None:
    """Mark kept entries that show what a better one shows."""
    kept = sorted((entry for entry in entries if entry.verdict == "kept"), key=lambda entry: entry.rank)
    if config is None or len(kept) < 2:
        return
    hashes = np.stack([np.frombuffer(entry.clip.hash, np.uint8) for entry in kept])
    pictures = np.stack([np.frombuffer(entry.clip.pictures, np.uint8).reshape(NUM_PICTURES, SIDE, SIDE) for entry in kept])
    # Pairs come sorted, so when `second` is looked at, it is already decided whether `first` stays.
    for first, second in find_duplicates(hashes, pictures, config):
        if kept[first].verdict == "kept" and kept[second].verdict == "kept":
            kept[second].verdict = "duplicate"
            kept[second].detail = f"{kept[first].labels.name} at {kept[first].clip.start_seconds:.2f} s"


def publish(entries: Sequence[Entry], out: Path, rate_hz: float, size: tuple[int, int]) -> str:
    """Write the data sets of `entries` and put them in place; returns their hash.

    Raises:
        ValueError: if nothing was kept.
    """
    versions = out / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    partial = versions / f".partial.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        hashes = _write(entries, partial, rate_hz, size)
        digest = hashlib.sha256("".join(f"{path} {value}\n" for path, value in sorted(hashes.items())).encode()).hexdigest()
        target = versions / digest[:16]
        if target.is_dir():
            shutil.rmtree(partial)
        else:
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    link = out / f".{LINK}.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("versions") / target.name)
    os.replace(link, out / LINK)
    for old in versions.iterdir():
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return digest


def groups_of(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Kept entries by the kind of their labels, because a data set has one set of columns."""
    kinds: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.verdict == "kept":
            columns = tuple((name, values.shape[1:]) for name, values in sorted(entry.columns.items()))
            kinds[(columns, entry.labels.action_names if ACTION in entry.columns else ())].append(entry)
    groups: dict[str, list[Entry]] = {}
    for (columns, names), members in sorted(kinds.items(), key=lambda kind: repr(kind[0])):
        widths = {name: shape[0] if shape else 1 for name, shape in columns}
        parts = [f"{word}_{widths[name]}" for word, name in (("actions", ACTION), ("states", STATE)) if name in widths]
        name = "_".join([*parts, *(["rewards"] if REWARD in widths else [])]) or "video"
        if name in groups:  # The same widths under other names of the components are another action space.
            name += "_" + hashlib.sha256(repr(names).encode()).hexdigest()[:8]
        groups[name] = members
    return groups


def _write(entries: Sequence[Entry], root: Path, rate_hz: float, size: tuple[int, int]) -> dict[str, str]:
    """Write everything under `root`; returns path -> sha256."""
    known: dict[str, str] = {}
    groups = groups_of(entries)
    if not groups:
        raise ValueError("nothing was kept, so there is no data set to write; the report says what each stage dropped")
    for group, members in groups.items():
        known |= _write_dataset(members, root, group, rate_hz, size)
    pq.write_table(clips_table(entries), root / CLIPS_TABLE)
    return {
        path.relative_to(root).as_posix(): known.get(path.relative_to(root).as_posix()) or hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _write_dataset(members: Sequence[Entry], root: Path, group: str, rate_hz: float, size: tuple[int, int]) -> dict[str, str]:
    """One data set; returns the hashes of its videos, which are known from when they were made."""
    folder = root / group
    folder.mkdir(parents=True)
    tables = TableWriter(folder, CAMERA, rate_hz, size)
    videos: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for episode, entry in enumerate(members):
        if entry.result.name not in videos:
            videos[entry.result.name] = len(videos)
            path = folder / "videos" / CAMERA / f"{file_name(videos[entry.result.name])}.mp4"
            assert entry.result.video is not None
            _link(entry.result.video, path)
            hashes[path.relative_to(root).as_posix()] = entry.result.video_sha256
        entry.group, entry.episode = group, episode
        described = Episode(
            num_frames=len(entry.clip.frame_indices),
            source=entry.labels.source,
            task=entry.caption,
            columns=entry.columns,
            facts=facts_of(entry),
            pixels=_pixels(entry.clip.strip),
        )
        tables.add(
            described,
            data_file=episode // _EPISODES_PER_DATA_FILE,
            video_file=videos[entry.result.name],
            from_frame=entry.clip.first_frame,
        )
    tables.close()
    tables.write_meta(None, members[0].labels.action_names if ACTION in members[0].columns else ())
    return hashes


def facts_of(entry: Entry) -> dict[str, float | int | str | bool]:
    """What is known of a clip besides its labels: what came with the file, where it was cut out, and its scores."""
    passage = entry.result.passage
    assert passage is not None
    return {
        **entry.labels.facts,
        "file": entry.labels.name,
        "start_seconds": round(entry.clip.start_seconds, 6),
        "end_seconds": round(entry.clip.end_seconds, 6),
        "original_width": passage.width,
        "original_height": passage.height,
        **{f"score.{name}": value for name, value in entry.clip.scores.items()},
    }


def clips_table(entries: Sequence[Entry]) -> pa.Table:
    """One row per clip, kept or not."""
    columns: Mapping[str, list] = {
        "key": [entry.key for entry in entries],
        "file": [entry.labels.name for entry in entries],
        "source": [entry.labels.source for entry in entries],
        "start_seconds": [round(entry.clip.start_seconds, 6) for entry in entries],
        "end_seconds": [round(entry.clip.end_seconds, 6) for entry in entries],
        "num_frames": [len(entry.clip.frame_indices) for entry in entries],
        "verdict": [entry.verdict for entry in entries],
        "detail": [entry.detail for entry in entries],
        "caption": [entry.caption for entry in entries],
        "group": [entry.group for entry in entries],
        "episode": [entry.episode for entry in entries],
        "hash": [entry.clip.hash for entry in entries],
    }
    names = list(dict.fromkeys(name for entry in entries for name in entry.clip.scores))
    return pa.table({**columns, **{f"score.{name}": [entry.clip.scores.get(name) for entry in entries] for name in names}})


def _link(source: Path, target: Path) -> None:
    """A second name for the file; a copy where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _pixels(strip: bytes) -> np.ndarray:
    """(1, P, 3) float in [0, 1]: every fourth pixel of a strip, enough for the statistics of colours."""
    import cv2  # noqa: PLC0415 - optional

    image = cv2.imdecode(np.frombuffer(strip, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a strip that is no JPEG")
    return image[::4, ::4, ::-1].reshape(1, -1, 3).astype(np.float32) / 255
