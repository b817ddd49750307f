"""Candidates are drawn as promised, scored alike however they are batched, and never copy the state they share."""

import pytest
import torch

from worldline.control import CEM, MPPI, CEMConfig, MPPIConfig, RandomShooting, RandomShootingConfig
from worldline.control.candidates import Scorer
from worldline.control.noise import CorrelatedNoise
from worldline.interfaces import ActionSpec, Plan, Planner, State
from worldline.testing import LinearQuadraticWorld

HORIZON = 5
PLANNERS = [
    (RandomShooting, RandomShootingConfig(horizon=HORIZON, num_candidates=60, batch_size=25)),
    (CEM, CEMConfig(horizon=HORIZON, num_candidates=60, num_elites=10, num_iterations=3, batch_size=25)),
    (MPPI, MPPIConfig(horizon=HORIZON, num_candidates=60, num_iterations=3, batch_size=25)),
]
each_planner = pytest.mark.parametrize(("planner", "config"), PLANNERS)


def start(world: LinearQuadraticWorld, dtype: torch.dtype = torch.float64) -> State:
    return world.state(torch.tensor([[1.0, -2.0, 0.5, 1.5]], dtype=dtype))


def sample_noise(correlation: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return CorrelatedNoise(correlation).draw((4000, 6, 2), generator=generator, like=torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_noise_is_standard_normal_with_the_given_correlation(correlation):
    noise = sample_noise(correlation)
    assert noise.shape == (4000, 6, 2)
    torch.testing.assert_close(noise.std(0), torch.ones(6, 2, dtype=torch.float64), rtol=0, atol=0.05)
    lagged = [(noise[:, 0] * noise[:, lag]).mean().item() for lag in (1, 2)]
    assert lagged == pytest.approx([correlation, correlation**2], abs=0.04)


@each_planner
def test_plan_is_reproducible_bounded_and_detached(planner, config):
    world = LinearQuadraticWorld(noise_scale=0.1, action_limit=0.3)
    global_state = torch.random.get_rng_state()
    first, second = (planner(world, world.objective(), config).plan(start(world), seed=7) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert isinstance(planner(world, world.objective()), Planner)
    assert isinstance(first, Plan)
    assert torch.equal(first.actions, second.actions)
    assert first.score == second.score
    assert first.actions.shape == (HORIZON, 2)
    assert first.actions.abs().max() <= 0.3
    assert not first.actions.requires_grad
    assert not torch.equal(first.actions, planner(world, world.objective(), config).plan(start(world), seed=8).actions)


@each_planner
def test_without_a_seed_the_global_generator_decides(planner, config):
    world = LinearQuadraticWorld()
    plans = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        plans.append(planner(world, world.objective(), config).plan(start(world)).actions)
    assert torch.equal(plans[0], plans[1])
    assert not torch.equal(plans[0], plans[2])


@each_planner
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_score_is_that_of_the_plan_in_the_dtype_of_the_state(planner, config, dtype):
    world = LinearQuadraticWorld()
    plan = planner(world, world.objective(), config).plan(start(world, dtype), seed=0)
    assert plan.actions.dtype == dtype
    score = world.objective()(world.rollout(start(world, dtype), plan.actions[None]))
    assert plan.score == pytest.approx(score.item(), rel=1e-5)
    assert plan.trace[-1] == plan.score


@each_planner
def test_plans_in_the_units_of_the_environment(planner, config):
    """A world whose bounds are far from zero, as in Push-T, where an action is a position in pixels."""
    world = LinearQuadraticWorld(torch.eye(2) * 0.5, torch.eye(2) * 0.5, num_tokens=1)
    world.action_spec = ActionSpec(low=(100.0, 0.0), high=(300.0, 512.0))
    plan = planner(world, lambda rollout: -(rollout.latents[0, :, -1, 0] - 250).abs().sum(-1), config).plan(
        world.state(torch.full((1, 2), 150.0)), seed=0
    )
    assert plan.score > -60
    assert (plan.actions >= torch.tensor([100.0, 0.0])).all()
    assert (plan.actions <= torch.tensor([300.0, 512.0])).all()


@each_planner
def test_counts_what_it_pays_for_and_never_copies_the_state(planner, config):
    class CountingWorld(LinearQuadraticWorld):
        num_rows = 0

        def rollout(self, state, actions, **options):
            assert state is shared
            assert len(actions) <= config.batch_size
            assert not torch.is_grad_enabled()
            self.num_rows += len(actions)
            return super().rollout(state, actions, **options)

    world = CountingWorld()
    shared = start(world)
    plan = planner(world, world.objective(), config).plan(shared, seed=0)
    assert plan.num_evaluations == world.num_rows


@each_planner
def test_candidates_that_are_not_finite_count_as_worst(planner, config):
    world = LinearQuadraticWorld()

    def objective(rollout):
        scores = world.objective()(rollout)
        return torch.where(rollout.actions[:, 0, 0] > 0.5, torch.nan, scores)

    plan = planner(world, objective, config).plan(start(world), seed=0)
    assert plan.actions.isfinite().all()
    assert plan.actions[0, 0] <= 0.5


@each_planner
def test_no_finite_candidate_is_said_in_the_plan(planner, config):
    world = LinearQuadraticWorld()
    broken = world.state(torch.full((1, 4), torch.nan, dtype=torch.float64))
    plan = planner(world, world.objective(), config).plan(broken, seed=0, initial=torch.ones(HORIZON, 2))
    assert plan.status == "not finite"
    assert f"none of {plan.num_evaluations} candidates has a finite score" in plan.message
    assert plan.num_evaluations >= 60
    assert torch.equal(plan.actions, torch.ones(HORIZON, 2, dtype=torch.float64))


@each_planner
def test_unusable_input_says_what_is_needed(planner, config):
    world = LinearQuadraticWorld()
    search = planner(world, world.objective(), config)
    with pytest.raises(ValueError, match=r"initial plan is \(4, 2\).*\(5, 2\)"):
        search.plan(start(world), initial=torch.zeros(4, 2))
    with pytest.raises(ValueError, match="not finite"):
        search.plan(start(world), initial=torch.full((HORIZON, 2), torch.nan))
    with pytest.raises(ValueError, match="state has 2 rows"):
        search.plan(world.fork(start(world), 2))
    with pytest.raises(ValueError, match="must return"):
        planner(world, lambda rollout: rollout.latents.mean(), config).plan(start(world))
    world.action_spec = None
    with pytest.raises(ValueError, match="trained without actions"):
        search.plan(start(world))


@each_planner
def test_settings_are_checked(planner, config):
    for name in ("horizon", "num_candidates", "num_samples", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be positive"):
            type(config)(**{name: 0})
    with pytest.raises(ValueError, match="correlation is 1"):
        type(config)(correlation=1.0)


def test_scores_do_not_depend_on_the_batching():
    world = LinearQuadraticWorld(noise_scale=0.5)
    candidates = sample_noise(0.5)[:50].clamp(-1, 1)
    scores = [
        Scorer(world=world, objective=world.objective(), state=start(world), seed=1, num_samples=3, batch_size=size).score(candidates)
        for size in (7, 50)
    ]
    torch.testing.assert_close(scores[0], scores[1])
