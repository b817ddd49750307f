from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.interfaces import ActionSpec
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig

SIZE = 16
CONTEXT = 5
SPEC = ActionSpec(low=(0.0, -2.0), high=(10.0, 2.0), names=("throttle", "steering"))
CONFIG = WorldConfig(
    tokenizer=TokenizerConfig(image_size=SIZE, grid=2, latent_dim=6, width=32, num_layers=2, head_dim=16, window=2),
    dynamics=DynamicsConfig(num_tokens=4, latent_dim=6, action_dim=2, width=32, num_layers=4, head_dim=16, context_frames=CONTEXT),
    sampler=SamplerConfig(num_steps=2),
    rate_hz=10.0,
    action_spec=SPEC,
)


@pytest.fixture
def make_world() -> Callable[..., World]:
    """Builds a small world in which every weight is random; keyword arguments change its config."""

    def build(*, with_actions: bool = True, **changes: Any) -> World:
        config = replace(CONFIG, **changes)
        if not with_actions:
            config = replace(config, dynamics=replace(config.dynamics, action_dim=0), action_spec=None)
        world = World(config)
        for parameter in world.parameters():
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        # The network adds to what it was given: smaller additions keep long rollouts at the scale of real latents.
        nn.init.normal_(world.dynamics.latent_out.weight, std=0.3 * world.config.dynamics.width**-0.5)
        for name, value in world.tokenizer.normalize.named_buffers():
            if name in ("running_mean", "running_var"):
                value.uniform_(0.5, 2)
        return world

    return build


@pytest.fixture
def video() -> torch.Tensor:
    """(T, 3, H, W) float in [0, 1], longer than any world here looks back."""
    return torch.rand(8, 3, SIZE, SIZE)


@pytest.fixture
def actions() -> torch.Tensor:
    """(T - 1, A) between the frames of `video`."""
    return SPEC.denormalize(torch.rand(7, 2) * 2 - 1)
