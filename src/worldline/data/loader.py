"""Batches of random windows of a store; see `data.stream` for how a run can be stopped anywhere and go on.

May import: interfaces, data.store, data.stream, data.windows, data.pixels, numpy, torch. Refuses to know: models, devices, optimisers.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldline.data.pixels import to_float
from worldline.data.store import ArrayStore
from worldline.data.stream import BatchStream
from worldline.data.windows import Balance, WindowTable
from worldline.interfaces import ActionSpec, Batch


def concatenate_actions(actions: Tensor, frame_skip: int) -> Tensor:
    """Actions (..., T * k, A) at the recorded rate -> (..., T, k * A) at a k-th of it: all that was done between two kept frames.

    A planner's action for a world trained with `frame_skip=k` has this layout: the k vectors in the order they are applied.
    """
    *batch, num_rows, dim = actions.shape
    if num_rows % frame_skip:
        raise ValueError(f"{num_rows} actions do not divide into groups of {frame_skip}")
    return actions.reshape(*batch, num_rows // frame_skip, frame_skip * dim)


def concatenate_spec(spec: ActionSpec, frame_skip: int) -> ActionSpec:
    """The bounds that belong to `concatenate_actions`; component names gain the step: `steering`, `steering+1`, ..."""
    steps = range(frame_skip)
    names = tuple(f"{name}+{step}" if step else name for step in steps for name in spec.names)
    return ActionSpec(low=spec.low * frame_skip, high=spec.high * frame_skip, names=names)


class Loader(BatchStream):
    """An endless stream of batches of windows, uniform over all windows that fit into an episode; a `BatchSource`.

    With `frame_skip` k a window keeps every k-th frame, its actions are the k recorded ones side by side
    (`concatenate_actions`), and the reward of
    a kept frame is what the k steps that led to it earned; the window's first frame keeps its own.

    Args:
        store: episodes of frames or of latents.
        batch_size: windows per batch, B.
        num_frames: frames per window, T.
        frame_skip: recorded frames per kept frame, k.
        seed: two loaders with the same seed hand out the same batches.
        num_workers: threads that prepare batches ahead; 0 prepares each when it is asked for.
        balance: what is equally likely; a task is an episode's text, and `labels` means episodes with action labels and those without.

    Raises:
        ValueError: if a number makes no sense, or no episode is long enough for one window.
    """

    def __init__(
        self,
        store: ArrayStore,
        *,
        batch_size: int,
        num_frames: int,
        frame_skip: int = 1,
        seed: int = 0,
        num_workers: int = 0,
        balance: Balance = "windows",
    ) -> None:
        if min(batch_size, num_frames, frame_skip) < 1 or min(seed, num_workers) < 0:
            raise ValueError(
                f"batch_size {batch_size}, num_frames {num_frames} and frame_skip {frame_skip} must be at least 1, "
                f"seed {seed} and num_workers {num_workers} at least 0"
            )
        super().__init__(seed=seed, num_workers=num_workers)
        self.store = store
        self.batch_size = batch_size
        self.num_frames = num_frames
        self.frame_skip = frame_skip
        self._starts = np.array([episode.start for episode in store.episodes], dtype=np.int64)
        self.balance = balance
        lengths = [episode.num_frames for episode in store.episodes]
        groups = {
            "windows": None,
            "tasks": [e.text for e in store.episodes],
            "sources": [e.source for e in store.episodes],
            "labels": ["actions" if "actions" in e.labels else None for e in store.episodes],
        }[balance]
        # The last kept frame's k actions belong to the window too.
        self._windows = WindowTable(lengths, num_frames * frame_skip, groups)
        self._labelled = {name: torch.tensor([name in episode.labels for episode in store.episodes]) for name in ("actions", "rewards")}
        if self.num_windows == 0:
            longest = max(lengths, default=0)
            raise ValueError(
                f"no episode is long enough: a window takes {num_frames} frames x frame_skip {frame_skip} = {num_frames * frame_skip} "
                f"recorded frames, the longest of {len(store)} episodes has {longest}; use fewer frames or a smaller frame_skip"
            )

    @property
    def num_windows(self) -> int:
        """How many different windows there are."""
        return self._windows.num_windows

    @property
    def action_spec(self) -> ActionSpec | None:
        """Bounds of the actions in the batches; None when nothing is labelled."""
        spec = self.store.action_spec
        return None if spec is None else concatenate_spec(spec, self.frame_skip)

    def batch(self, index: int) -> Batch:
        """Batch number `index` of the stream: a pure function, safe to call from any thread."""
        episodes, offsets = self._windows.draw(np.random.default_rng((self.seed, index)), self.batch_size)
        starts = self._starts[episodes] + offsets
        rows = torch.from_numpy(starts[:, None] + np.arange(self.num_frames * self.frame_skip))
        video = self._gather("video", rows[:, :: self.frame_skip])
        actions, action_mask = self._labels("actions", rows, episodes)
        rewards, reward_mask = self._labels("rewards", rows, episodes)
        is_pixels = video.dtype == torch.uint8
        return Batch(
            frames=to_float(video) if is_pixels else None,
            latents=None if is_pixels else video.float(),
            actions=None if actions is None else concatenate_actions(actions, self.frame_skip),
            action_mask=action_mask,
            rewards=None if rewards is None else earned(rewards.flatten(1), self.frame_skip),
            reward_mask=reward_mask,
        )

    def stream(self) -> dict[str, Any]:
        """See `BatchStream.stream`."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "num_frames": self.num_frames,
            "frame_skip": self.frame_skip,
            "store": self.store.fingerprint,
            # Runs from before there was a choice go on.
            **({} if self.balance == "windows" else {"balance": self.balance}),
        }

    def _labels(self, name: str, rows: Tensor, episodes: np.ndarray) -> tuple[Tensor | None, Tensor | None]:
        """Labels (B, T * k, A), zero where unknown, and which frames have them (B, T); None when no row of the batch has.

        A frame is labelled where its episode is and all k of its rows are finite: not a number is a label that nobody knows.
        """
        known = self._labelled[name][torch.from_numpy(episodes)]
        if not known.any():
            return None, None
        found = self._gather(name, rows)
        finite = found.isfinite().all(-1)
        if not finite.all():
            found = torch.where(finite[..., None], found, 0)
        return found, known[:, None] & finite.unflatten(1, (self.num_frames, self.frame_skip)).all(-1)

    def _gather(self, name: str, rows: Tensor) -> Tensor:
        array = self.store.video if name == "video" else self.store.arrays[name]
        return array.index_select(0, rows.reshape(-1)).reshape(*rows.shape, *array.shape[1:])


def earned(rewards: Tensor, frame_skip: int) -> Tensor:
    """(B, T * k) rewards of every recorded frame -> (B, T) of the kept ones, each with those that were passed on the way to it."""
    later = rewards[:, 1 : rewards.shape[1] - frame_skip + 1]
    return torch.cat([rewards[:, :1], later.unflatten(1, (-1, frame_skip)).sum(-1)], dim=1) if later.shape[1] else rewards[:, :1]
