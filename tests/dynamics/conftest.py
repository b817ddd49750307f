from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from worldline.dynamics import Dynamics, DynamicsConfig

SHAPE: dict[str, Any] = {
    "num_tokens": 4,
    "latent_dim": 6,
    "action_dim": 2,
    "width": 32,
    "num_layers": 4,
    "head_dim": 16,
    "context_frames": 5,
}


def randomize(network: Dynamics) -> Dynamics:
    """Fill every parameter: the ends of a fresh network's branches are zero, which would make most comparisons empty."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return network.eval()


@pytest.fixture
def make_dynamics() -> Callable[..., Dynamics]:
    """Builds a small network with random weights; keyword arguments change the config."""

    def build(config: DynamicsConfig | None = None, **changes: Any) -> Dynamics:
        return randomize(Dynamics(config or DynamicsConfig(**(SHAPE | changes))))

    return build
