"""Analytic gradients reach the optimum that Riccati knows."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from worldline.control.actor import WindowConfig, train_by_gradients
from worldline.interfaces import Policy, Rollout

SMALL = WindowConfig(num_updates=3, batch_size=8, window=2)


def test_a_policy_comes_near_the_closed_form(problem: Any, nobody: Any) -> None:
    trained = train_by_gradients(problem.world, problem.contexts, problem.score, WindowConfig(num_updates=80), seed=0)
    assert isinstance(trained.actor, Policy)
    assert -1e-9 < problem.excess(trained.actor) < 0.06
    assert problem.excess(nobody) > 2
    assert 80 * 64 * 8 <= trained.num_frames <= 80 * 64 * 16
    assert len(trained.imagined) == 80


def test_training_is_repeatable_and_leaves_the_generator_alone(problem: Any) -> None:
    before = torch.random.get_rng_state()
    one, two, other = (train_by_gradients(problem.world, problem.contexts, problem.score, SMALL, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.actor.parameters(), two.actor.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.actor.parameters(), other.actor.parameters(), strict=True))


def test_training_can_go_on(problem: Any) -> None:
    first = train_by_gradients(problem.world, problem.contexts, problem.score, SMALL)
    kept = [parameter.detach().clone() for parameter in first.actor.parameters()]
    second = train_by_gradients(problem.world, problem.contexts, problem.score, SMALL, initial=first.actor)
    assert second.actor is first.actor
    assert not all(torch.equal(a, b) for a, b in zip(kept, second.actor.parameters(), strict=True))


def test_a_score_without_a_gradient_is_refused(problem: Any) -> None:
    def blind(rollout: Rollout) -> torch.Tensor:
        return problem.score(rollout).detach()

    with pytest.raises(ValueError, match="use train_by_preference"):
        train_by_gradients(problem.world, problem.contexts, blind, SMALL)
    problem.world.action_spec = None
    with pytest.raises(ValueError, match="without actions"):
        train_by_gradients(problem.world, problem.contexts, problem.score, SMALL)


@pytest.mark.parametrize("options", [{"window": 0}, {"lead": -1}, {"rate": 0.0}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        replace(SMALL, **options)
