"""Recorded episodes in other colours and another light: for recordings of few places, whose look is soon known by heart.

May import: data, interfaces. Refuses to know: whether colours mean something in a scene; the caller says.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from worldline.data import EpisodeStore, to_float, to_uint8
from worldline.interfaces import Clip

_SATURATION, _HUE, _CONTRAST, _BRIGHTNESS = (0.6, 1.4), (-0.6, 0.6), (0.75, 1.25), (-0.15, 0.15)


def with_other_colors(store: EpisodeStore, folder: Path, *, copies: int, piece_frames: int, seed: int = 0) -> EpisodeStore:
    """The episodes of `store`, and after each `copies` of it in other colours, in a store at `folder`; opened if it is there.

    A copy is cut into pieces, each in colours of its own: saturation times 0.6 to 1.4, hue turned by up to 34 degrees, contrast times 0.75
    to 1.25, brightness up to 0.15 more or less. A piece has the source of its episode, and its actions.

    Args:
        store: training episodes; those to measure on stay as they are.
        folder: of the new store.
        copies: of each episode, at least 1.
        piece_frames: recorded frames of a piece; what remains at an episode's end is left out if it is less than half of one.
        seed: of the colours.

    Raises:
        ValueError: if a number is out of range, or the store at `folder` holds other episodes or colours.
    """
    if copies < 1 or piece_frames < 2:
        raise ValueError(f"{copies} copies in pieces of {piece_frames} frames; give at least one copy, and pieces of two frames or more")
    clips = _clips(store, copies, piece_frames, seed)
    if not (folder / "store.json").is_file():
        return EpisodeStore.build(folder, clips, action_spec=store.action_spec)
    more = EpisodeStore.open(folder)
    # Broken off before the run was noted down, it may be of other arguments.
    lengths = [episode.num_frames for episode in more.episodes]
    wanted = [length for episode in store.episodes for length in _lengths(episode.num_frames, copies, piece_frames)]
    few = list(islice(clips, 4))
    if lengths != wanted or not all(torch.equal(more.episode(index).frames, clip.frames) for index, clip in enumerate(few)):
        raise ValueError(f"{folder} holds other episodes, or in other colours; give another output folder")
    return more


def recolored(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Frames (T, 3, H, W) uint8, all in the same other colours."""
    saturation, hue, contrast, brightness = (
        low + (high - low) * float(torch.rand((), generator=generator)) for low, high in (_SATURATION, _HUE, _CONTRAST, _BRIGHTNESS)
    )
    pictures = to_float(frames)
    grey = pictures.mean(1, keepdim=True)
    pictures = torch.einsum("ij,tjhw->tihw", _turned(hue), grey + (pictures - grey) * saturation)
    return to_uint8((pictures - 0.5) * contrast + 0.5 + brightness)


def _turned(angle: float) -> Tensor:
    """(3, 3): a rotation of colours around grey."""
    cosine, sine = math.cos(angle), math.sin(angle)
    rest, side = (1 - cosine) / 3, sine / math.sqrt(3)
    return torch.tensor(
        [
            [cosine + rest, rest - side, rest + side],
            [rest + side, cosine + rest, rest - side],
            [rest - side, rest + side, cosine + rest],
        ]
    )


def _lengths(num_frames: int, copies: int, piece: int) -> list[int]:
    """Frames of an episode and of the pieces that follow it."""
    pieces = [min(piece, num_frames - start) for start in range(0, num_frames, piece)]
    return [num_frames, *[length for length in pieces if 2 * length >= piece] * copies]


def _clips(store: EpisodeStore, copies: int, piece: int, seed: int) -> Iterator[Clip]:
    generator = torch.Generator().manual_seed(seed)
    for index in range(len(store)):
        clip = store.episode(index)
        yield clip
        starts = range(0, len(clip.frames), piece)
        for rows in (slice(start, min(start + piece, len(clip.frames))) for _ in range(copies) for start in starts):
            if 2 * (rows.stop - rows.start) < piece:
                continue
            known = {name: getattr(clip, name) for name in ("actions", "states", "rewards")}
            cut = {name: value[rows] for name, value in known.items() if value is not None}
            labels = {name: value[rows] for name, value in clip.labels.items()}
            yield replace(clip, frames=recolored(clip.frames[rows], generator), labels=labels, **cut)
