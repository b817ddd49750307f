"""A control problem whose best policy is known: the point mass, its cost frame by frame, and Riccati's answer."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from worldline.interfaces import Policy, Rollout, State
from worldline.testing import LinearQuadraticWorld, PointMassWorld

FRAMES = 40


@dataclass(frozen=True)
class Problem:
    """The world, where episodes begin, and the score of each frame."""

    world: PointMassWorld

    def contexts(self, count: int, generator: torch.Generator) -> State:
        """Starts around the middle."""
        return self.world.state((torch.rand(count, 4, generator=generator, dtype=torch.float64) - 0.5) * 0.6)

    def score(self, rollout: Rollout) -> torch.Tensor:
        """Minus state cost and action cost, per frame."""
        assert rollout.actions is not None
        states = rollout.latents.flatten(-2)
        paid = torch.einsum("mbti,ij,mbtj->mbt", states, self.world.state_cost, states).sum(-1).mean(0)
        return -paid - torch.einsum("bti,ij,btj->b", rollout.actions, self.world.action_cost, rollout.actions)

    def excess(self, policy: Policy) -> float:
        """Cost of a policy over the least possible, in 40 frames from 200 starts, in the true world."""
        state = self.contexts(200, torch.Generator().manual_seed(77))
        world = self.world
        best = LinearQuadraticWorld(
            world.dynamics, world.control, state_cost=world.state_cost, action_cost=world.action_cost, final_cost=world.state_cost
        ).optimal_cost(state.latent.flatten(1), FRAMES)
        paid = torch.zeros(200, dtype=torch.float64)
        with torch.no_grad():
            for _ in range(FRAMES):
                action = policy(state)
                state = world.step(state, action, seed=0)
                paid -= self.score(Rollout(latents=state.latent[None, :, None], actions=action[:, None], state=state))
        return float(paid.mean() / best.mean()) - 1


@pytest.fixture
def problem() -> Problem:
    return Problem(world=PointMassWorld())


@pytest.fixture
def nobody() -> Callable[[State], torch.Tensor]:
    """A policy that does nothing."""
    return lambda state: torch.zeros(state.batch_size, 2, dtype=torch.float64)
