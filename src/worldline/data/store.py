"""A folder of flat memory-mapped arrays and the table of episodes that lie in them: what training reads.

    store.json    the table, the shapes, the action bounds and a fingerprint of the content
    frames.bin    (N, 3, H, W) uint8        or        latents.bin    (N, S, C) float16
    actions.bin   (N, A) float32            states.bin (N, D) float32            rewards.bin (N, 1) float32

N counts the frames of all episodes, one after the other, so that any set of windows is one gather. Rows of episodes without
a label are zero, and the table says so. The folder appears whole or not at all.

May import: interfaces, numpy, torch. Refuses to know: what the arrays mean.
"""

import dataclasses
import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import torch
from torch import Tensor

from worldline.interfaces import ActionSpec

FORMAT_VERSION = 1
LABELS = ("actions", "states", "rewards")


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """One row of the table.

    Attributes:
        start: first row in the arrays.
        num_frames: number of rows.
        rate_hz: frames per second.
        source: what training and held-out sets are split by.
        text: caption or task in words.
        labels: which of the arrays of labels hold something here.
    """

    start: int
    num_frames: int
    rate_hz: float
    source: str
    text: str | None
    labels: tuple[str, ...]


class ArrayStore:
    """Memory-mapped arrays and their episodes. A view (`split_by_source`) shares the arrays and lists fewer episodes.

    Attributes:
        folder: where it lies.
        episodes: the table.
        arrays: name -> tensor (N, ...), mapped copy-on-write: the files never change.
        action_spec: bounds of the actions; None when nothing is labelled.
        fingerprint: changes with any byte of the content and with the choice of episodes.
    """

    video_array = "frames"

    def __init__(
        self,
        folder: Path,
        episodes: Sequence[Episode],
        arrays: Mapping[str, Tensor],
        action_spec: ActionSpec | None,
        content_hash: str,
    ) -> None:
        self.folder = folder
        self.episodes = tuple(episodes)
        self.arrays = dict(arrays)
        self.action_spec = action_spec
        self._content_hash = content_hash
        rows = json.dumps([(episode.start, episode.num_frames) for episode in self.episodes])
        self.fingerprint = hashlib.sha256(f"{content_hash} {rows}".encode()).hexdigest()

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Map the store at `folder`.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is of another kind or version, or a file in it is cut short.
        """
        folder = Path(folder)
        if not (folder / "store.json").is_file():
            raise FileNotFoundError(f"{folder}: no store here (store.json is missing); build one first")
        table = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        if table.get("version") != FORMAT_VERSION or cls.video_array not in table.get("arrays", {}):
            raise ValueError(f"{folder}: not a store of {cls.video_array} of version {FORMAT_VERSION}; build it again")
        arrays = {name: _map(folder / f"{name}.bin", entry["dtype"], entry["shape"]) for name, entry in table["arrays"].items()}
        spec = table["action_spec"]
        return cls(
            folder=folder,
            episodes=[Episode(**(row | {"labels": tuple(row["labels"])})) for row in table["episodes"]],
            arrays=arrays,
            action_spec=None if spec is None else ActionSpec(**{name: tuple(value) for name, value in spec.items()}),
            content_hash=table["content_hash"],
        )

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def num_frames(self) -> int:
        """Frames in all episodes of this view."""
        return sum(episode.num_frames for episode in self.episodes)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of this view's episodes, sorted, each once."""
        return tuple(sorted({episode.source for episode in self.episodes}))

    @property
    def video(self) -> Tensor:
        """The frames (N, 3, H, W) uint8, or latents (N, S, C) float16, of all episodes, also those outside this view."""
        return self.arrays[self.video_array]

    def rows(self, name: str, episode: Episode) -> Tensor | None:
        """The rows of one episode in the array `name`, sharing its memory; None where the episode has no such label."""
        if name in LABELS and name not in episode.labels:
            return None
        return self.arrays[name][episode.start : episode.start + episode.num_frames]

    def split_by_source(self, held_out: float | Collection[str], *, seed: int = 0) -> tuple[Self, Self]:
        """Two views, (train, held out), without a source in common, so that nothing of a held-out scene was ever trained on.

        Args:
            held_out: the sources to hold out; or the fraction of sources, at least one and never all, drawn with `seed`.
            seed: for the draw.

        Raises:
            ValueError: if a named source does not exist, or one side would be empty.
        """
        chosen = held_out_sources(self.sources, held_out, seed=seed)
        train = [episode for episode in self.episodes if episode.source not in chosen]
        unseen = [episode for episode in self.episodes if episode.source in chosen]
        return self._view(train), self._view(unseen)

    def _view(self, episodes: Sequence[Episode]) -> Self:
        return type(self)(self.folder, episodes, self.arrays, self.action_spec, self._content_hash)


def held_out_sources(sources: Sequence[str], held_out: float | Collection[str], *, seed: int = 0) -> set[str]:
    """Which of `sources` (sorted, each once) to hold out; see `ArrayStore.split_by_source`.

    Raises:
        ValueError: if a named source does not exist, or one side would be empty.
    """
    sources = list(sources)
    if isinstance(held_out, str):
        held_out = (held_out,)
    if isinstance(held_out, Collection):
        unknown = sorted(set(held_out) - set(sources))
        if unknown:
            raise ValueError(f"no source {', '.join(unknown)}; the sources are {', '.join(sources[:20])}{', …' * (len(sources) > 20)}")
        chosen = set(held_out)
    elif 0 < held_out < 1:
        random.Random(seed).shuffle(sources)
        chosen = set(sources[: min(len(sources) - 1, max(1, round(held_out * len(sources))))])
    else:
        raise ValueError(f"held_out is {held_out}; give a fraction between 0 and 1, or the names of sources")
    if not chosen or len(chosen) == len(sources):
        raise ValueError(f"holding out {len(chosen)} of {len(sources)} sources leaves one side empty; a split needs two or more")
    return chosen


class ArrayWriter:
    """Writes a store, episode by episode; use it in a `with` block. The folder appears when `finish` has been called.

    Raises:
        FileExistsError: if `folder` exists.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        if self._folder.exists():
            raise FileExistsError(f"{self._folder} exists; open it, remove it, or build the store elsewhere")
        self._partial = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._files: dict[str, BinaryIO] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._dtypes: dict[str, str] = {}
        self._hash = hashlib.sha256()
        self.episodes: list[Episode] = []
        self.num_frames = 0

    def append(self, arrays: Mapping[str, Tensor], *, rate_hz: float, source: str, text: str | None) -> None:
        """Add an episode: name -> tensor (T, ...), equal T, and rows of the shape that earlier episodes had.

        Raises:
            ValueError: for rows of another shape.
        """
        lengths = {len(rows) for rows in arrays.values()}
        assert len(lengths) == 1, f"arrays of {lengths} rows in one episode"
        for name, rows in arrays.items():
            self._append_rows(name, rows, source)
        self.episodes.append(
            Episode(
                start=self.num_frames,
                num_frames=lengths.pop(),
                rate_hz=float(rate_hz),
                source=source,
                text=text,
                labels=tuple(name for name in LABELS if name in arrays),
            )
        )
        self.num_frames += self.episodes[-1].num_frames
        self._hash.update(json.dumps(dataclasses.astuple(self.episodes[-1])).encode())

    def finish(self, action_spec: ActionSpec | None) -> None:
        """Write the table and publish the folder."""
        for name in self._files:
            self._fill(name, self.num_frames)
        table: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "content_hash": self._hash.hexdigest(),
            "arrays": {name: {"dtype": self._dtypes[name], "shape": [self.num_frames, *self._shapes[name]]} for name in self._files},
            "action_spec": None if action_spec is None else dataclasses.asdict(action_spec),
            "episodes": [dataclasses.asdict(episode) for episode in self.episodes],
        }
        (self._partial / "store.json").write_text(json.dumps(table), encoding="utf-8")
        self._close()
        self._partial.rename(self._folder)

    def _append_rows(self, name: str, rows: Tensor, source: str) -> None:
        if name not in self._files:
            self._files[name] = (self._partial / f"{name}.bin").open("wb")
            self._shapes[name] = tuple(rows.shape[1:])
            self._dtypes[name] = str(rows.dtype).removeprefix("torch.")
        if tuple(rows.shape[1:]) != self._shapes[name]:
            raise ValueError(f"{source}: {name} of shape {tuple(rows.shape[1:])} per frame, the episodes before have {self._shapes[name]}")
        self._fill(name, self.num_frames)
        data = rows.contiguous().cpu().numpy()
        self._files[name].write(data.data)
        self._hash.update(data.data)

    def _fill(self, name: str, num_rows: int) -> None:
        """Zero rows for the episodes that came without this label; a hole in the file, which costs no disk."""
        row_bytes = math.prod(self._shapes[name]) * torch.empty(0, dtype=getattr(torch, self._dtypes[name])).element_size()
        self._files[name].truncate(num_rows * row_bytes)
        self._files[name].seek(num_rows * row_bytes)

    def _close(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()
        shutil.rmtree(self._partial, ignore_errors=True)


def _map(path: Path, dtype: str, shape: Sequence[int]) -> Tensor:
    """A file as a tensor, copy-on-write: torch refuses read-only memory, and writes must never reach the file."""
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not path.is_file() or path.stat().st_size != num_bytes:
        found = f"{path.stat().st_size} bytes" if path.is_file() else "missing"
        raise ValueError(f"{path}: {found}, expected {num_bytes} bytes; the store is damaged, build it again")
    return torch.from_numpy(np.memmap(path, dtype=dtype, mode="c", shape=tuple(shape)))
