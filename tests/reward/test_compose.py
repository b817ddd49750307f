"""Objectives add up, multiply and keep their gradients."""

import pytest
import torch

from worldline.interfaces import Objective, Rollout, State
from worldline.reward import AtLeast, AtMost, GoalLatent, Penalty, RewardHead, Term


def rollout() -> Rollout:
    latents = torch.randn(2, 3, 4, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    heads = {"reward": latents[..., 0, 0].square()}
    return Rollout(latents=latents, actions=None, state=State(latent=latents[:, :, -1].flatten(0, 1), position=5), heads=heads)


def paths(count: int) -> list[Rollout]:
    return [rollout() for _ in range(count)]


GOAL = GoalLatent(torch.ones(1, 2))
REWARD = RewardHead(discount=0.9)


def test_sums_products_and_numbers():
    path = rollout()
    goal, reward = GOAL(path), REWARD(path)
    for objective, expected in (
        (GOAL + REWARD, goal + reward),
        (2 * GOAL - 0.5 * REWARD, 2 * goal - reward / 2),
        (GOAL * REWARD + 1, goal * reward + 1),
        (-GOAL, -goal),
        (1 - GOAL, 1 - goal),
        (3 + GOAL * 2, 3 + 2 * goal),
        (GOAL + (lambda each: each.latents[0, :, 0, 0, 0]), goal + path.latents[0, :, 0, 0, 0]),
        (0.5 * Term(lambda each: each.latents[0, :, 0, 0, 0]) * GOAL, 0.5 * path.latents[0, :, 0, 0, 0] * goal),
    ):
        assert isinstance(objective, Objective)
        torch.testing.assert_close(objective(path), expected)


def test_gradients_pass():
    slope, *parts = (
        torch.autograd.grad(each(path).sum(), path.latents)[0]
        for path, each in zip(paths(3), (2 * GOAL + REWARD, GOAL, REWARD), strict=True)
    )
    torch.testing.assert_close(slope, 2 * parts[0] + parts[1])


def test_constraints_and_their_penalty():
    path = rollout()
    scores = REWARD(path)
    limit = scores.mean().item()
    torch.testing.assert_close(AtLeast(REWARD, limit)(path), limit - scores)
    torch.testing.assert_close(AtMost(REWARD, limit)(path), scores - limit)
    penalty = Penalty(AtMost(REWARD, limit))
    torch.testing.assert_close(penalty(path), -(scores - limit).clamp_min(0).square())
    assert isinstance(GOAL + penalty, Objective)


def test_what_does_not_compose_is_refused():
    with pytest.raises(TypeError, match="neither an objective nor a number"):
        GOAL + "effort"  # ty: ignore[unsupported-operator]
