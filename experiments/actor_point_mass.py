"""Policies trained inside the point mass, against the cost that Riccati's recursion says is least.

python experiments/actor_point_mass.py
"""

import time

import torch
from torch import Tensor

from worldline.control.actor import PreferenceConfig, WindowConfig, train_by_gradients, train_by_preference
from worldline.interfaces import Policy, Rollout, State
from worldline.testing import LinearQuadraticWorld, PointMassWorld

WORLD = PointMassWorld()
FRAMES, STARTS = 40, 200


def contexts(count: int, generator: torch.Generator) -> State:
    return WORLD.state((torch.rand(count, 4, generator=generator, dtype=torch.float64) - 0.5) * 0.6)


def score(rollout: Rollout) -> Tensor:
    assert rollout.actions is not None
    states = rollout.latents.flatten(-2)
    paid = torch.einsum("mbti,ij,mbtj->mbt", states, WORLD.state_cost, states).sum(-1).mean(0)
    return -paid - torch.einsum("bti,ij,btj->b", rollout.actions, WORLD.action_cost, rollout.actions)


@torch.no_grad()
def excess(policy: Policy) -> float:
    state = contexts(STARTS, torch.Generator().manual_seed(77))
    law = LinearQuadraticWorld(
        WORLD.dynamics, WORLD.control, state_cost=WORLD.state_cost, action_cost=WORLD.action_cost, final_cost=WORLD.state_cost
    )
    best, paid = law.optimal_cost(state.latent.flatten(1), FRAMES).mean(), torch.zeros(STARTS, dtype=torch.float64)
    for _ in range(FRAMES):
        action = policy(state)
        state = WORLD.step(state, action, seed=0)
        paid -= score(Rollout(latents=state.latent[None, :, None], actions=action[:, None], state=state))
    return float(paid.mean() / best) - 1


def main() -> None:
    torch.set_num_threads(1)
    began = time.process_time()
    trained = train_by_gradients(WORLD, contexts, score, WindowConfig(num_updates=100))
    print(f"gradients: {excess(trained.actor):.1%}, {trained.num_frames:,} frames, {time.process_time() - began:.0f} s")
    began = time.process_time()
    trained = train_by_preference(WORLD, contexts, score, PreferenceConfig(num_rollouts=100))
    print(f"preference: {excess(trained.actor):.1%}, {trained.num_frames:,} frames, {time.process_time() - began:.0f} s")


if __name__ == "__main__":
    main()
