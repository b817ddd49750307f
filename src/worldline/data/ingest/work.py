"""Results on disk: one folder per item, named by the item's content and the settings, written whole or not at all.

    work/results/<settings>/<ab>/<name>/passage.json, video.mp4     what the pass over the pixels found and kept
    work/labels/<ab>/<name>.json, .npz                              what came with them, by its own content

Equal names hold equal content, so processes that make the same result twice, here or on another machine, do no harm.

May import: data.sources (the record), data.curate.record, numpy. Refuses to know: how results are made.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldline.data.curate.record import Passage, passage_from_json
from worldline.data.sources import SourceItem

logger = logging.getLogger(__name__)

_PASSAGE, _VIDEO = "passage.json", "video.mp4"
_ARRAYS = ("actions", "states", "rewards")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of the pixels of an item.

    Attributes:
        name: of the result.
        passage: None if the file could not be read.
        failure: why not.
        video: the kept clips, one after the other; None if there are none.
        video_sha256: of its bytes; empty where there is none.
    """

    name: str
    passage: Passage | None
    failure: str | None
    video: Path | None
    video_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labels:
    """What came with the pixels of an item; fields as of `SourceItem`.

    Attributes:
        key: of the pixels.
        put_at: when, in seconds since 1970; 0 where it was not noted. Of two notes on one file the later one is believed.
        name, source, caption, facts, action_names, rate_hz, start_seconds, actions, states, rewards: as there.
    """

    key: str
    put_at: float
    name: str
    source: str
    caption: str | None
    facts: Mapping[str, Any]
    action_names: tuple[str, ...]
    rate_hz: float | None
    start_seconds: float
    actions: np.ndarray | None
    states: np.ndarray | None
    rewards: np.ndarray | None


class WorkFolder:
    """The results under `folder` that were made with the settings of `settings_key`."""

    def __init__(self, folder: str | Path, settings_key: str) -> None:
        self.folder = Path(folder)
        self.settings_key = settings_key
        self._results = self.folder / "results" / settings_key[:16]
        self._labels = self.folder / "labels"
        self.num_damaged_labels = 0

    def result_name(self, item_key: str) -> str:
        """The name of the result for the pixels `item_key`."""
        return hashlib.sha256(f"{item_key} {self.settings_key}".encode()).hexdigest()

    def has_result(self, item_key: str, *, or_failure: bool = True) -> bool:
        """Whether the pass over these pixels was made; `or_failure`: or tried in vain."""
        path = self._result_folder(self.result_name(item_key)) / _PASSAGE
        return path.is_file() and (or_failure or b'"failure"' not in path.read_bytes()[:16])

    def put_result(self, item_key: str, passage: bytes, video: bytes) -> None:
        """Keep what a pass found, and the video of what it kept (empty for none)."""
        self._put(item_key, passage, video)

    def put_failure(self, item_key: str, reason: str) -> None:
        """Keep that these pixels could not be read, so that the next run does not try again."""
        self._put(item_key, json.dumps({"failure": reason}).encode(), b"")

    def forget(self, item_key: str) -> None:
        """Drop a result."""
        shutil.rmtree(self._result_folder(self.result_name(item_key)), ignore_errors=True)

    def result(self, item_key: str) -> Result | None:
        """What was kept for these pixels; None if nothing was, or if it is damaged, in which case it is dropped."""
        name = self.result_name(item_key)
        folder = self._result_folder(name)
        try:
            content = (folder / _PASSAGE).read_bytes()
            if content.startswith(b'{"failure"'):
                return Result(name=name, passage=None, failure=str(json.loads(content)["failure"]), video=None, video_sha256="")
            head, _, body = content.partition(b"\n")
            found = json.loads(head)
            passage = passage_from_json(body)
            video = folder / _VIDEO if found["video_sha256"] else None
            if video is not None and video.stat().st_size != found["video_bytes"]:
                raise ValueError("its video was cut short")
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        except (ValueError, LookupError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            return None
        return Result(name=name, passage=passage, failure=None, video=video, video_sha256=found["video_sha256"])

    def put_labels(self, item: SourceItem) -> str:
        """Keep what came with an item's pixels; returns its name."""
        name = hashlib.sha256(f"{item.key} {item.labels_key}".encode()).hexdigest()
        path = self._labels / name[:2] / f"{name}.json"
        if _labels_at(path) is not None:
            return name
        arrays = {key: getattr(item, key) for key in _ARRAYS if getattr(item, key) is not None}
        fields = {
            "key": item.key,
            "name": item.name,
            "source": item.source,
            "caption": item.caption,
            "facts": dict(item.facts),
            "action_names": list(item.action_names),
            "rate_hz": item.rate_hz,
            "start_seconds": item.start_seconds or 0.0,
            "has_arrays": bool(arrays),
            "put_at": time.time(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            partial = path.with_name(f".{name}.{uuid.uuid4().hex}.npz")
            np.savez(partial, **arrays)
            os.replace(partial, path.with_suffix(".npz"))
        _replace(path, json.dumps(fields).encode())
        return name

    def all_labels(self) -> Iterator[Labels]:
        """Everything that was ever put, by name; what is damaged is named in a warning, and put again by the next pass over its source."""
        for path in sorted(self._labels.glob("*/*.json")):
            labels = _labels_at(path)
            if labels is None:
                logger.warning("labels %s are damaged and left out; ingest their source again", path)
                self.num_damaged_labels += 1
            else:
                yield labels

    def sweep(self) -> None:
        """Remove what killed processes left half written."""
        shutil.rmtree(self.folder / "partial", ignore_errors=True)

    def _result_folder(self, name: str) -> Path:
        return self._results / name[:2] / name

    def _put(self, item_key: str, passage: bytes, video: bytes) -> None:
        target = self._result_folder(self.result_name(item_key))
        partial = self.folder / "partial" / uuid.uuid4().hex
        partial.mkdir(parents=True)
        head = json.dumps({"video_sha256": hashlib.sha256(video).hexdigest() if video else "", "video_bytes": len(video)}).encode()
        (partial / _PASSAGE).write_bytes(passage if passage.startswith(b'{"failure"') else head + b"\n" + passage)
        if video:
            (partial / _VIDEO).write_bytes(video)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.rename(target)
        except OSError:
            # Another process was first; what it wrote is the same.
            shutil.rmtree(partial, ignore_errors=True)
            if not target.is_dir():
                raise


def _labels_at(path: Path) -> Labels | None:
    """Labels as they were put; None if they were not, or are damaged."""
    try:
        fields = json.loads(path.read_bytes())
        arrays: dict[str, np.ndarray] = {}
        if fields.pop("has_arrays"):
            with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as found:
                arrays = dict(found)
        fields["action_names"] = tuple(fields["action_names"])
        return Labels(**{"put_at": 0.0} | fields, **{key: arrays.get(key) for key in _ARRAYS})
    except (OSError, ValueError, TypeError, LookupError, AttributeError, EOFError, zipfile.BadZipFile):
        return None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
