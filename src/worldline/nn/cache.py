"""An append-only attention cache whose past is shared between forks.

A cache is a value: appending returns a new cache that holds references to the same segments. Forking a state multiplies the batch of
what comes *after* the fork only: older segments keep their own, smaller batch, and attention broadcasts over them. So N candidates of
one plan hold one copy of their prompt, and rewinding is keeping an older cache.

May import: torch. Refuses to know: how attention is computed.

Shapes: B batch, N tokens per frame, H heads, T frames, D head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """Keys and values of consecutive frames in one time-attention layer, each (B, N, H, T, D)."""

    keys: Tensor
    values: Tensor

    @property
    def batch_size(self) -> int:
        """Rows that this stretch of the past was computed for."""
        return self.keys.shape[0]

    @property
    def num_frames(self) -> int:
        """Frames held."""
        return self.keys.shape[3]

    def first(self, count: int) -> "Segment":
        """A copy of the oldest `count` frames, which keeps nothing else of the tensors that it came from alive."""
        return Segment(*(x[:, :, :, :count].clone(memory_format=torch.contiguous_format) for x in (self.keys, self.values)))

    def last(self, count: int) -> "Segment":
        """A view of the newest `count` frames."""
        return Segment(self.keys[:, :, :, -count:], self.values[:, :, :, -count:])


@dataclass(frozen=True, slots=True)
class Cache:
    """For every time-attention layer, the segments of the past, oldest first."""

    layers: tuple[tuple[Segment, ...], ...]

    @classmethod
    def empty(cls, num_layers: int) -> "Cache":
        """A cache with no past."""
        return cls(((),) * num_layers)

    @property
    def num_frames(self) -> int:
        """Frames that a new frame can look back at."""
        return sum(segment.num_frames for segment in self.layers[0]) if self.layers else 0

    def append(self, new: tuple[Segment, ...], window: int) -> "Cache":
        """A cache with one more segment per layer, cut to the newest `window` frames."""
        return Cache(tuple(_trim((*old, segment), window) for old, segment in zip(self.layers, new, strict=True)))

    def gathered(self) -> "Cache":
        """The same past in as few segments as possible: neighbours of equal batch are joined, for attention that reads it many times."""
        return Cache(tuple(_join(segments) for segments in self.layers))

    def detached(self) -> "Cache":
        """The same past, through which no gradient passes."""
        return Cache(tuple(tuple(Segment(s.keys.detach(), s.values.detach()) for s in segments) for segments in self.layers))

    def select(self, rows: Tensor, batch_size: int) -> "Cache":
        """The past of some rows of a batch of `batch_size`; a copy, but for what all rows share."""

        def pick(segment: Segment) -> Segment:
            if segment.batch_size == 1:
                return segment
            index = rows // (batch_size // segment.batch_size)
            return Segment(segment.keys[index], segment.values[index])

        return Cache(tuple(tuple(pick(segment) for segment in segments) for segments in self.layers))

    def num_bytes(self) -> int:
        """Memory behind this cache; storage that segments share is counted once."""
        seen = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for segments in self.layers
            for segment in segments
            for tensor in (segment.keys, segment.values)
        }
        return sum(seen.values())


def _trim(segments: tuple[Segment, ...], window: int) -> tuple[Segment, ...]:
    kept: list[Segment] = []
    for segment in reversed(segments):
        if window <= 0:
            break
        kept.append(segment if segment.num_frames <= window else segment.last(window))
        window -= segment.num_frames
    return tuple(reversed(kept))


def _join(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    joined: list[Segment] = []
    run: list[Segment] = []
    for segment in segments:
        if run and run[-1].batch_size != segment.batch_size:
            joined.append(_concatenate(run))
            run = []
        run.append(segment)
    if run:
        joined.append(_concatenate(run))
    return tuple(joined)


def _concatenate(run: list[Segment]) -> Segment:
    if len(run) == 1:
        return run[0]
    return Segment(torch.cat([s.keys for s in run], dim=3), torch.cat([s.values for s in run], dim=3))
