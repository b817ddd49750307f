"""The reward head's objective is the discounted sum of what the head says."""

import pytest
import torch

from worldline.interfaces import Objective, Rollout, State
from worldline.reward import RewardHead

REWARDS = torch.tensor([[[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]], [[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])  # M, B, T


def rollout_with(**heads: torch.Tensor) -> Rollout:
    return Rollout(latents=torch.zeros(2, 2, 3, 1, 1), actions=None, state=State(latent=torch.zeros(4, 1, 1), position=3), heads=heads)


@pytest.mark.parametrize("rewards", [REWARDS, REWARDS[..., None]])
def test_discounted_sum_averaged_over_samples(rewards):
    objective = RewardHead(discount=0.5)
    assert isinstance(objective, Objective)
    assert objective(rollout_with(reward=rewards)).tolist() == [(1 + 1 + 1 + 3) / 2, (2 + 0) / 2]
    assert RewardHead()(rollout_with(reward=rewards)).tolist() == [5.0, 4.0]


def test_gradient_is_the_discount():
    rewards = REWARDS.clone().requires_grad_()
    RewardHead(discount=0.5)(rollout_with(reward=rewards)).sum().backward()
    assert rewards.grad is not None
    assert torch.equal(rewards.grad, torch.tensor([0.5, 0.25, 0.125]).expand(2, 2, 3))


def test_another_head_can_be_named():
    assert RewardHead(head="progress")(rollout_with(progress=REWARDS)).tolist() == [5.0, 4.0]


def test_unusable_heads_say_what_is_needed():
    with pytest.raises(ValueError, match=r"no head 'reward', only \['value'\]"):
        RewardHead()(rollout_with(value=REWARDS))
    with pytest.raises(ValueError, match="one number per frame"):
        RewardHead()(rollout_with(reward=torch.zeros(2, 2, 3, 7)))
    with pytest.raises(ValueError, match="discount is 0"):
        RewardHead(discount=0)
