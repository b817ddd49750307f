"""Policies regressed on training episodes of an environment, as baselines of the suite and as proposals for a search.

    inverse         goal-conditioned inverse dynamics: from here to the goal, which action
    clone           behaviour cloning: what was done here, whatever the goal
    inverse+cem     CEM that starts from what `inverse` proposes

May import: control, data, envs, torch, its siblings. Refuses to know: figures.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldline.control.amortised import GoalPolicy, GoalPolicyConfig, PolicyPlanner, fit_goal_policy
from worldline.data import to_float
from worldline.envs.record import draw_attributes, record, simulator_seed
from worldline.envs.simulator import Simulator
from worldline.eval.suites.control.planners import POLICIES, make_planner
from worldline.eval.suites.control.subject import LearnedSubject, Subject
from worldline.eval.suites.control.tasks import StateGoal, Task
from worldline.interfaces import Objective, Planner
from worldline.reward import GoalPicture

_NUM_FRAMES = 64  # of an episode


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """Episodes of the split `train` as a subject sees them: latents (T, S, C) of each, and actions (T - 1, A) of the world."""

    latents: list[Tensor]
    actions: list[Tensor]


def lessons(subject: Subject, task: Task, simulator: Simulator, *, num_episodes: int, size: int) -> Lessons:
    """Film training episodes and look at them."""
    skip, found = subject.packing.frame_skip, Lessons(latents=[], actions=[])
    for episode in range(num_episodes):
        (clip,) = record(simulator, seed=episode, split="train", num_frames=_NUM_FRAMES, sizes=(size,))
        assert clip.actions is not None
        count = (len(clip) - 1) // skip
        done = clip.actions[: count * skip].numpy()
        frames = to_float(clip.frames[: count * skip + 1 : skip])
        seen = _encoded(subject, frames) if isinstance(subject, LearnedSubject) else _read_again(subject, task, simulator, episode, done)
        found.latents.append(seen)
        found.actions.append(torch.from_numpy(subject.packing.pack(done).astype(np.float32)))
    return found


def fit_policy(name: str, subject: Subject, taught: Lessons, *, max_steps: int, num_updates: int, seed: int) -> GoalPolicy:
    """The policy that `name`, of `POLICIES`, acts by."""
    assert subject.world.action_spec is not None
    config = GoalPolicyConfig(uses_goal=name != "clone", max_steps=max_steps, num_updates=num_updates)
    return fit_goal_policy(taught.latents, taught.actions, subject.world.action_spec, config, seed=seed)


def policy_planner(
    name: str,
    policy: GoalPolicy,
    subject: Subject,
    objective: Objective,
    *,
    horizon: int,
    frame_evaluations: int,
    batch_size: int,
) -> Planner:
    """The planner that `name`, of `POLICIES`, stands for; it heads for the objective's goal within the horizon.

    Raises:
        ValueError: if there is no such policy.
    """
    if name not in POLICIES:
        raise ValueError(f"policy {name!r} is unknown; choose one of {', '.join(POLICIES)}")
    world = subject.world
    if isinstance(objective, GoalPicture):
        goal = objective.goal_latent
    else:
        assert isinstance(objective, StateGoal)
        goal = objective.goal[None]
    search = None
    if name == "inverse+cem":
        left = max(horizon, frame_evaluations - horizon)
        search = make_planner(
            "cem",
            world,
            objective,
            horizon=horizon,
            frame_evaluations=left,
            batch_size=batch_size,
            actions_per_frame=subject.packing.actions_per_frame,
        )
    return PolicyPlanner(world, lambda: policy.towards(goal, steps=horizon), horizon=horizon, objective=objective, search=search)


@torch.no_grad()
def _encoded(subject: LearnedSubject, frames: Tensor) -> Tensor:
    """Latents (T, S, C) of one film."""
    like = subject.world.tokenizer.encoder_position
    return subject.world.tokenizer.encode(frames[None].to(like))[0].float().cpu()


def _read_again(subject: Subject, task: Task, simulator: Simulator, episode: int, done: np.ndarray) -> Tensor:
    """What the task reads at each frame of the world, (T, 1, D)."""
    simulator.reset(simulator_seed(episode, "train"), draw_attributes(simulator, seed=episode, split="train"))
    read = [task.read(simulator)]
    for index, action in enumerate(done):
        simulator.step(action)
        if (index + 1) % subject.packing.frame_skip == 0:
            read.append(task.read(simulator))
    return torch.from_numpy(np.stack(read)).float()[:, None]
