from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldline.data import write_video
from worldline.interfaces import Clip

RATE_HZ = 10.0


def moving_square(num_frames: int, height: int = 32, width: int = 48, *, seed: int = 0) -> Tensor:
    """(T, 3, H, W) uint8: a bright square that moves over a smooth background, another for each seed."""
    generator = torch.Generator().manual_seed(seed)
    color = torch.rand(3, 2, 2, generator=generator)
    background = torch.nn.functional.interpolate(color[None], (height, width), mode="bilinear", align_corners=True)[0] * 0.6
    frames = background.expand(num_frames, 3, height, width).clone()
    for t in range(num_frames):
        left = (3 + seed + t) % (width - 8)
        frames[t, :, 8:16, left : left + 8] = 1.0
    return frames.mul(255).to(torch.uint8)


@pytest.fixture
def make_clip() -> Callable[..., Clip]:
    """Builds clips with labels that identify every frame: action (seed, t), state of three, reward t."""

    def build(num_frames: int = 12, *, seed: int = 0, labelled: bool = True, source: str | None = None, text: str | None = None) -> Clip:
        steps = torch.arange(num_frames, dtype=torch.float32)
        return Clip(
            frames=moving_square(num_frames, 16, 24, seed=seed),
            rate_hz=RATE_HZ,
            source=source or f"source_{seed}",
            actions=torch.stack([torch.full_like(steps, seed), steps], 1) if labelled else None,
            states=torch.stack([steps, steps.sin(), steps.cos()], 1) if labelled else None,
            rewards=steps if labelled else None,
            text=text,
        )

    return build


@pytest.fixture(scope="session")
def square_frames() -> Tensor:
    """(20, 3, 32, 48) uint8: what is in `square_video`."""
    return moving_square(20)


@pytest.fixture(scope="session")
def square_video(tmp_path_factory: pytest.TempPathFactory, square_frames: Tensor) -> Path:
    """A video of two seconds at 10 Hz."""
    path = tmp_path_factory.mktemp("video") / "square.mp4"
    write_video(path, square_frames, RATE_HZ)
    return path
