"""Where worlds, objectives and numbers are at their worst: overflow, NaN in places, no way back for gradients, infinite constraints."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from worldline.control import (
    CEM,
    GRASP,
    MPPI,
    CEMConfig,
    Constrained,
    GradientConfig,
    GradientPlanner,
    GRASPConfig,
    MPPIConfig,
    SearchConfig,
    SearchPlanner,
    SoftTree,
    SoftTreeConfig,
)
from worldline.control.actor import WindowConfig, train_by_gradients
from worldline.control.amortised import FlowPlanner, FlowPolicy, FlowPolicyConfig, PolicyPlanner
from worldline.control.gaussian import Gaussian
from worldline.control.heads import LazyHeads
from worldline.envs.simulator_world import FiniteDifferences
from worldline.interfaces import Rollout, State
from worldline.reward import GoalPicture
from worldline.testing import LinearQuadraticWorld, PointMassWorld

from .test_all_planners import SMALL, START

BY_GRADIENT: list[tuple[type[SearchPlanner], SearchConfig]] = [
    (GradientPlanner, GradientConfig(horizon=6, num_starts=3, num_iterations=8)),
    (GRASP, GRASPConfig(horizon=6, num_starts=3, num_rounds=2, lifted_steps=3, full_steps=3)),
    (SoftTree, SoftTreeConfig(horizon=6, chunk=2, num_roots=8, width=3, branching=2, num_rounds=3, refine_steps=3, refine_leaves=2)),
]
by_gradient = pytest.mark.parametrize(("planner", "config"), BY_GRADIENT, ids=lambda value: getattr(value, "__name__", None))


class Counting(LinearQuadraticWorld):
    """Counts frames, and does not take what is not a number, as a learned world does not."""

    num_frames = 0

    def rollout(self, state: State, actions: torch.Tensor, **options: Any) -> Rollout:
        assert actions.isfinite().all()
        self.num_frames += math.prod(actions.shape[:2])
        return super().rollout(state, actions, **options)


@by_gradient
@pytest.mark.parametrize("scale", [1e21, 1e30])
def test_gradients_beyond_float32_end_in_no_plan_that_is_not_finite(planner, config, scale: float) -> None:
    world = Counting(action_limit=1.0)

    def steep(rollout: Rollout) -> torch.Tensor:
        return -scale * rollout.latents.square().mean((0, 2, 3, 4))

    plan = planner(world, steep, config).plan(world.state(START.float()), seed=0)
    assert plan.status == "ok"
    assert plan.elites is not None
    assert plan.elites.isfinite().all()


def test_a_covariance_that_has_shrunk_to_a_line_is_no_exception() -> None:
    generator = torch.Generator().manual_seed(0)
    for seed in range(20):
        line = torch.randn(1, 1, 12, 2, generator=generator.manual_seed(seed))
        elites = 0.3 * torch.randn(1, 80, 1, 1, generator=generator) * line / line.norm()
        belief = Gaussian(torch.zeros(1, 12, 2), 0.5, covariance="full", memory=0.0, covariance_memory=0.0, min_std=1e-9)
        belief.refit(elites, torch.ones(1, 80, dtype=torch.bool))
        drawn = belief.sample(torch.randn(1, 50, 12, 2, generator=generator))
        assert drawn.isfinite().all()
        assert drawn.std() > 0.01


def test_an_average_that_lies_where_the_world_breaks_is_not_the_plan() -> None:
    world = LinearQuadraticWorld(action_limit=1.0)

    def two_ways_around(rollout: Rollout) -> torch.Tensor:
        assert rollout.actions is not None
        first = rollout.actions[:, 0, 0]
        return torch.where(first.abs() < 0.1, torch.nan, -(first.abs() - 0.3).square())

    for seed in range(6):
        plan = MPPI(world, two_ways_around, MPPIConfig(horizon=6, num_iterations=3)).plan(world.state(START), seed=seed)
        assert plan.status == "ok"
        assert plan.actions[0, 0].abs() >= 0.1
        assert math.isfinite(plan.score)


@pytest.mark.parametrize(("planner", "config"), BY_GRADIENT[:2], ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("has_parameters", [True, False])
def test_a_world_that_rounds_its_actions_has_no_gradient_and_its_frames_are_counted(planner, config, has_parameters: bool) -> None:
    weight = torch.ones((), dtype=torch.float64, requires_grad=has_parameters)

    class Rounds(Counting):
        def rollout(self, state: State, actions: torch.Tensor, **options: Any) -> Rollout:
            found = super().rollout(state, (10 * actions).round().detach() / 10, **options)
            return replace(found, latents=found.latents * weight)

    def near(rollout: Rollout) -> torch.Tensor:
        return -rollout.latents.square().mean((0, 2, 3, 4))

    world = Rounds(action_limit=1.0)
    plan = planner(world, near, config).plan(world.state(START), seed=0)
    assert plan.status == "no gradient"
    assert math.isfinite(plan.score)
    lifted = planner is GRASP and has_parameters  # one step whose way back was paid for, too
    assert plan.num_frame_evaluations == world.num_frames + (2 * 3 * 6 + 3 * 5 if lifted else 0)


def test_a_policy_in_a_broken_world_gives_a_plan_inside_the_bounds_and_says_so() -> None:
    world = LinearQuadraticWorld(action_limit=1.0)
    broken = world.state(torch.full((1, 4), torch.nan, dtype=torch.float64))

    def policy(state: State) -> torch.Tensor:
        return state.latent.flatten(1)[:, :2]

    plan = PolicyPlanner(world, lambda: policy, horizon=3, objective=world.objective()).plan(broken, seed=0)
    assert plan.status == "not finite"
    assert plan.actions.tolist() == [[0, 0]] * 3
    assert plan.num_frame_evaluations == 6
    search = SMALL[1][0](world, world.objective(), SMALL[1][1])
    assert PolicyPlanner(world, lambda: policy, horizon=6, search=search).plan(broken, seed=0).status == "not finite"


def test_a_constraint_that_is_kept_without_limit_is_kept() -> None:
    world = LinearQuadraticWorld(action_limit=1.0)

    def no_push(rollout: Rollout) -> torch.Tensor:
        assert rollout.actions is not None
        return torch.log(rollout.actions.clamp_min(0).sum((1, 2)))  # minus infinity without any push

    def backwards(rollout: Rollout) -> torch.Tensor:
        assert rollout.actions is not None
        return -(rollout.actions + 0.5).square().sum((1, 2))

    config = CEMConfig(horizon=3, num_candidates=60, num_elites=10, num_iterations=8)
    plan = Constrained(lambda objective: CEM(world, objective, config), backwards, [no_push]).plan(world.state(START), seed=0)
    assert plan.status == "ok"
    assert plan.score > -0.01


def test_a_search_that_minds_constraints_is_believed_over_a_draw_that_breaks_them() -> None:
    world = LinearQuadraticWorld(action_limit=1.0)
    assert world.action_spec is not None
    policy = FlowPolicy(
        (1, 4),
        world.action_spec,
        FlowPolicyConfig(horizon=4, width=32, num_layers=1, flow_width=32),
        mean=torch.zeros(4),
        std=torch.ones(4),
    )

    def forward(rollout: Rollout) -> torch.Tensor:
        assert rollout.actions is not None
        return rollout.actions.sum((1, 2))

    config = CEMConfig(horizon=4, num_candidates=60, num_elites=10, num_iterations=8)
    bounded = Constrained(lambda objective: CEM(world, objective, config), forward, [lambda rollout: forward(rollout) + 1.0])
    state = world.state(START.float())
    draws = FlowPlanner(world, forward, policy, state.latent[0], num_chunks=40)
    free = draws.plan(state, seed=0)
    assert free.score > -1, "the best draw breaks the constraint"
    draws.search = bounded
    kept = draws.plan(state, seed=0)
    assert kept.status == "ok"
    assert kept.actions.sum() <= -0.99


@pytest.mark.parametrize(
    ("planner", "config"),
    [
        (CEM, CEMConfig(horizon=6, num_candidates=30, num_elites=6, num_iterations=8, target_score=-1.0)),
        (MPPI, MPPIConfig(horizon=6, target_score=-1.0)),
        (GradientPlanner, GradientConfig(horizon=6, num_iterations=40, target_score=-1.0)),
    ],
)
def test_a_row_that_has_arrived_does_not_wait_for_the_others(planner, config) -> None:
    world = LinearQuadraticWorld()
    near, far = planner(world, world.objective(), config).plan_many(world.state(torch.cat([0.3 * START, 50 * START])), seed=3)
    alone = planner(world, world.objective(), config).plan(world.state(0.3 * START), seed=3)
    assert torch.equal(near.actions, alone.actions)
    assert near.num_frame_evaluations == alone.num_frame_evaluations < far.num_frame_evaluations


def test_trees_plan_for_each_problem_of_an_objective_that_knows_them_all() -> None:
    world = PointMassWorld()
    starts = torch.tensor([[0.2, -0.1, 0.0, 0.0], [-0.4, 0.3, 0.0, 0.0]])
    goals = world.state(torch.tensor([[-0.3, 0.2, 0.0, 0.0], [0.4, 0.4, 0.0, 0.0]])).latent
    state = world.state(starts)
    both = GoalPicture(goals, state.latent, world.decode)
    config = SoftTreeConfig(horizon=4, chunk=2, num_roots=16, width=3, branching=2, num_rounds=3, refine_steps=0)
    plans = SoftTree(world, both, config).plan_many(state, seed=0)
    for row, plan in enumerate(plans):
        alone = SoftTree(world, both.select([row]), config).plan(world.select(state, torch.tensor([row])), seed=0)
        assert torch.equal(plan.actions, alone.actions)


class Untouchable(Mapping[str, torch.Tensor]):
    """Heads that cost a pass: nobody asked for them."""

    def __getitem__(self, name: str) -> torch.Tensor:
        raise AssertionError(f"{name} was read")

    def __iter__(self):
        raise AssertionError("heads were listed")

    def __len__(self) -> int:
        raise AssertionError("heads were counted")


class WithHeads(LinearQuadraticWorld):
    """Heads that nobody may touch; or each frame's first number, as `there` says."""

    there = False

    def rollout(self, state: State, actions: torch.Tensor, **options: Any) -> Rollout:
        found = super().rollout(state, actions, **options)
        heads = {"first": found.latents[..., 0, 0]} if self.there else Untouchable()
        return replace(found, heads=heads, state=replace(found.state, heads=Untouchable()))


@pytest.mark.parametrize(("planner", "config"), SMALL, ids=lambda value: getattr(value, "__name__", None))
def test_heads_are_read_where_an_objective_asks_and_nowhere_else(planner, config) -> None:
    world = WithHeads(action_limit=1.0)
    state = world.state(START)
    silent = planner(world, world.objective(), config).plan(state, seed=0)
    assert silent.status == "ok"
    world.there = True

    def by_latents(rollout: Rollout) -> torch.Tensor:
        return -rollout.latents[..., 0, 0].square().sum(2).mean(0)

    def by_head(rollout: Rollout) -> torch.Tensor:
        return -rollout.heads["first"].square().sum(2).mean(0)

    first, second = (planner(world, objective, config).plan(state, seed=0) for objective in (by_latents, by_head))
    assert torch.equal(first.actions, second.actions)
    several = planner(world, [by_head, by_latents], config).plan_many(world.state(START.repeat(2, 1)), seed=0)
    assert torch.allclose(several[0].actions, several[1].actions)


@pytest.mark.parametrize("reads", [True, False])
def test_trees_of_many_rounds_can_be_read(reads: bool) -> None:
    world = WithHeads(action_limit=1.0)
    world.there = True

    def by_head(rollout: Rollout) -> torch.Tensor:
        first = rollout.heads["first"] if reads else rollout.latents[..., 0, 0]
        return -first.square().sum(2).mean(0)

    config = SoftTreeConfig(horizon=6, chunk=2, num_roots=8, width=3, branching=2, num_rounds=120, refine_steps=0)
    plan, tree = SoftTree(world, by_head, config).grow(world.state(START), seed=0)
    assert plan.status == "ok"
    assert tree is not None
    for level in tree.levels:
        assert torch.equal(level.heads["first"], level.latents[..., 0, 0])


def test_lazy_heads_are_made_of_their_sources() -> None:
    heads = LazyHeads([{"a": torch.ones(2)}, {"a": torch.zeros(1)}], lambda *values: torch.cat(values))
    assert list(heads) == ["a"]
    assert len(heads) == 1
    assert heads["a"].tolist() == [1, 1, 0]
    with pytest.raises(KeyError):
        heads["b"]


def test_differences_are_paid_for() -> None:
    class Blind(Counting):
        def rollout(self, state: State, actions: torch.Tensor, **options: Any) -> Rollout:
            return super().rollout(state, actions.detach(), **options)

    world = Blind(action_limit=1.0)
    planner = GradientPlanner(FiniteDifferences(world), world.objective(), GradientConfig(horizon=6, num_starts=1, num_iterations=5))
    plan = planner.plan(world.state(START), seed=0, max_frame_evaluations=500)
    assert plan.status == "ok"
    assert 300 < plan.num_frame_evaluations == world.num_frames <= 500


def test_a_gradient_that_is_not_a_number_does_not_end_a_policy() -> None:
    world = LinearQuadraticWorld(action_limit=1.0)

    def contexts(count: int, generator: torch.Generator) -> State:
        values = torch.randn(count, 4, generator=generator, dtype=torch.float64)
        values[0] = torch.nan if count > 100 else values[0]  # among those that inputs are standardised by
        return world.state(values)

    def root(rollout: Rollout) -> torch.Tensor:
        value = rollout.latents[:, :, -1].flatten(2)[..., 0]
        return torch.where(value > 0, value.sqrt(), value).mean(0)  # finite, with a slope that is not

    trained = train_by_gradients(world, contexts, root, WindowConfig(num_updates=5, batch_size=8, window=3, lead=0))
    assert all(parameter.isfinite().all() for parameter in trained.actor.parameters())
    assert trained.actor.mean.isfinite().all()
    assert all(map(math.isfinite, trained.imagined))
