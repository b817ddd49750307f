"""What every planner promises: near the optimum, inside the budget, whole batches at once, and a plan whatever happens."""

import math
from dataclasses import replace

import pytest
import torch

from worldline.control import (
    CEM,
    GRASP,
    ICEM,
    MPPI,
    CEMConfig,
    Constrained,
    ConstrainedConfig,
    GradientConfig,
    GradientPlanner,
    GRASPConfig,
    ICEMConfig,
    MPPIConfig,
    RandomShooting,
    RandomShootingConfig,
    SearchConfig,
    SearchPlanner,
    SoftTree,
    SoftTreeConfig,
)
from worldline.interfaces import Planner
from worldline.testing import LinearQuadraticWorld, PointMassWorld

DEFAULTS: list[tuple[type[SearchPlanner], SearchConfig]] = [
    (CEM, CEMConfig()),
    (ICEM, ICEMConfig()),
    (MPPI, MPPIConfig()),
    (GradientPlanner, GradientConfig()),
    (GRASP, GRASPConfig()),
    (SoftTree, SoftTreeConfig()),
]
SMALL: list[tuple[type[SearchPlanner], SearchConfig]] = [
    (RandomShooting, RandomShootingConfig(horizon=6, num_candidates=40)),
    (CEM, CEMConfig(horizon=6, num_candidates=30, num_elites=6, num_iterations=3)),
    (ICEM, ICEMConfig(horizon=6, num_candidates=30, num_elites=6, num_iterations=3)),
    (MPPI, MPPIConfig(horizon=6, num_candidates=30, num_iterations=3)),
    (GradientPlanner, GradientConfig(horizon=6, num_starts=3, num_iterations=8)),
    (GradientPlanner, GradientConfig(horizon=6, num_starts=2, num_iterations=3, gradient="differences")),
    (GRASP, GRASPConfig(horizon=6, num_starts=3, num_rounds=2, lifted_steps=3, full_steps=3)),
    (SoftTree, SoftTreeConfig(horizon=6, chunk=2, num_roots=8, width=3, branching=2, num_rounds=3, refine_steps=3, refine_leaves=2)),
    (SoftTree, SoftTreeConfig(horizon=6, chunk=2, num_roots=8, width=3, branching=2, num_rounds=3, refine_steps=0)),
]
each_planner = pytest.mark.parametrize(("planner", "config"), SMALL, ids=lambda value: getattr(value, "__name__", None))
START = torch.tensor([[0.4, -0.2, 0.3, 0.5]], dtype=torch.float64)


class CountingWorld(LinearQuadraticWorld):
    """Counts the frames that it imagines, three times where a gradient is recorded, and the restarts from latents."""

    evaluations_per_frame = 1

    def __init__(self, **options):
        super().__init__(**options)
        self.num_frames = 0

    def rollout(self, state, actions, **options):
        rollout = super().rollout(state, actions, **options)
        self.num_frames += math.prod(rollout.latents.shape[:3]) * (3 if rollout.latents.requires_grad else 1)
        return rollout

    def step(self, state, action, **options):
        self.num_frames += state.batch_size
        return super().step(state, action, **options)

    def restart(self, latents):
        self.num_frames += len(latents)
        return super().restart(latents)


@pytest.mark.parametrize(("planner", "config"), DEFAULTS, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize(("world", "scale"), [(LinearQuadraticWorld(), 1.0), (PointMassWorld(), 0.3)])
@pytest.mark.parametrize("seed", [1])
def test_cost_is_within_two_percent_of_the_closed_form_at_the_default_budget(planner, config, world, scale, seed):
    start = scale * torch.randn(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    optimum = world.optimal_cost(start, 8).item()
    assert world.optimal_actions(start, 8).abs().max() < max(world.action_spec.high)
    search = planner(world, world.objective(), replace(config, horizon=8))
    plan = search.plan(world.state(start), seed=seed)
    assert plan.status == "ok"
    assert plan.num_frame_evaluations <= search.num_frame_evaluations
    assert optimum <= -plan.score * (1 + 1e-9)
    assert -plan.score <= 1.02 * optimum


def test_random_shooting_is_within_two_percent_where_two_numbers_are_to_be_found():
    world = LinearQuadraticWorld(action_limit=1.0)
    start = START / 2
    assert world.optimal_actions(start, 1).abs().max() < 1
    plan = RandomShooting(world, world.objective(), RandomShootingConfig(horizon=1)).plan(world.state(start), seed=0)
    assert -plan.score <= 1.02 * world.optimal_cost(start, 1).item()


@each_planner
@pytest.mark.parametrize("budget", [1, 5, 6, 37, 200, 10**6])
def test_no_budget_is_overspent(planner, config, budget):
    world = CountingWorld(action_limit=1.0)
    search = planner(world, world.objective(), replace(config, max_frame_evaluations=budget))
    assert isinstance(search, Planner)
    plan = search.plan(world.state(START), seed=0, initial=torch.full((6, 2), 0.25, dtype=torch.float64))
    assert plan.num_frame_evaluations == world.num_frames <= budget
    assert plan.actions.shape == (6, 2)
    assert plan.actions.abs().max() <= 1
    if budget < 6:
        assert plan.status == "budget"
        assert "pays for no candidate" in plan.message
        assert plan.score == -math.inf
        assert torch.equal(plan.actions, torch.full((6, 2), 0.25, dtype=torch.float64))
    else:
        assert plan.status == "ok"
        assert plan.score == pytest.approx(world.objective()(world.rollout(world.state(START), plan.actions[None])).item())
    assert world.num_frames == plan.num_frame_evaluations + (6 if budget >= 6 else 0)


@each_planner
def test_the_budget_of_a_call_and_of_denoising_steps(planner, config):
    world = CountingWorld(noise_scale=0.1)
    world.evaluations_per_frame = 4
    search = planner(world, world.objective(), config)
    plan = search.plan(world.state(START), seed=0, max_frame_evaluations=600)
    assert plan.num_frame_evaluations <= 600
    assert plan.num_frame_evaluations % 4 == 0 or isinstance(search, GRASP)
    assert search.num_frame_evaluations % 4 == 0
    whole = search.plan(world.state(START), seed=0)
    assert plan.num_frame_evaluations <= whole.num_frame_evaluations <= search.num_frame_evaluations


@each_planner
def test_a_world_that_gives_no_number_costs_no_exception(planner, config):
    world = LinearQuadraticWorld(action_limit=1.0)
    broken = world.state(torch.full((1, 4), torch.nan, dtype=torch.float64))
    last = torch.full((6, 2), 0.5, dtype=torch.float64)
    plan = planner(world, world.objective(), config).plan(broken, seed=0, initial=last)
    assert plan.status == "not finite"
    assert "has a finite score" in plan.message
    assert torch.equal(plan.actions, last), "the plan that it started from is the best guess"
    assert plan.score == -math.inf


@each_planner
def test_a_world_that_breaks_in_places_is_planned_around(planner, config):
    """Where the first action is above 0.2, the world gives NaN, in scores and in gradients."""

    class Torn(LinearQuadraticWorld):
        def rollout(self, state, actions, **options):
            rollout = super().rollout(state, actions, **options)
            torn = torch.where(actions[:, :1, :1] > 0.2, torch.nan, 1.0)[None, :, :, :, None]
            return replace(rollout, latents=rollout.latents * torn)

    world = Torn(action_limit=1.0)
    plan = planner(world, world.objective(), config).plan(world.state(START), seed=0)
    assert plan.status == "ok"
    assert plan.actions.isfinite().all()
    assert plan.actions[0, 0] <= 0.2
    assert math.isfinite(plan.score)


@each_planner
def test_an_unreachable_goal_is_said(planner, config):
    world = LinearQuadraticWorld(action_limit=1.0)
    far = world.state(START + 50)
    asked = replace(config, target_score=-1.0)
    plan = planner(world, world.objective(), asked).plan(far, seed=0)
    assert plan.status == "short"
    assert "out of reach" in plan.message
    assert plan.actions.abs().max() <= 1
    near = planner(world, world.objective(), replace(config, target_score=-1e6)).plan(far, seed=0)
    assert near.status == "reached"
    assert near.num_frame_evaluations <= plan.num_frame_evaluations


@each_planner
def test_a_batch_of_problems_is_what_each_alone_is(planner, config):
    world = LinearQuadraticWorld(noise_scale=0.2)
    starts = torch.cat([START, -START, 2 * START])
    objectives = [world.objective(), replace(world.objective(), action_cost=3 * world.action_cost), world.objective()]
    together = planner(world, objectives, config).plan_many(world.state(starts), seed=3)
    for row in range(3):
        alone = planner(world, objectives[row], config).plan(world.state(starts[row : row + 1]), seed=3)
        torch.testing.assert_close(together[row].actions, alone.actions)
        assert together[row].score == pytest.approx(alone.score)
        assert together[row].num_frame_evaluations == alone.num_frame_evaluations
    assert not torch.allclose(together[0].actions, together[1].actions)


@each_planner
def test_decisions_are_held(planner, config):
    world = LinearQuadraticWorld()
    held = replace(config, action_repeat=3, **{"chunk": 1} if planner is SoftTree else {})
    plan = planner(world, world.objective(), held).plan(world.state(5 * START), seed=0)
    assert plan.actions.shape == (6, 2)
    assert torch.equal(plan.actions[0], plan.actions[2])
    assert torch.equal(plan.actions[3], plan.actions[5])
    assert not torch.equal(plan.actions[2], plan.actions[3])


@each_planner
def test_a_good_start_and_a_good_policy_are_used(planner, config):
    world = CountingWorld()
    optimal = world.optimal_actions(START, 6)[0]
    gain = world._riccati(6)[0][0]
    warm = planner(world, world.objective(), config).plan(world.state(START), seed=0, initial=optimal)
    several = planner(world, world.objective(), config).plan(world.state(START), seed=0, initial=torch.stack([0 * optimal, optimal]))
    cold = planner(world, world.objective(), config).plan(world.state(START), seed=0)
    world.num_frames = 0
    policy = planner(world, world.objective(), config, policy=lambda state: -state.latent.flatten(1) @ gain.T)
    guided = policy.plan(world.state(START), seed=0)
    assert guided.num_frame_evaluations == world.num_frames
    optimum = world.optimal_cost(START, 6).item()
    assert -guided.score <= -cold.score
    if planner is not MPPI:  # its plan is an average, which holds no start
        assert -warm.score <= optimum * (1 + 1e-9)
        assert -several.score <= optimum * (1 + 1e-9)
        assert -guided.score <= 1.3 * optimum


def capped(limit: float):
    """The second state component after the first frame must not be above a limit."""
    return lambda rollout: rollout.latents[:, :, 0].flatten(2)[:, :, 1].mean(0) - limit


@pytest.mark.parametrize(
    ("planner", "config"),
    [
        (CEM, CEMConfig(horizon=6, num_candidates=100, num_elites=25, num_iterations=25)),
        (GradientPlanner, GradientConfig(horizon=6, num_starts=1, num_iterations=150)),
    ],
)
def test_constraints_are_kept_at_the_least_cost(planner, config):
    """One linear constraint: by hand, the constrained optimum is where the best plans for each first state component meet it."""
    world = LinearQuadraticWorld()
    free = world.optimal_actions(START, 6)[0]
    after = world.rollout(world.state(START), free[None]).latents[0, 0, 0, 0, 1].item()
    limit = after - 0.2
    constrained = Constrained(lambda objective: planner(world, objective, config), world.objective(), [capped(limit)])
    plan = constrained.plan(world.state(START), seed=0)
    assert plan.status == "ok"
    found = world.rollout(world.state(START), plan.actions[None])
    assert capped(limit)(found).item() <= 1e-3
    # The first action's first component moves that state component by half of itself: pin it there and solve for the rest.
    hessian = torch.autograd.functional.hessian(
        lambda actions: -world.objective()(world.rollout(world.state(START), actions.view(1, 6, 2)))[0], free.flatten()
    )
    direction = torch.linalg.solve(hessian, torch.eye(12, dtype=torch.float64)[0])
    optimum = world.optimal_cost(START, 6).item() + 0.5 * (0.2 / 0.5) ** 2 / direction[0].item()
    assert -plan.score == pytest.approx(optimum, rel=0.05)
    assert plan.num_frame_evaluations <= constrained.num_frame_evaluations


@pytest.mark.parametrize("budget", [None, 1, 40, 3000])
def test_contradictory_constraints_are_said(budget):
    world = CountingWorld(action_limit=1.0)
    config = CEMConfig(horizon=6, num_candidates=30, num_elites=6, num_iterations=3)
    impossible = [capped(-0.5), lambda rollout: -capped(0.5)(rollout)]
    constrained = Constrained(
        lambda objective: CEM(world, objective, config), world.objective(), impossible, ConstrainedConfig(num_rounds=4)
    )
    plan = constrained.plan(world.state(START), seed=0, max_frame_evaluations=budget)
    assert plan.status == ("budget" if budget in (1,) else "infeasible")
    assert plan.message
    assert plan.actions.abs().max() <= 1
    assert plan.num_frame_evaluations == world.num_frames <= (budget or math.inf)


def test_constraints_in_a_broken_world():
    world = LinearQuadraticWorld()
    config = CEMConfig(horizon=6, num_candidates=30, num_elites=6, num_iterations=3)
    constrained = Constrained(lambda objective: CEM(world, objective, config), world.objective(), [capped(0.0)])
    plan = constrained.plan(world.state(torch.full((1, 4), torch.nan)), seed=0)
    assert plan.status == "not finite"
    assert plan.actions.isfinite().all()
    with pytest.raises(ValueError, match="no constraints"):
        Constrained(lambda objective: CEM(world, objective, config), world.objective(), [])
    with pytest.raises(ValueError, match="must return"):
        Constrained(lambda objective: CEM(world, objective, config), world.objective(), [lambda rollout: rollout.latents.mean()]).plan(
            world.state(START)
        )


def test_grasp_goes_to_a_goal_with_lifted_steps_alone_and_needs_restarts():
    world = PointMassWorld()
    start = world.state(torch.tensor([[-0.5, 0.0, 0.0, 0.0]], dtype=torch.float64))
    goal = torch.zeros(2, 2, dtype=torch.float64)

    def nothing(rollout):
        return 0.0 * rollout.latents.sum((0, 2, 3, 4))

    def at_the_end(rollout):
        return -(rollout.latents[0, :, -1, 0]).square().sum(-1)

    config = GRASPConfig(horizon=8, num_rounds=3, lifted_steps=60, full_steps=1, num_starts=1)
    plan = GRASP(world, nothing, config, goal=goal).plan(start, seed=0)
    assert plan.elites is not None
    elite = plan.elites[0]
    ends = at_the_end(world.rollout(start, torch.stack([elite, 0 * plan.actions])))
    assert ends[0] > 0.8 * ends[1], "pulled to the goal through states alone, which the objective says nothing of"

    class NoRestart(LinearQuadraticWorld):
        restart = None

    with pytest.raises(ValueError, match="cannot restart"):
        GRASP(NoRestart(), nothing)
