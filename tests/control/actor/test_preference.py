"""Preferences alone, without gradients of the world, come near the optimum; and the loss is PMPO's."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from worldline.control.actor import Actor, PreferenceConfig, train_by_preference
from worldline.control.actor.preference import among_siblings, preference_loss
from worldline.interfaces import ActionSpec, Rollout

SMALL = PreferenceConfig(num_rollouts=2, batch_size=8, horizon=3)


def test_a_policy_comes_near_the_closed_form_without_gradients(problem: Any) -> None:
    def blind(rollout: Rollout) -> torch.Tensor:
        return problem.score(rollout).detach()

    trained = train_by_preference(problem.world, problem.contexts, blind, PreferenceConfig(num_rollouts=60, batch_size=96), seed=0)
    assert problem.excess(trained.actor) < 0.1
    assert trained.num_frames == 60 * 96 * 10


def test_the_loss_is_the_paper_s() -> None:
    spec = ActionSpec(low=(-1.0,), high=(1.0,))
    actor = Actor((1, 1), spec, mean=torch.zeros(1, 1), std=torch.ones(1, 1))
    prior = copy.deepcopy(actor)
    with torch.no_grad():
        last = actor.network[-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias.fill_(0.5)
        actor.log_std.fill_(math.log(0.2))
    latents, actions, advantages = torch.zeros(3, 1, 1), torch.tensor([[0.1], [0.4], [-0.3]]), torch.tensor([1.0, -2.0, 0.0])
    config = replace(SMALL, positive_share=0.7, prior_weight=0.2)
    policy = torch.distributions.Normal(actor.means(latents), 0.2)
    before = torch.distributions.Normal(prior.means(latents), 0.3)
    chances = policy.log_prob(actions)[:, 0]
    expected = 0.3 * chances[1] - 0.7 * chances[[0, 2]].mean() + 0.2 * torch.distributions.kl_divergence(policy, before).mean()
    found = preference_loss(actor, prior, latents, actions, advantages, config=config)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert actor.log_probability(latents, actions).detach() == pytest.approx(chances.detach(), rel=1e-5)


def test_siblings_are_compared_with_each_other_only() -> None:
    advantages = torch.tensor([[1.0, 3.0, 100.0, 104.0], [0.0, torch.nan, 5.0, 5.0]])
    found = among_siblings(advantages, 2)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 1.0, -2.0, 2.0], [0.0, torch.nan, 0.0, 0.0]]), equal_nan=True)
    assert among_siblings(advantages, 1) is advantages


def test_with_siblings_a_policy_learns_though_contexts_differ_more_than_actions(problem: Any) -> None:
    # A bonus of the context alone, which is as large as all that actions do and which no latent shows.
    def contexts(count: int, generator: torch.Generator) -> Any:
        rows = problem.contexts(count // 8, generator)
        return problem.world.fork(rows, 8)

    def noisy(rollout: Rollout) -> torch.Tensor:
        families = rollout.latents.shape[1] // 8
        return problem.score(rollout).detach() + torch.linspace(-1, 1, families, dtype=torch.float64).repeat_interleave(8)

    config = PreferenceConfig(num_rollouts=30, batch_size=64)
    alone = train_by_preference(problem.world, contexts, noisy, config, seed=0)
    together = train_by_preference(problem.world, contexts, noisy, replace(config, siblings=8), seed=0)
    assert problem.excess(together.actor) < 0.5 * problem.excess(alone.actor)


def test_a_strong_prior_holds_the_policy(problem: Any) -> None:
    def moved(weight: float) -> float:
        config = PreferenceConfig(num_rollouts=10, batch_size=32, horizon=5, prior_weight=weight, prior_share=0.0)
        start = train_by_preference(problem.world, problem.contexts, problem.score, SMALL).actor
        before = copy.deepcopy(start)
        after = train_by_preference(problem.world, problem.contexts, problem.score, config, initial=start).actor
        latents = problem.contexts(50, torch.Generator().manual_seed(0)).latent
        return float((after.means(latents) - before.means(latents)).detach().norm())

    assert moved(10.0) < 0.3 * moved(0.0)


def test_a_world_that_diverges_teaches_nothing_and_breaks_nothing(problem: Any) -> None:
    def broken(rollout: Rollout) -> torch.Tensor:
        return torch.full((rollout.latents.shape[1],), float("nan"), dtype=torch.float64)

    trained = train_by_preference(problem.world, problem.contexts, broken, SMALL)
    assert all(parameter.isfinite().all() for parameter in trained.actor.parameters())


@pytest.mark.parametrize("options", [{"horizon": 0}, {"positive_share": 0.0}, {"prior_share": 2.0}, {"siblings": 3}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(SMALL, **options)
