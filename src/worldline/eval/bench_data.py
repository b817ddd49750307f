"""How fast training data comes: raw decoding of random clips, the loader, cached latents; and each as a share of the first.

Rates are frames per second of processor time of one thread, the three measured in turns, so that other work on the machine spoils the
figures as little as it can. Worker threads multiply all three alike, until the cores are used up.

May import: data, interfaces, scale, av, torch. Refuses to know: quality, models.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation
from torch import Tensor
from torch.nn import functional

from worldline.data import (
    EpisodeStore,
    Loader,
    Size,
    VideoIndex,
    VideoLoader,
    cache_latents,
    height_and_width,
    index_videos,
    resize_frames,
    to_float,
    to_uint8,
)
from worldline.interfaces import Clip
from worldline.scale import tune_allocator

_LATENT_SHAPE = (16, 32)
_CACHED_FRAMES = 1024


def bench_data(
    dataset: str | Path,
    *,
    num_frames: int = 16,
    batch_size: int = 16,
    size: Size | None = None,
    rounds: int = 9,
    camera: str | None = None,
) -> dict[str, Any]:
    """Rates for random windows of the data set's largest bucket of one frame size and rate.

    Raw decoding seeks in files that stay open, decodes, and resizes to RGB with the decoder's own scaler; it makes no batch, converts
    nothing, and has no labels. Cached latents are of 16 tokens of 32 channels, those of a stand-in for a tokenizer: only their number
    counts for reading them.

    Args:
        dataset: a LeRobotDataset or a folder of videos.
        num_frames: frames per clip.
        batch_size: clips per batch.
        size: of the frames; the files' own when None.
        rounds: batches that are measured, of each kind; the medians count.
        camera: which video feature of a LeRobotDataset.

    Raises:
        FileNotFoundError, ValueError: as `index_videos` and `VideoLoader`.
    """
    tune_allocator()
    index = next(iter(index_videos(dataset, camera=camera).buckets().values()))
    loader = VideoLoader(index, batch_size=batch_size, num_frames=num_frames, size=size)
    with tempfile.TemporaryDirectory() as folder:
        latents = _latents(index, loader, Path(folder), num_frames)
        raw = _RawDecoder(index, num_frames, size)
        kinds: dict[str, Callable[[int], object]] = {
            "raw decode": lambda number: raw.clips(number, batch_size),
            "loader": loader.batch,
            # Many, because one takes less than the clock's resolution.
            "cached latents": lambda number: [latents.batch(100 * number + more) for more in range(100)],
        }
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        for number in range(rounds + 1):
            for name, measure in kinds.items():
                began = time.process_time()
                measure(number)
                seconds[name].append(time.process_time() - began)
        raw.close()
        loader.close()
    rates = {
        # The first batch opens files and warms caches.
        name: batch_size * num_frames * (100 if name == "cached latents" else 1) / statistics.median(times[1:])
        for name, times in seconds.items()
    }
    height, width = height_and_width(size) if size is not None else index.episodes[0].frame_size
    return {
        "dataset": str(dataset),
        "clips": f"{num_frames} frames of {height} x {width}",
        "raw decode, frames per second": rates["raw decode"],
        "loader, frames per second": rates["loader"],
        "cached latents, frames per second": rates["cached latents"],
        "loader / raw decode": rates["loader"] / rates["raw decode"],
        "cached latents / raw decode": rates["cached latents"] / rates["raw decode"],
    }


class _RawDecoder:
    """What PyAV alone does: seek, decode, convert to RGB."""

    def __init__(self, index: VideoIndex, num_frames: int, size: Size | None) -> None:
        self._episodes = [episode for episode in index.episodes if episode.num_frames >= num_frames]
        self._num_frames = num_frames
        self._size = None if size is None else height_and_width(size)
        self._containers: dict[Path, InputContainer] = {}

    def clips(self, number: int, count: int) -> list[list[np.ndarray]]:
        generator = np.random.default_rng(number)
        return [self._clip(generator) for _ in range(count)]

    def _clip(self, generator: np.random.Generator) -> list[np.ndarray]:
        episode = self._episodes[generator.integers(len(self._episodes))]
        offset = int(generator.integers(episode.num_frames - self._num_frames + 1))
        if episode.path not in self._containers:
            self._containers[episode.path] = av.open(str(episode.path))
            self._containers[episode.path].streams.video[0].codec_context.thread_count = 1
        container = self._containers[episode.path]
        stream = container.streams.video[0]
        assert stream.time_base is not None
        start = (stream.start_time or 0) + int((episode.start_seconds + (offset - 0.5) / episode.rate_hz) / stream.time_base)
        container.seek(max(0, start), stream=stream, backward=True)
        wanted = (frame for frame in container.decode(stream) if frame.pts is not None and frame.pts >= start)
        height, width = self._size or episode.frame_size
        return [
            frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.AREA).to_ndarray()
            for frame in itertools.islice(wanted, self._num_frames)
        ]

    def close(self) -> None:
        for container in self._containers.values():
            container.close()


def _latents(index: VideoIndex, loader: VideoLoader, folder: Path, num_frames: int) -> Loader:
    """A loader of cached latents of some of the data set's windows."""
    num_batches = -(-_CACHED_FRAMES // (loader.batch_size * num_frames))
    windows = [window for number in range(num_batches) for window in loader.decode(number)[0]]
    rate_hz = index.episodes[0].rate_hz
    small = [to_uint8(resize_frames(to_float(window), (32, 32))) for window in windows]
    clips = (Clip(frames=frames, rate_hz=rate_hz, source=f"window {number}") for number, frames in enumerate(small))
    store = EpisodeStore.build(folder / "pixels", clips)
    cached = cache_latents(store, _stand_in, key="stand-in", folder=folder / "latents", progress=False)
    return Loader(cached, batch_size=loader.batch_size, num_frames=num_frames)


def _stand_in(frames: Tensor) -> Tensor:
    """Latents (1, T, S, C) of frames (1, T, 3, H, W): brightness on a coarse grid."""
    return functional.adaptive_avg_pool2d(frames.mean(2), _LATENT_SHAPE)
