"""A world small enough to make for every run, and videos for it."""

from pathlib import Path

import pytest
import torch

from worldline.data import write_video
from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.envs.pusht import pusht_action_spec
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig

RATE_HZ = 10.0


@pytest.fixture(scope="session")
def world_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved world of Push-T with random weights: 32 px, 5 Hz."""
    torch.manual_seed(0)
    config = WorldConfig(
        tokenizer=TokenizerConfig(image_size=32, grid=2, latent_dim=8, width=32, num_layers=1, head_dim=16, window=1),
        dynamics=DynamicsConfig(num_tokens=4, latent_dim=8, action_dim=2, width=32, num_layers=2, head_dim=16, context_frames=8),
        sampler=SamplerConfig(num_steps=1),
        rate_hz=5.0,
        action_spec=pusht_action_spec(),
    )
    return World(config).save_pretrained(tmp_path_factory.mktemp("world") / "random")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three videos of four seconds, a square on its way."""
    folder = tmp_path_factory.mktemp("videos")
    for index in range(3):
        frames = torch.full((40, 3, 24, 36), 0.2 * index)
        for time in range(40):
            left = (7 * index + time) % 28
            frames[time, :, 8:16, left : left + 8] = 1.0
        write_video(folder / f"square_{index}.mp4", frames, RATE_HZ)
    return folder
