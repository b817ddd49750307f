"""Planning in a world whose weights were cast to half precision: the planner reckons in float32, whatever the world imagines in."""

import copy

import numpy as np
import pytest
import torch

from worldline.control import Constrained, ConstrainedConfig, SearchConfig, SearchPlanner
from worldline.control.actor import Actor, PreferenceConfig, RecentFrames, WindowConfig, train_by_gradients, train_by_preference
from worldline.control.amortised import (
    FlowPlanner,
    FlowPolicyConfig,
    GoalPolicyConfig,
    PolicyPlanner,
    fit_flow_policy,
    fit_goal_policy,
)
from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.envs import Prompts, WorldEnv
from worldline.interfaces import ActionSpec, Rollout, State, backward_passes, evaluations_per_frame
from worldline.reward import Effort, FramesToGoal, GoalLatent, GoalPicture, TemporalDistance, TemporalDistanceConfig
from worldline.testing import PointMassWorld
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig

from .test_all_planners import SMALL

SPEC = ActionSpec(low=(0.0, 0.0), high=(512.0, 512.0))
CONFIG = WorldConfig(
    tokenizer=TokenizerConfig(image_size=16, grid=2, latent_dim=6, width=32, num_layers=2, head_dim=16, window=2),
    dynamics=DynamicsConfig(num_tokens=4, latent_dim=6, action_dim=2, width=32, num_layers=4, head_dim=16, context_frames=5),
    sampler=SamplerConfig(num_steps=1),
    rate_hz=10.0,
    action_spec=SPEC,
)
HALF = (torch.bfloat16, torch.float16)
each_dtype = pytest.mark.parametrize("dtype", HALF, ids=str)
each_planner = pytest.mark.parametrize(("planner", "config"), SMALL, ids=lambda value: getattr(value, "__name__", None))


@pytest.fixture
def world() -> World:
    """A small world in float32 with random weights, in which actions make a difference."""
    world = World(CONFIG)
    for parameter in world.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return world.requires_grad_(False).eval()


def cast(world: World, dtype: torch.dtype) -> World:
    return copy.deepcopy(world).to(dtype)


def goal_of(world: World, video: torch.Tensor) -> torch.Tensor:
    """Latents (S, C) after six frames of one action far from the middle of the bounds."""
    return world.rollout(world.prompt(video), torch.full((1, 6, 2), 480.0), seed=0).latents[0, 0, -1]


@each_dtype
@each_planner
def test_every_planner_plans(planner: type[SearchPlanner], config: SearchConfig, dtype: torch.dtype, world: World) -> None:
    video = torch.rand(4, 3, 16, 16)
    goal, half = goal_of(world, video), cast(world, dtype)
    state = half.prompt(video)
    assert state.latent.dtype == dtype
    objective = GoalLatent(goal) + 1e-4 * Effort(SPEC)
    search = planner(half, objective, config)
    plan = search.plan(state, seed=0, initial=torch.full((2, 6, 2), 200.0))
    assert plan.status == "ok"
    assert plan.actions.dtype == torch.float32
    assert plan.actions.numpy().shape == (6, 2)
    assert plan.actions.isfinite().all()
    assert 0 <= plan.actions.min() <= plan.actions.max() <= 512
    # What was found with two or three digits is better in the world in full precision, too.
    both = torch.stack([plan.actions, torch.full((6, 2), 256.0)])
    found, middle = objective(world.rollout(world.prompt(video), both, seed=3)).tolist()
    assert found > middle
    # Half precision does not round what is decided: neighbours of 301 are 300 and 302 in bfloat16.
    assert (plan.actions != plan.actions.to(dtype).float()).any()


@each_dtype
def test_one_plan_per_row_and_under_constraints(dtype: torch.dtype, world: World) -> None:
    videos = torch.rand(2, 4, 3, 16, 16)
    half = cast(world, dtype)
    goals = [GoalLatent(goal_of(world, video)) for video in videos]
    for planner, config in (SMALL[1], SMALL[6], SMALL[8]):
        plans = planner(half, goals, config).plan_many(half.prompt(videos), seed=0)
        assert [plan.status for plan in plans] == ["ok", "ok"]
    planner, config = SMALL[1]

    def over_the_line(rollout: Rollout) -> torch.Tensor:
        assert rollout.actions is not None
        return rollout.actions.amax((1, 2)) / 512 - 0.75

    settings = ConstrainedConfig(num_rounds=2, penalty=1e4)
    constrained = Constrained(lambda objective: planner(half, objective, config), goals[0], [over_the_line], settings)
    plan = constrained.plan(half.prompt(videos[0]), seed=0)
    assert plan.status == "ok"
    assert plan.actions.max() <= 0.76 * 512


@each_dtype
def test_policies_that_were_fitted_in_full_precision(dtype: torch.dtype, world: World) -> None:
    half, video = cast(world, dtype), torch.rand(4, 3, 16, 16)
    goal, state = goal_of(world, video), half.prompt(video)
    films, actions = [torch.randn(9, 4, 6) for _ in range(3)], [512 * torch.rand(9, 2) for _ in range(3)]
    flow = fit_flow_policy(films, actions, SPEC, FlowPolicyConfig(horizon=6, num_updates=2))
    draws = FlowPlanner(half, GoalLatent(goal), flow, goal, num_chunks=4).plan(state, seed=0)
    clone = fit_goal_policy(films, actions, SPEC, GoalPolicyConfig(num_updates=2, max_steps=4))
    followed = PolicyPlanner(half, lambda: clone.towards(goal, steps=4), horizon=6, objective=GoalLatent(goal)).plan(state, seed=0)
    for plan in (draws, followed):
        assert plan.status == "ok"
        assert plan.actions.dtype == torch.float32
        assert plan.score < 0


@each_dtype
def test_pictures_gradients_and_an_environment(dtype: torch.dtype, world: World) -> None:
    half, video = cast(world, dtype), torch.rand(4, 3, 16, 16)
    state = half.prompt(video, torch.full((3, 2), 301.0))
    actions = torch.full((1, 5, 2), 301.0, requires_grad=True)
    rollout = half.rollout(state, actions, seed=0)
    GoalPicture(goal_of(world, video), state.latent[0].float(), half.decode)(rollout).sum().backward()
    assert actions.grad is not None
    assert actions.grad.abs().sum() > 0
    true = world.decode(world.rollout(world.prompt(video, torch.full((3, 2), 301.0)), actions.detach(), seed=0))
    assert (half.decode(rollout).float() - true).abs().mean() < 0.02
    assert half.fingerprint() != world.fingerprint()
    env = WorldEnv(half, Prompts(half.prompt, [video], num_frames=2), GoalLatent(goal_of(world, video)), horizon=2)
    observation, _ = env.reset(seed=0)
    assert observation.dtype == np.float32
    _, reward, _, _, _ = env.step(np.full(2, 301.0, np.float32))
    assert np.isfinite(reward)


@each_dtype
def test_actions_are_made_small_before_they_are_rounded(dtype: torch.dtype, world: World) -> None:
    """Near the middle of the bounds a rounded pixel would be a large error; a rounded share of the bounds is a small one."""
    seen = cast(world, dtype)._normalized(torch.tensor([[257.0, 255.5]]))
    assert seen.dtype == dtype
    assert torch.allclose(seen.float(), torch.tensor([[1 / 256, -0.5 / 256]]), rtol=1e-2)


@pytest.mark.parametrize("dtype", [*HALF, torch.float64], ids=str)
def test_what_was_trained_in_float32_works_in_worlds_of_other_precision(dtype: torch.dtype, world: World) -> None:
    video = torch.rand(4, 3, 16, 16)
    other, goal = cast(world, dtype), goal_of(world, video)
    distance = TemporalDistance(TemporalDistanceConfig(num_tokens=4, latent_dim=6, width=8)).requires_grad_(False)
    actor = Actor((4, 6), SPEC, mean=torch.zeros(4, 6), std=torch.ones(4, 6)).requires_grad_(False)
    planner, config = SMALL[1]
    plan = planner(other, FramesToGoal(distance, goal), config, policy=actor).plan(other.prompt(video), seed=0)
    assert plan.status == "ok"
    exact = PointMassWorld()
    start = exact.state(torch.tensor([[0.2, -0.1, 0.0, 0.0]], dtype=dtype))
    for planner, config in SMALL:
        assert planner(exact, exact.objective(), config).plan(start, seed=0).status == "ok"


def test_planning_around_recent_frames_costs_what_it_costs_inside(world: World) -> None:
    careful, video = world.with_sampling(4), torch.rand(4, 3, 16, 16)
    recent = RecentFrames(careful, frames=2)
    assert evaluations_per_frame(recent) == 4
    assert backward_passes(recent, 6) == 2
    state = recent.begin(careful.prompt(video), careful.tokenizer.encode(video[None])[:, -2:-1])
    planner, config = SMALL[1]
    plan = planner(recent, GoalLatent(goal_of(world, video).repeat(2, 1)), config).plan(state, seed=0, max_frame_evaluations=6 * 4 * 7)
    assert plan.num_evaluations == 7


@each_dtype
@pytest.mark.parametrize("by_gradients", [True, False])
def test_policies_are_trained_in_float32_inside(by_gradients: bool, dtype: torch.dtype, world: World) -> None:
    half, videos = cast(world, dtype), torch.rand(2, 4, 3, 16, 16)
    goal, states = goal_of(world, videos[0]), half.prompt(videos)

    def contexts(count: int, generator: torch.Generator) -> State:
        return half.select(states, torch.arange(count) % 2)

    if by_gradients:
        trained = train_by_gradients(half, contexts, GoalLatent(goal), WindowConfig(num_updates=2, batch_size=4, window=2))
    else:
        config = PreferenceConfig(num_rollouts=2, batch_size=4, horizon=3)
        trained = train_by_preference(half, contexts, GoalLatent(goal), config)
    assert all(parameter.dtype == torch.float32 and parameter.isfinite().all() for parameter in trained.actor.parameters())
    assert len(set(trained.imagined)) == 2
    assert all(round(reward, 2) != reward for reward in trained.imagined), "more than two digits"
