"""Several streams of batches as one: data sets of other sizes, rates and robots, in the proportions that are asked for.

A batch comes from one data set, so it has one shape and one meaning of its actions; `Batch.dataset` says which. Where all have one
shape it may be mixed of several.

May import: interfaces, data.stream, data.video_index, data.video_loader, numpy, torch. Refuses to know: where batches come from.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from worldline.data.stream import BatchStream
from worldline.data.video_index import VideoIndex
from worldline.data.video_loader import VideoLoader
from worldline.interfaces import ActionSpec, Batch

_GOLDEN = (math.sqrt(5) - 1) / 2


class Mixture(BatchStream):
    """Draws each batch from one of several streams.

    The proportions hold over any stretch, not only on average: batch `i` comes from where the fraction of `i` times the golden ratio
    falls (Weyl's sequence), so that of `n` batches each stream gets its share to within a few.

    Args:
        streams: by the name that `Batch.dataset` will have.
        weights: how often each is drawn, relative to the others; equally often if None.
        shared_actions: map the actions of each stream to [-1, 1] by its own bounds, and add zeros up to the widest, so that one network
            takes the actions of all; otherwise they stay in their own units and widths.
        parts: batches of the streams that are put together, row below row, into one of the mixture. With 1 a batch is of one data set; with
            more it is mixed, which whatever computes statistics over a batch (batch normalisation, for one) needs. Labels that only some
            rows have are zero in the others, and the masks say so.
        seed: of where the sequence starts.
        num_workers: threads that prepare batches ahead; those of the streams are not used.

    Raises:
        ValueError: if there are no streams, or weights that name others or are not positive, or parts with actions of several meanings.
    """

    def __init__(
        self,
        streams: Mapping[str, BatchStream],
        *,
        weights: Mapping[str, float] | None = None,
        shared_actions: bool = False,
        parts: int = 1,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(seed=seed, num_workers=num_workers)
        weights = dict.fromkeys(streams, 1.0) if weights is None else weights
        if not streams or weights.keys() != streams.keys() or not all(0 < weight < math.inf for weight in weights.values()):
            raise ValueError(f"weights are {dict(weights)} for {', '.join(streams) or 'no streams'}; give each stream a positive weight")
        self.streams = dict(streams)
        self.shared_actions = shared_actions
        self.parts = parts
        if parts < 1:
            raise ValueError(f"parts is {parts}; give at least 1")
        if parts > 1:
            _ = self.action_spec  # one batch, one meaning of its actions
        total = sum(weights.values())
        self.weights = {name: weights[name] / total for name in streams}
        self._ends = np.cumsum(list(self.weights.values()))
        self._start = float(np.random.default_rng(seed).random())

    @property
    def num_windows(self) -> int:
        """Of all streams together."""
        return sum(stream.num_windows for stream in self.streams.values())

    @property
    def action_specs(self) -> dict[str, ActionSpec | None]:
        """Bounds of each stream's own actions, before `shared_actions` maps them."""
        return {name: stream.action_spec for name, stream in self.streams.items()}

    @property
    def action_spec(self) -> ActionSpec | None:
        """Bounds of the actions in the batches, where all have the same.

        Raises:
            ValueError: if the streams have several action spaces and `shared_actions` is off.
        """
        specs = [spec for spec in self.action_specs.values() if spec is not None]
        if not specs:
            return None
        if self.shared_actions:
            widest = max(spec.dim for spec in specs)
            return ActionSpec(low=(-1.0,) * widest, high=(1.0,) * widest)
        if any(spec != specs[0] for spec in specs):
            raise ValueError("these data sets have several action spaces: read `action_specs` and `Batch.dataset`, or set shared_actions")
        return specs[0]

    def name_of(self, index: int) -> str:
        """The stream that batch number `index` comes from; of a mixture of several `parts`, that part number `index` comes from."""
        place = (self._start + index * _GOLDEN) % 1.0
        return list(self.streams)[min(int(np.searchsorted(self._ends, place, side="right")), len(self.streams) - 1)]

    def batch(self, index: int) -> Batch:
        """Batch number `index`: that of the same number in the stream that it comes from; or `parts` such batches in a row, as one."""
        if self.parts == 1:
            return self._part(index)
        return _joined([self._part(index * self.parts + part) for part in range(self.parts)])

    def _part(self, index: int) -> Batch:
        name = self.name_of(index)
        batch = self.streams[name].batch(index)
        spec = self.streams[name].action_spec
        actions = batch.actions
        if self.shared_actions and spec is not None and actions is not None and batch.action_mask is not None:
            shared = self.action_spec
            assert shared is not None
            actions = functional.pad(spec.normalize(actions) * batch.action_mask[..., None], (0, shared.dim - spec.dim))
        return dataclasses.replace(batch, actions=actions, dataset=name)

    def stream(self) -> dict[str, Any]:
        """See `BatchStream.stream`."""
        return {
            "seed": self.seed,
            "weights": self.weights,
            "shared_actions": self.shared_actions,
            **({} if self.parts == 1 else {"parts": self.parts}),
            "streams": {name: stream.stream() for name, stream in self.streams.items()},
        }


def _joined(batches: Sequence[Batch]) -> Batch:
    """The rows of several batches as one."""

    def rows(name: str) -> Tensor | None:
        found = [getattr(batch, name) for batch in batches]
        like = next((value for value in found if value is not None), None)
        if like is None:
            return None
        return torch.cat([_zeros(batch, like) if value is None else value for batch, value in zip(batches, found, strict=True)])

    return Batch(
        frames=rows("frames"),
        latents=rows("latents"),
        actions=rows("actions"),
        action_mask=rows("action_mask"),
        rewards=rows("rewards"),
        reward_mask=rows("reward_mask"),
    )


def _zeros(batch: Batch, like: Tensor) -> Tensor:
    """Nothing, for every row of a batch: zeros of the kind of `like`."""
    video = batch.frames if batch.frames is not None else batch.latents
    assert video is not None
    return like.new_zeros(len(video), *like.shape[1:])


def load_videos(index: VideoIndex, *, batch_size: int, num_frames: int, num_workers: int = 0, seed: int = 0, **options: Any) -> BatchStream:
    """Batches of clips straight from disk, whatever sizes and rates there are: each batch is of one (`VideoIndex.buckets`).

    Buckets are drawn in proportion to their windows, so every window is equally likely; those without a window are left out.

    Args:
        index, batch_size, num_frames, num_workers, seed: see `VideoLoader`.
        options: further arguments of `VideoLoader`.

    Raises:
        ValueError: as `VideoLoader`; if no episode is long enough.
    """
    frame_skip = options.get("frame_skip", 1)
    buckets = {
        name: view
        for name, view in index.buckets().items()
        if any(episode.num_frames >= num_frames * frame_skip for episode in view.episodes)
    }
    if len(buckets) < 2:
        view = next(iter(buckets.values()), index)
        return VideoLoader(view, batch_size=batch_size, num_frames=num_frames, num_workers=num_workers, seed=seed, **options)
    loaders = {
        name: VideoLoader(view, batch_size=batch_size, num_frames=num_frames, seed=seed, **options) for name, view in buckets.items()
    }
    weights = {name: float(loader.num_windows) for name, loader in loaders.items()}
    return Mixture(loaders, weights=weights, seed=seed, num_workers=num_workers)
