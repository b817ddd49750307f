"""A world of recent frames: it keeps the promises of a world, shows motion, and a policy learns in it what one frame does not say."""

from typing import Any

import pytest
import torch
from torch import Tensor

from worldline.control.actor import Actor, ActorConfig, CriticConfig, PreferenceConfig, RecentFrames, train_by_preference
from worldline.interfaces import Rollout, State
from worldline.testing import PointMassWorld, check_world


def positions(latents: Tensor) -> Tensor:
    """The first token of the point mass; its speed is hidden."""
    return latents[..., :1, :]


def of_two_frames(world: PointMassWorld, states: Tensor) -> tuple[State, Tensor]:
    """States (B, 4) of a point mass that coasted, and its latents a frame before."""
    inner = world.state(states)
    speed = states[:, 2:] * world.step_seconds
    return inner, torch.cat([states[:, :2] - speed, states[:, 2:]], -1).unflatten(-1, (2, 2))[:, None]


def test_it_is_a_world() -> None:
    inner = PointMassWorld(noise_scale=0.01)
    state, before = of_two_frames(inner, torch.tensor([[0.1, 0.2, -0.3, 0.1]], dtype=torch.float64))
    world = RecentFrames(inner, frames=9)  # so many that what a fork of the point mass itself copies weighs little
    check_world(world, world.begin(state, before.expand(-1, 8, -1, -1)))


def test_what_it_shows_is_the_last_frames_of_the_world_inside() -> None:
    inner = PointMassWorld()
    inside, before = of_two_frames(inner, torch.tensor([[0.1, 0.2, -0.3, 0.1], [0.0, 0.3, 0.2, 0.0]], dtype=torch.float64))
    world = RecentFrames(inner, frames=3, read=positions)
    state = world.begin(inside, torch.cat([before - 1, before, before + 1], 1))  # more frames than it needs
    torch.testing.assert_close(state.latent, torch.cat([positions(before[:, 0]), positions(before[:, 0] + 1), positions(inside.latent)], 1))
    actions = torch.rand(2, 4, 2, dtype=torch.float64)
    seen = [positions(before[:, 0] + 1), positions(inside.latent)]
    for action in actions.unbind(1):
        state, inside = world.step(state, action, seed=0), inner.step(inside, action, seed=0)
        seen.append(positions(inside.latent))
        torch.testing.assert_close(state.latent, torch.cat(seen[-3:], 1))
        torch.testing.assert_close(world.newest(state.latent), positions(inside.latent))
    torch.testing.assert_close(world.decode(state), inner.decode(inside))
    assert state.position == inside.position


def test_what_it_cannot_do_it_says() -> None:
    inner = PointMassWorld()
    inside, before = of_two_frames(inner, torch.zeros(1, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="at least the newest"):
        RecentFrames(inner, frames=0)
    for wrong in (before[:, :0], before[0], before.expand(2, -1, -1, -1)):
        with pytest.raises(ValueError, match="give 1 frames"):
            RecentFrames(inner).begin(inside, wrong)
    world = RecentFrames(inner, read=positions)
    with pytest.raises(ValueError, match="cannot be drawn"):
        world.decode(world.begin(inside, before).latent)
    with pytest.raises(ValueError, match="make one with `begin`"):
        world.step(inside, None)


def test_a_policy_that_sees_two_frames_learns_what_one_does_not_show(problem: Any) -> None:
    def trained(frames: int) -> tuple[RecentFrames, Actor]:
        world = RecentFrames(problem.world, frames=frames, read=positions)

        def contexts(count: int, generator: torch.Generator) -> State:
            states = (torch.rand(count, 4, generator=generator, dtype=torch.float64) - 0.5) * 0.6
            return world.begin(*of_two_frames(problem.world, states))

        def near_the_middle(rollout: Rollout) -> Tensor:
            return -world.newest(rollout.latents).square().sum((-1, -2)).mean((0, 2))

        config = PreferenceConfig(actor=ActorConfig(width=32), critic=CriticConfig(discount=0.9), num_rollouts=25, batch_size=64, rate=1e-2)
        return world, train_by_preference(world, contexts, near_the_middle, config, seed=0).actor

    def left(frames: int) -> float:
        """Mean squared distance from the middle over 20 frames."""
        world, actor = trained(frames)
        states = (torch.rand(100, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64) - 0.5) * 0.6
        state, paid = world.begin(*of_two_frames(problem.world, states)), []
        with torch.no_grad():
            for _ in range(20):
                state = world.step(state, actor(state), seed=0)
                paid.append(world.newest(state.latent).square().sum((-1, -2)))
        return float(torch.stack(paid).mean())

    one, two = left(1), left(2)
    assert two < 0.5 * one
