"""Batches of random clips straight from video files: for data that is not worth a store of pixels, or does not fit one.

May import: interfaces, the files of data, numpy, torch. Refuses to know: models, devices, optimisers.
"""

import logging
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldline.data.decode import VideoError
from worldline.data.geometry import Fit, Size, height_and_width
from worldline.data.loader import concatenate_actions, concatenate_spec, earned
from worldline.data.pixels import to_float
from worldline.data.stream import BatchStream
from worldline.data.video_index import VideoIndex
from worldline.data.video_reader import OpenVideos
from worldline.data.windows import Balance, WindowTable
from worldline.interfaces import ActionSpec, Batch

logger = logging.getLogger(__name__)

_MOST_DRAWS = 20  # for one row, where files turn out to be damaged


class VideoLoader(BatchStream):
    """An endless stream of batches of windows, decoded when they are needed; what `Loader` hands out, without a store.

    A window that a damaged file cannot give is replaced by another draw, counted in `num_damaged` and logged; which windows those are is
    as fixed as the rest of the stream. The video should have short groups of pictures, as `worldline ingest` writes: of a group of 250
    frames 125 are decoded in vain for each window.

    Args:
        index: episodes of one rate, and of one frame size unless `size` is given.
        batch_size: windows per batch, B.
        num_frames: frames per window, T.
        size: height and width to resize to, in pixels, while decoding; the files' own when None.
        fit: see `read_video`.
        frame_skip, seed, num_workers, balance: see `Loader`.

    Raises:
        ValueError: if a number makes no sense, no episode is long enough, or the episodes do not fit one batch.
    """

    def __init__(
        self,
        index: VideoIndex,
        *,
        batch_size: int,
        num_frames: int,
        size: Size | None = None,
        fit: Fit = "stretch",
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
        shapes = {(episode.frame_size if size is None else None, round(episode.rate_hz, 3)) for episode in index.episodes}
        if len(shapes) > 1:
            raise ValueError(
                f"{index.root}: episodes of {', '.join(index.buckets())} do not fit one batch; load them with `load_videos`, "
                "which makes batches of each, or transcode them to one size and rate"
            )
        self.index = index
        self.batch_size, self.num_frames, self.frame_skip, self.balance = batch_size, num_frames, frame_skip, balance
        self._size = height_and_width(size) if size is not None else index.episodes[0].frame_size
        self._resize = None if size is None else self._size
        self._fit: Fit = fit
        groups = {
            "windows": None,
            "tasks": [e.text for e in index.episodes],
            "sources": [e.source for e in index.episodes],
            "labels": ["labelled" if e.actions is not None else "" for e in index.episodes],
        }[balance]
        lengths = [episode.num_frames for episode in index.episodes]
        self._windows = WindowTable(lengths, num_frames * frame_skip, groups)
        if self.num_windows == 0:
            raise ValueError(
                f"no episode is long enough: a window takes {num_frames} frames x frame_skip {frame_skip} = {num_frames * frame_skip} "
                f"recorded frames, the longest of {len(lengths)} episodes has {max(lengths)}; use fewer frames or a smaller frame_skip"
            )
        self._idle: list[OpenVideos] = []
        self._damaged: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    @property
    def num_windows(self) -> int:
        """How many different windows there are."""
        return self._windows.num_windows

    @property
    def num_damaged(self) -> int:
        """Windows that were drawn and could not be decoded."""
        return len(self._damaged)

    @property
    def action_spec(self) -> ActionSpec | None:
        """Bounds of the actions in the batches; None when nothing is labelled."""
        spec = self.index.action_spec
        return None if spec is None else concatenate_spec(spec, self.frame_skip)

    def stream(self) -> dict[str, Any]:
        """See `BatchStream.stream`."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "num_frames": self.num_frames,
            "frame_skip": self.frame_skip,
            "balance": self.balance,
            "size": list(self._size),
            "fit": self._fit,
            "videos": self.index.fingerprint,
        }

    def batch(self, index: int) -> Batch:
        """Batch number `index` of the stream: a pure function of the data, safe to call from any thread.

        Raises:
            VideoError: if so much is damaged that no window is found.
        """
        frames, episodes, offsets = self.decode(index)
        actions, action_mask = self._labels("actions", episodes, offsets)
        rewards, reward_mask = self._labels("rewards", episodes, offsets)
        return Batch(
            frames=to_float(frames),
            actions=None if actions is None else concatenate_actions(actions, self.frame_skip),
            action_mask=action_mask,
            rewards=None if rewards is None else earned(rewards, self.frame_skip),
            reward_mask=reward_mask,
        )

    def decode(self, index: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Frames (B, T, 3, H, W) uint8 of batch number `index`, the episodes (B,) and the first rows in them (B,)."""
        generator = np.random.default_rng((self.seed, index))
        episodes, offsets = self._windows.draw(generator, self.batch_size)
        frames = torch.empty(self.batch_size, self.num_frames, 3, *self._size, dtype=torch.uint8)
        try:
            videos = self._idle.pop()
        except IndexError:
            videos = OpenVideos(self._resize, self._fit)
        try:
            for row in range(self.batch_size):
                for _ in range(_MOST_DRAWS):
                    if self._read(videos, int(episodes[row]), int(offsets[row]), frames[row]):
                        break
                    episodes[row : row + 1], offsets[row : row + 1] = self._windows.draw(generator, 1)
                else:
                    raise VideoError(f"{self.index.root}: {_MOST_DRAWS} windows drawn one after the other are damaged; ingest it again")
        finally:
            self._idle.append(videos)
        return frames, episodes, offsets

    def close(self) -> None:
        """Let go of the files; the stream opens them again if it goes on."""
        while self._idle:
            self._idle.pop().close()

    def _read(self, videos: OpenVideos, number: int, offset: int, out: Tensor) -> bool:
        episode = self.index.episodes[number]
        start_seconds = episode.start_seconds + offset / episode.rate_hz
        try:
            videos.read(episode.path, start_seconds, self.num_frames, out, frame_skip=self.frame_skip)
        except VideoError as error:
            with self._lock:
                if (number, offset) not in self._damaged:
                    logger.warning("%s, frame %d: another window is drawn: %s", episode.source, offset, error)
                self._damaged.add((number, offset))
            return False
        return True

    def _labels(self, name: str, episodes: np.ndarray, offsets: np.ndarray) -> tuple[Tensor | None, Tensor | None]:
        """Labels (B, T * k, ...), zero where unknown, and which frames have them (B, T); None when no row of the batch has."""
        found = [getattr(self.index.episodes[number], name) for number in episodes]
        like = next((values for values in found if values is not None), None)
        if like is None:
            return None, None
        span = self.num_frames * self.frame_skip
        rows = torch.zeros(self.batch_size, span, *like.shape[1:])
        for row, (values, offset) in enumerate(zip(found, offsets, strict=True)):
            if values is not None:
                rows[row] = values[offset : offset + span]
        known = torch.tensor([values is not None for values in found])
        return rows, known[:, None].expand(-1, self.num_frames).clone()
