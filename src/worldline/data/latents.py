"""Latents on disk: the tokenizer's output, computed once, so that the large model never waits for pixels.

May import: data.store, data.episodes, data.pixels, rich. Refuses to know: what the tokenizer is; it is a function here.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from worldline.data.episodes import EpisodeStore
from worldline.data.pixels import to_float
from worldline.data.store import LABELS, ArrayStore, ArrayWriter, Episode

Encode = Callable[[Tensor], Tensor]


class LatentStore(ArrayStore):
    """A store of latents (N, S, C) float16 with the labels of the episodes that they came from. See `ArrayStore`."""

    video_array = "latents"

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(S, C): tokens per frame and channels per token."""
        num_tokens, num_channels = self.video.shape[1:]
        return num_tokens, num_channels


def cache_latents(
    store: EpisodeStore,
    encode: Encode,
    *,
    key: str,
    folder: str | Path,
    chunk_frames: int | None = None,
    context_frames: int = 0,
    episodes_at_once: int = 1,
    progress: bool = True,
) -> LatentStore:
    """Encode every episode of `store` into a `LatentStore` below `folder`; a second call with the same content opens what is there.

    A call that was killed half way continues after the last episode that it finished.

    Args:
        store: the pixels; a view gives a store of that view's episodes only.
        encode: frames (E, T, 3, H, W) float in [0, 1] -> latents (E, T, S, C); called without gradients.
        key: names the tokenizer, usually a hash of its weights; another key means another sub-folder.
        folder: where caches are kept.
        chunk_frames: longest stretch given to `encode` at once; whole episodes when None.
        context_frames: earlier frames put before each later chunk, for a tokenizer that looks back; their latents are dropped.
        episodes_at_once: E, as many at most, where neighbours are equally long and fit into a chunk; what a GPU wants.
        progress: draw a progress bar.

    Raises:
        ValueError: if `encode` returns other shapes, or latents that are not finite or too large for float16.
    """
    if (chunk_frames is not None and chunk_frames < 1) or context_frames < 0:
        raise ValueError(f"chunk_frames is {chunk_frames} and context_frames is {context_frames}; give at least 1 and at least 0")
    settings = f"{key} {store.fingerprint} {chunk_frames} {context_frames}"
    folder = Path(folder) / hashlib.sha256(settings.encode()).hexdigest()[:16]
    finished = folder.with_name(f"{folder.name}.episodes")
    if not (folder / "store.json").is_file():
        try:
            finished.mkdir(parents=True, exist_ok=True)
            columns = (TextColumn("encoding episodes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, disable=not progress) as bar:
                task = bar.add_task("", total=len(store))
                paths = {index: finished / f"{index:06d}.npy" for index in range(len(store))}
                for group in _groups(store, chunk_frames, episodes_at_once):
                    todo = [index for index in group if not _is_whole(paths[index])]
                    some = [store.episodes[index] for index in todo]
                    encoded = _encode_together if len(some) > 1 else _encode_chunks
                    for index, latents in zip(todo, encoded(store, some, encode, chunk_frames, context_frames), strict=True):
                        _save_whole(latents, paths[index])
                    bar.advance(task, len(group))
            _collect(store, finished, folder)
        except OSError:
            if not (folder / "store.json").is_file():  # else another run that shares the folder came first, and its latents are these
                raise
    shutil.rmtree(finished, ignore_errors=True)
    return LatentStore.open(folder)


def _groups(store: EpisodeStore, chunk_frames: int | None, most: int) -> Iterator[list[int]]:
    """Indices of neighbouring episodes that may be encoded together."""
    group: list[int] = []
    for index, episode in enumerate(store.episodes):
        alike = group and episode.num_frames == store.episodes[group[0]].num_frames
        if group and not (alike and len(group) < most and episode.num_frames <= (chunk_frames or episode.num_frames)):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _encode_together(
    store: EpisodeStore, episodes: Sequence[Episode], encode: Encode, chunk_frames: int | None, context_frames: int
) -> Iterator[Tensor]:
    """The latents (T, S, C) float16 of episodes that are equally long and no longer than a chunk."""
    frames = [rows for episode in episodes if (rows := store.rows("frames", episode)) is not None]
    yield from _encoded(torch.stack(frames), encode, [episode.source for episode in episodes])


def _encode_chunks(
    store: EpisodeStore, episodes: Sequence[Episode], encode: Encode, chunk_frames: int | None, context_frames: int
) -> Iterator[Tensor]:
    """The latents (T, S, C) float16 of episodes, one after the other and a chunk at a time."""
    for episode in episodes:
        frames = store.rows("frames", episode)
        assert frames is not None
        step, chunks = chunk_frames or len(frames), []
        for start in range(0, len(frames), step):
            first = max(0, start - context_frames)
            (latents,) = _encoded(frames[None, first : start + step], encode, [episode.source])
            chunks.append(latents[start - first :])
        yield torch.cat(chunks)


def _encoded(frames: Tensor, encode: Encode, sources: Sequence[str]) -> Tensor:
    """Latents (E, T, S, C) float16 of frames (E, T, 3, H, W) of eight bits.

    Raises:
        ValueError: if `encode` returns other shapes, or latents that are not finite or too large.
    """
    pixels = to_float(frames)
    with torch.no_grad():
        latents = encode(pixels)
    if latents.ndim != 4 or latents.shape[:2] != pixels.shape[:2]:
        raise ValueError(f"encode returned {tuple(latents.shape)} for frames {tuple(pixels.shape)}; it must return (E, T, S, C)")
    half = latents.to("cpu", torch.float16)
    for source, one in zip(sources, half, strict=True):
        if not torch.isfinite(one).all():
            raise ValueError(f"{source}: latents hold NaN, infinity, or values beyond float16's 65504")
    return half


def _is_whole(path: Path) -> bool:
    """Whether an episode's latents are there; a file that a crash of the machine cut short is not."""
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return True


def _save_whole(latents: Tensor, path: Path) -> None:
    """Write an array under another name first, so that a file with the right name is always complete."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, latents.numpy(), allow_pickle=False)
    os.replace(partial, path)


def _collect(store: EpisodeStore, finished: Path, folder: Path) -> None:
    """Join the episodes' latents and their labels into one store."""
    with ArrayWriter(folder) as writer:
        for index, episode in enumerate(store.episodes):
            arrays = {"latents": torch.from_numpy(np.load(finished / f"{index:06d}.npy", allow_pickle=False))}
            for name in LABELS:
                rows = store.rows(name, episode) if name in episode.labels else None
                if rows is not None:
                    arrays[name] = rows
            writer.append(arrays, rate_hz=episode.rate_hz, source=episode.source, text=episode.text)
        writer.finish(store.action_spec)
