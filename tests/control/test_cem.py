"""The cross-entropy method finds the optimum that the closed form knows."""

import pytest
import torch

from worldline.control import CEM, CEMConfig, RandomShooting, RandomShootingConfig
from worldline.testing import LinearQuadraticWorld, PointMassWorld

WORLD = LinearQuadraticWorld()


def random_start(seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("world", "horizon", "num_iterations", "scale"), [(WORLD, 8, 30, 1.0), (WORLD, 12, 60, 1.0), (PointMassWorld(), 8, 100, 0.3)]
)
def test_cost_is_within_two_percent_of_the_closed_form(world, horizon, num_iterations, scale, seed):
    start = random_start(seed, scale)
    assert world.optimal_actions(start, horizon).abs().max() < max(world.action_spec.high)
    config = CEMConfig(horizon=horizon, num_iterations=num_iterations)
    plan = CEM(world, world.objective(), config).plan(world.state(start), seed=seed)
    optimum = world.optimal_cost(start, horizon).item()
    assert optimum <= -plan.score * (1 + 1e-9)
    assert -plan.score <= 1.02 * optimum


def test_best_plan_is_never_lost_and_beats_random_shooting():
    start = WORLD.state(random_start(0))
    plan = CEM(WORLD, WORLD.objective(), CEMConfig(horizon=8, num_candidates=300, num_iterations=10)).plan(start, seed=0)
    assert list(plan.trace) == sorted(plan.trace)
    assert plan.trace[0] < plan.trace[-1]
    floor = RandomShooting(WORLD, WORLD.objective(), RandomShootingConfig(horizon=8, num_candidates=3000)).plan(start, seed=0)
    assert floor.num_evaluations == plan.num_evaluations
    assert floor.score < 1.5 * plan.score


def test_warm_start_at_the_optimum_stays_there():
    start = random_start(1)
    optimal = WORLD.optimal_actions(start, 8)[0]
    config = CEMConfig(horizon=8, num_iterations=1)
    plan = CEM(WORLD, WORLD.objective(), config).plan(WORLD.state(start), seed=0, initial=optimal)
    assert -plan.score == pytest.approx(WORLD.optimal_cost(start, 8).item(), rel=1e-9)
    cold = CEM(WORLD, WORLD.objective(), config).plan(WORLD.state(start), seed=0)
    assert cold.score < plan.score


def test_several_futures_make_a_plan_for_the_average():
    """With additive noise the optimum is unchanged, but one unlucky future is a bad judge of it."""
    world = LinearQuadraticWorld(noise_scale=0.5)
    start = random_start(2, scale=2.0)
    costs = []
    for num_samples in (1, 64):
        config = CEMConfig(horizon=5, num_iterations=25, num_samples=num_samples)
        plan = CEM(world, world.objective(), config).plan(world.state(start), seed=0)
        costs.append(-WORLD.objective()(WORLD.rollout(WORLD.state(start), plan.actions[None])).item())
    assert costs[1] < 1.2 * WORLD.optimal_cost(start, 5).item() < costs[0]


def test_momentum_slows_the_search():
    start = WORLD.state(random_start(3))
    scores = [CEM(WORLD, WORLD.objective(), CEMConfig(horizon=8, momentum=share)).plan(start, seed=0).score for share in (0.1, 0.9)]
    assert scores[1] < scores[0]


def test_settings_are_checked():
    with pytest.raises(ValueError, match="choose fewer elites"):
        CEMConfig(num_candidates=10, num_elites=20)
    with pytest.raises(ValueError, match="min_std is 0"):
        CEMConfig(min_std=0)
    with pytest.raises(ValueError, match="momentum is 1"):
        CEMConfig(momentum=1)


def test_candidates_that_are_not_finite_never_become_elites():
    """When fewer candidates than elites are worth anything, the others must not pull the mean."""
    means = []

    def objective(rollout):
        if len(rollout.actions) == 256:  # the first batch of an iteration, which starts with the mean
            means.append(rollout.actions[0, 0, 0].item())
        return torch.where(rollout.actions[:, 0, 0] > 4.5, WORLD.objective()(rollout), torch.nan)

    config = CEMConfig(horizon=8, num_iterations=2, momentum=0)
    CEM(WORLD, objective, config).plan(WORLD.state(random_start(0)), seed=0)
    assert means[0] == 0
    assert means[1] > 4.5
