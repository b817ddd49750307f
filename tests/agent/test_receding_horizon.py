"""The loop drives real gymnasium environments from their pixels, and keeps an honest record."""

from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from worldline.agent import Episode, run_episode
from worldline.control import CEM, CEMConfig
from worldline.interfaces import ActionSpec, Plan, State
from worldline.reward import GoalLatent
from worldline.testing import LinearQuadraticWorld, PointMassWorld

WORLD = PointMassWorld()
PLANNER = CEM(WORLD, WORLD.objective(), CEMConfig(horizon=6, num_candidates=100, num_elites=15, num_iterations=8))


class PointMassEnv(gymnasium.Env):
    """A point mass with its own physics and its own drawing, to be found by a world that sees only the picture."""

    def __init__(self, limit: float = 2.0, render_mode: str | None = "rgb_array", goal_radius: float = 0.0):
        self.action_space = gymnasium.spaces.Box(-limit, limit, (2,), np.float32)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.render_mode = render_mode
        self.goal_radius = goal_radius

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.position = self.np_random.choice([-0.6, 0.6], 2) if options is None else np.array(options["position"])
        self.velocity = np.zeros(2)
        return np.concatenate([self.position, self.velocity]), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.position = self.position + 0.2 * self.velocity + 0.02 * action
        self.velocity = self.velocity + 0.2 * action
        distance = float(np.linalg.norm(self.position))
        return np.concatenate([self.position, self.velocity]), -distance, distance < self.goal_radius, False, {"distance": distance}

    def render(self):
        if self.render_mode is None:
            return None
        axis = (np.arange(32) + 0.5) / 16 - 1
        weight = np.exp(-((axis[None, :] - self.position[0]) ** 2 + (axis[:, None] - self.position[1]) ** 2) / (2 * 0.15**2))
        color = np.array([0.2, 0.2, 0.4]) + weight[..., None] * np.array([0.8, 0.2, -0.2])
        return np.round(color * 255).astype(np.uint8)


def observe(frames: list[np.ndarray], actions: list[np.ndarray]) -> State:
    assert len(actions) == len(frames) - 1
    video = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255
    return WORLD.prompt(video, actions=torch.from_numpy(np.stack(actions)) if actions else None)


def run(env: gymnasium.Env | None = None, **options) -> Episode:
    settings: dict[str, Any] = {"observe": observe, "max_steps": 14, "prompt_frames": 2, "replan_every": 2} | options
    return run_episode(env or PointMassEnv(), WORLD, lambda state: PLANNER, **settings)


def test_reaches_the_goal_from_pixels_alone():
    episode = run(seed=3)
    assert len(episode) == 14
    assert episode.frames.shape == (15, 32, 32, 3)
    assert episode.actions.shape == (14, 2)
    assert episode.rewards.shape == (14,)
    assert len(episode.observations) == len(episode.infos) == 15
    assert np.linalg.norm(episode.observations[0][:2]) > 0.8
    assert np.linalg.norm(episode.observations[-1][:2]) < 0.1
    assert episode.rewards[-1] == -episode.infos[-1]["distance"]
    assert not episode.terminated


def test_imagined_frames_line_up_with_what_happened():
    episode = run(seed=3)
    assert [imagination.start for imagination in episode.imagined] == [0, 2, 4, 6, 8, 10, 12]
    true = torch.from_numpy(episode.frames).permute(0, 3, 1, 2) / 255
    still = []
    for imagination in episode.imagined:
        start, plan = imagination.start, imagination.plan
        assert np.array_equal(plan.actions[:2].numpy(), episode.actions[start : start + 2])
        assert imagination.frames.shape == (6, 3, 32, 32)
        assert (imagination.frames[:2] - true[start + 1 : start + 3]).abs().max() < 0.03
        still.append((true[start] - true[start + 1 : start + 3]).abs().max().item())
    assert max(still) > 0.3, "the scene must move, or alignment is not tested"


def test_the_same_seed_gives_the_same_episode():
    first, second, other = run(seed=5), run(seed=5), run(seed=6)
    assert np.array_equal(first.actions, second.actions)
    assert np.array_equal(first.frames, second.frames)
    assert not np.array_equal(first.actions, other.actions)


def test_each_plan_starts_from_the_rest_of_the_last_one():
    calls = []

    class Recorder:
        def plan(self, state: State, *, seed: int | None = None, initial: torch.Tensor | None = None) -> Plan:
            plan = PLANNER.plan(state, seed=seed, initial=initial)
            calls.append((seed, initial, plan.actions))
            return plan

    run_episode(PointMassEnv(), WORLD, lambda state: Recorder(), observe=observe, max_steps=6, prompt_frames=2, replan_every=2)
    assert len(calls) == 3
    assert calls[0][1] is None
    assert len({seed for seed, _, _ in calls}) == 3
    for (_, _, before), (_, initial, _) in pairwise(calls):
        assert initial is not None
        assert torch.equal(initial, torch.cat([before[2:], before[-1:], before[-1:]]))


def test_elites_are_moved_on_where_they_are_to_be_kept():
    calls = []

    class Recorder:
        def plan(self, state: State, *, seed: int | None = None, initial: torch.Tensor | None = None) -> Plan:
            plan = PLANNER.plan(state, seed=seed, initial=initial)
            calls.append((initial, plan))
            return plan

    run_episode(
        PointMassEnv(), WORLD, lambda state: Recorder(), observe=observe, max_steps=4, prompt_frames=2, replan_every=2, keep_elites=3
    )
    (_, before), (initial, _) = calls
    assert initial is not None
    assert initial.shape == (4, *before.actions.shape)
    assert torch.equal(initial[0, :-2], before.actions[2:])
    assert torch.equal(initial[1:, :-2], before.elites[:3, 2:])
    assert torch.equal(initial[1:, -1], before.elites[:3, -1])


def test_planner_is_made_for_the_scene_and_prompt_is_the_latest_frames():
    positions, lengths = [], []

    def make_planner(state: State) -> CEM:
        positions.append(state.latent[0, 0, 0].item())
        return PLANNER

    def look(frames, actions):
        lengths.append(len(frames))
        return observe(frames, actions)

    episode = run_episode(
        PointMassEnv(), WORLD, make_planner, observe=look, max_steps=5, prompt_frames=3, reset_options={"position": [0.5, 0.0]}
    )
    assert lengths == [1, 2, 3, 3, 3]
    assert positions == pytest.approx([observation[0] for observation in episode.observations[:5]], abs=0.01)


def test_warm_up_acts_before_the_first_plan():
    episode = run(warm_up=lambda observation: [0.5, observation[0]], prompt_frames=4, max_steps=6, reset_options={"position": [0.25, 0.0]})
    assert episode.actions[0].tolist() == [0.5, 0.25]
    assert (episode.actions[:3, 0] == 0.5).all()
    assert episode.imagined[0].start == 3


def test_stops_when_the_environment_does():
    episode = run(PointMassEnv(goal_radius=0.4), seed=3)
    assert episode.terminated
    assert 0 < len(episode) < 14
    assert episode.rewards[-1] > -0.4
    limited = gymnasium.wrappers.TimeLimit(PointMassEnv(), max_episode_steps=4)
    assert len(run(limited)) == 4


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (PointMassEnv(limit=3.0), {}, "bounded by"),
        (PointMassEnv(render_mode=None), {}, "render_mode='rgb_array'"),
        (PointMassEnv(), {"max_steps": 0}, "max_steps is 0"),
        (PointMassEnv(), {"replan_every": 0}, "replan_every is 0"),
        (PointMassEnv(), {"replan_every": 7}, "a plan of 6 actions for replan_every=7"),
        (PointMassEnv(), {"warm_up": lambda observation: [5.0, 0.0]}, "outside of the environment's"),
    ],
)
def test_misuse_says_what_is_needed(env, options, message):
    with pytest.raises(ValueError, match=message):
        run(env, **options)


def test_action_spaces_must_match():
    env = PointMassEnv()
    env.action_space = gymnasium.spaces.Discrete(4)
    with pytest.raises(ValueError, match=r"needs a Box of shape \(2,\)"):
        run(env)
    world = PointMassWorld()
    world.action_spec = None
    with pytest.raises(ValueError, match="trained without actions"):
        run_episode(PointMassEnv(), world, lambda state: PLANNER, observe=observe, max_steps=1)


def test_moves_the_agent_of_the_real_push_t():
    """In Push-T an action is the agent's target position; a world of one line knows that, and sees the agent by its colour."""
    pytest.importorskip("gym_pusht", reason='needs the simulator: pip install "worldline[pusht]"')
    env = gymnasium.make("gym_pusht/PushT-v0", obs_type="state", render_mode="rgb_array", visualization_width=96, visualization_height=96)
    world = LinearQuadraticWorld(0.4 * torch.eye(2), 0.6 * torch.eye(2))
    world.action_spec = ActionSpec(low=(0.0, 0.0), high=(512.0, 512.0))

    def see_agent(frames, actions) -> State:
        is_agent = (np.abs(frames[-1].astype(float) - [65, 105, 225]) < 40).all(-1)
        rows, columns = np.nonzero(is_agent)
        return world.state(torch.tensor([[columns.mean() + 0.5, rows.mean() + 0.5]]) * 512 / 96)

    goal = torch.tensor([[60.0, 60.0]])
    planner = CEM(world, GoalLatent(goal, over_time="mean"), CEMConfig(horizon=3, num_iterations=5, num_candidates=100, num_elites=10))
    episode = run_episode(env, world, lambda state: planner, observe=see_agent, max_steps=8, prompt_frames=1, seed=1)
    env.close()
    assert episode.frames.shape == (9, 96, 96, 3)
    distances = [np.linalg.norm(observation[:2] - goal[0].numpy()) for observation in episode.observations]
    assert distances[0] > 150
    assert distances[-1] < 20
