"""A small pile of videos, as items."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from worldline.data import write_video
from worldline.data.curate.config import CurateConfig
from worldline.data.ingest import IngestConfig
from worldline.data.sources import SourceItem

CONFIG = IngestConfig(curate=CurateConfig(size=(32, 32), rate_hz=10.0))


def draw(path: Path, seed: int, num_frames: int = 30) -> Path:
    """A video of 1.5 s at 20 Hz: a block wanders over a ground that the seed decides."""
    generator = torch.Generator().manual_seed(seed)
    ground = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 5, generator=generator), (48, 64), mode="bilinear")[0]
    frames = ground.repeat(num_frames, 1, 1, 1)
    way = torch.randn(num_frames, 2, generator=generator).mul(2).cumsum(0).add(torch.tensor([16.0, 24.0])).long()
    for time, (top, left) in enumerate(way.tolist()):
        frames[time, :, top % 30 : top % 30 + 14, left % 45 : left % 45 + 16] = 0.95
    write_video(path, frames, 20.0)
    return path


def item_of(path: Path, **labels: Any) -> SourceItem:
    return SourceItem(key=hashlib.sha256(path.read_bytes()).hexdigest(), name=path.name, source=path.stem, path=path, **labels)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pile")
    return [draw(folder / f"{seed}.mp4", seed) for seed in range(4)]


@pytest.fixture
def items(videos: list[Path]) -> list[SourceItem]:
    """Two plain videos, one with a caption, one with actions at the video's own rate."""
    actions = np.stack([np.arange(30), -np.arange(30)], 1).astype(np.float32)
    return [
        item_of(videos[0]),
        item_of(videos[1]),
        item_of(videos[2], caption="a block wanders", facts={"site": "north"}),
        item_of(videos[3], actions=actions, action_names=("right", "left"), rewards=np.ones(30, np.float32)),
    ]


def results_in(out: Path) -> Iterator[Path]:
    yield from (out / "work" / "results").glob("*/*/*/passage.json")
