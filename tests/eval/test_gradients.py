"""The gradient check passes a world whose gradients are right, and catches one whose are not."""

import pytest
import torch
from torch import Tensor

from worldline.dynamics import SamplerConfig, dynamics_config
from worldline.eval import Windows
from worldline.eval.gradients import check_gradients
from worldline.interfaces import ActionSpec, Rollout, State
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig


class HalfGradient(World):
    """Decodes to the right pixels, with half of the gradient."""

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        frames = super().decode(source)
        return (frames + frames.detach()) / 2


def make_world(kind: type[World] = World, *, action_dim: int = 2) -> World:
    tokenizer = TokenizerConfig(image_size=16, grid=2, latent_dim=4, width=32, num_layers=1, head_dim=16, window=2)
    dynamics = dynamics_config("nano", num_tokens=4, latent_dim=4, action_dim=action_dim, context_frames=8)
    spec = ActionSpec(low=(0.0,) * action_dim, high=(512.0,) * action_dim) if action_dim else None
    world = kind(WorldConfig(tokenizer=tokenizer, dynamics=dynamics, sampler=SamplerConfig(num_steps=2), action_spec=spec))
    with torch.no_grad():  # what starts at zero would hide what comes after it
        for parameter in world.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return world


def make_windows(*, num_frames: int, action_dim: int = 2) -> Windows:
    actions = torch.rand(1, 3 + num_frames - 1, action_dim) * 512 if action_dim else None
    return Windows(prompt=torch.rand(1, 3, 3, 16, 16), future=torch.rand(1, num_frames, 3, 16, 16), actions=actions)


def test_a_world_agrees_with_finite_differences() -> None:
    world = make_world()
    report = check_gradients(world, make_windows(num_frames=8), num_components=1)
    assert report.num_frames == 8
    assert [row.name.split(",")[0] for row in report.rows] == ["actions"] * 2 + ["noise"] * 2 + ["first latents"] * 2
    assert report.worst_relative_error <= 1e-5
    assert all(abs(row.numeric) > 0 for row in report.rows)
    assert next(world.parameters()).dtype == torch.float32, "the world itself is left as it was"


def test_a_wrong_gradient_is_seen() -> None:
    report = check_gradients(make_world(HalfGradient), make_windows(num_frames=2), num_components=1)
    assert all(row.relative_error == pytest.approx(0.5, abs=1e-3) for row in report.rows)


def test_a_world_without_actions_is_checked_too() -> None:
    report = check_gradients(make_world(action_dim=0), make_windows(num_frames=2, action_dim=0), num_components=1)
    assert {row.name.split(",")[0] for row in report.rows} == {"noise", "first latents"}
    assert report.worst_relative_error <= 1e-5


def test_no_future_is_refused() -> None:
    with pytest.raises(ValueError, match="num_frames of at least 1"):
        check_gradients(make_world(), make_windows(num_frames=0))
