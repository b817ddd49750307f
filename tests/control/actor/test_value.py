"""Returns and the critic, against sums and a closed form."""

from typing import Any

import pytest
import torch

from worldline.control.actor import Actor, CriticConfig
from worldline.control.actor.value import Valuer, lambda_returns
from worldline.interfaces import ActionSpec

SPEC = ActionSpec(low=(-1.0,), high=(1.0,))


def test_returns_are_the_discounted_sums_that_they_stand_for() -> None:
    rewards, values = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    one_step = lambda_returns(rewards, values, discount=0.9, decay=0.0)
    assert torch.allclose(one_step, rewards + 0.9 * values)
    whole = lambda_returns(rewards, values, discount=0.9, decay=1.0)
    assert torch.allclose(whole[0], rewards[0] + 0.9 * rewards[1] + 0.81 * rewards[2] + 0.729 * rewards[3] + 0.6561 * values[3])
    n_steps = [sum(0.9**k * rewards[k] for k in range(n)) + 0.9**n * values[n - 1] for n in range(1, 5)]
    mixed = 0.2 * (n_steps[0] + 0.8 * n_steps[1] + 0.64 * n_steps[2]) + 0.512 * n_steps[3]
    assert torch.allclose(lambda_returns(rewards, values, discount=0.9, decay=0.8)[0], mixed)


def test_a_critic_learns_a_constant_reward() -> None:
    actor = Actor((1, 2), SPEC, mean=torch.zeros(1, 2), std=torch.ones(1, 2))
    valuer = Valuer(actor, CriticConfig(discount=0.5, target_share=1.0, num_updates=20, rate=1e-2))
    for _ in range(20):
        valuer.fit(torch.randn(6, 16, 1, 2), torch.ones(5, 16))
    assert valuer.critic(torch.randn(50, 1, 2)).detach() == pytest.approx(torch.full((50,), 2.0), abs=0.1)


def test_rows_that_are_not_finite_are_left_out() -> None:
    actor = Actor((1, 2), SPEC, mean=torch.zeros(1, 2), std=torch.ones(1, 2))
    valuer = Valuer(actor, CriticConfig())
    rewards = torch.ones(5, 16)
    rewards[:, 3] = torch.nan
    valuer.fit(torch.randn(6, 16, 1, 2), rewards)
    valuer.fit(torch.randn(6, 16, 1, 2), rewards * torch.nan)
    assert all(parameter.isfinite().all() for parameter in valuer.critic.parameters())


@pytest.mark.parametrize("options", [{"discount": 0.0}, {"decay": 2.0}, {"num_updates": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CriticConfig(**options)
