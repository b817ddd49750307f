"""Policies regressed on training episodes of an environment, as baselines of the suite and as proposals for a search.

    inverse         goal-conditioned inverse dynamics: from here to the goal, which action
    clone           behaviour cloning: what was done here, whatever the goal
    inverse+cem     CEM that starts from what `inverse` proposes
    flow            the best, in imagination, of the plans that a flow policy draws; all of the budget is drawn
    flow+cem        CEM close around the best of them; half of the budget each
    flow+mppi       MPPI likewise

May import: control, data, envs, torch, its siblings. Refuses to know: figures.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldline.control import CEM, MPPI
from worldline.control.amortised import (
    FlowPlanner,
    FlowPolicy,
    FlowPolicyConfig,
    GoalPolicy,
    GoalPolicyConfig,
    PolicyPlanner,
    fit_flow_policy,
    fit_goal_policy,
    load_flow_policy,
    save_flow_policy,
)
from worldline.data import to_float
from worldline.envs.record import draw_attributes, simulator_seed
from worldline.envs.simulator import Simulator
from worldline.eval.suites.control.planners import POLICIES, make_planner, passes_per_frame
from worldline.eval.suites.control.subject import LearnedSubject, Subject
from worldline.eval.suites.control.tasks import StateGoal, Task
from worldline.interfaces import Objective, Planner
from worldline.reward import GoalPicture

FLOW = "flow"
"""What the names of planners that draw from a flow policy begin with."""

_NUM_FRAMES = 64  # of an episode
_POLICY = 7  # apart from the other randomness of an episode
_OTHERS_EVERY = 5  # episodes; the others are of the domain's most interesting policy
_NEAR = 0.2  # deviation of a search around what was drawn, in units of half the bounds


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """Episodes of the split `train` as a subject sees them.

    Attributes:
        latents: (T, S, C) of each.
        actions: (T - 1, A) of the world.
        goals: (T, S, C), the frames as goals are shown: as if nothing moved.
    """

    latents: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    goals: list[Tensor] = field(default_factory=list)


def lessons(
    subject: Subject,
    task: Task,
    simulator: Simulator,
    *,
    num_episodes: int,
    size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Lessons:
    """Film training episodes and look at them, four of five by the most interesting policy and the others by the other ones in turn.

    Where a world's action is held for several frames of the simulator, so it is here: the policy is asked once per frame of the world. What
    led to a frame is then known exactly.
    """
    found = Lessons()
    for episode in range(num_episodes):
        done, frames = _film(subject, simulator, episode, size)
        if isinstance(subject, LearnedSubject):
            found.latents.append(_encoded(subject, frames[None])[0])
            still = frames[:, None].expand(-1, subject.world.config.tokenizer.window, -1, -1, -1)
            found.goals.append(_encoded(subject, still)[:, -1])
        else:
            found.latents.append(_read_again(subject, task, simulator, episode, done))
            found.goals.append(found.latents[-1])
        found.actions.append(torch.from_numpy(subject.packing.pack(done).astype(np.float32)))
        progress(episode + 1)
    return found


def fit_policy(name: str, subject: Subject, taught: Lessons, *, max_steps: int, num_updates: int, seed: int) -> GoalPolicy:
    """The policy that `name`, of `POLICIES`, acts by."""
    assert subject.world.action_spec is not None
    config = GoalPolicyConfig(uses_goal=name != "clone", max_steps=max_steps, num_updates=num_updates)
    return fit_goal_policy(taught.latents, taught.actions, subject.world.action_spec, config, goals=taught.goals, seed=seed)


def flow_policy(
    subject: Subject,
    teach: Callable[[], Lessons],
    path: Path,
    *,
    horizon: int,
    num_updates: int,
    progress: Callable[[int, float], None] = lambda done, loss: None,
) -> FlowPolicy:
    """The flow policy that was kept at `path`, or one that is trained on what `teach` films and kept there; training goes on where it was.

    Raises:
        ValueError: if what is there cannot be read.
    """
    if not path.exists():
        assert subject.world.action_spec is not None
        taught, config = teach(), FlowPolicyConfig(horizon=horizon, num_updates=num_updates)
        spec = subject.world.action_spec
        unfinished = path.with_suffix(".unfinished")
        fitted = fit_flow_policy(taught.latents, taught.actions, spec, config, goals=taught.goals, progress=progress, checkpoint=unfinished)
        save_flow_policy(fitted, path)
        unfinished.unlink(missing_ok=True)
    return load_flow_policy(path)


def policy_planner(
    name: str,
    policy: GoalPolicy | FlowPolicy,
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

    def search(planner: str, budget: int) -> Planner:
        sizes = {"horizon": horizon, "frame_evaluations": budget, "batch_size": batch_size}
        return make_planner(planner, world, objective, actions_per_frame=subject.packing.actions_per_frame, **sizes)

    if isinstance(policy, FlowPolicy):
        num_chunks, inner = max(1, frame_evaluations // (horizon * passes_per_frame(world))), None
        if name != FLOW and num_chunks > 1:
            num_chunks -= num_chunks // 2
            inner = _close(search(name.removeprefix(f"{FLOW}+"), frame_evaluations // 2))
        return FlowPlanner(world, objective, policy, goal, num_chunks=num_chunks, batch_size=batch_size, search=inner)
    around = search("cem", max(horizon, frame_evaluations - horizon)) if name == "inverse+cem" else None
    return PolicyPlanner(world, lambda: policy.towards(goal, steps=horizon), horizon=horizon, objective=objective, search=around)


def _close(planner: Planner) -> Planner:
    """The same search with first proposals that stay near where it starts."""
    if isinstance(planner, CEM):
        return CEM(planner.world, planner.objective, replace(planner.config, initial_std=_NEAR), noise=planner.noise)
    assert isinstance(planner, MPPI)
    return MPPI(planner.world, planner.objective, replace(planner.config, noise_std=_NEAR), noise=planner.noise)


def _film(subject: Subject, simulator: Simulator, episode: int, size: int) -> tuple[np.ndarray, Tensor]:
    """Actions (n, a) of the simulator and the frames of the world (n / frame_skip + 1, 3, H, W) of one episode."""
    packing, spec, others = subject.packing, simulator.action_spec, simulator.policy_names[1:]
    assert spec is not None
    turn, rest = divmod(episode, _OTHERS_EVERY)
    name = others[turn % len(others)] if others and rest == _OTHERS_EVERY - 1 else simulator.policy_names[0]
    seed = simulator_seed(episode, "train")
    simulator.reset(seed, draw_attributes(simulator, seed=episode, split="train"))
    act = simulator.policy(name, np.random.default_rng([seed, _POLICY]))
    action, done, pictures = np.zeros(0), [], [simulator.render(size).copy()]
    for index in range((_NUM_FRAMES - 1) // packing.frame_skip * packing.frame_skip):
        if index % packing.frame_skip == 0 or not packing.held:
            action = np.clip(np.asarray(act(), np.float32), *(np.array(bound, np.float32) for bound in (spec.low, spec.high)))
        simulator.step(action)
        done.append(action)
        if (index + 1) % packing.frame_skip == 0:
            pictures.append(simulator.render(size).copy())
    return np.stack(done), to_float(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))


@torch.no_grad()
def _encoded(subject: LearnedSubject, frames: Tensor) -> Tensor:
    """Latents (B, T, S, C) of films (B, T, 3, H, W), in half precision: thousands are kept."""
    like = subject.world.tokenizer.encoder_position
    return subject.world.tokenizer.encode(frames.to(like)).half().cpu()


def _read_again(subject: Subject, task: Task, simulator: Simulator, episode: int, done: np.ndarray) -> Tensor:
    """What the task reads at each frame of the world, (T, 1, D)."""
    simulator.reset(simulator_seed(episode, "train"), draw_attributes(simulator, seed=episode, split="train"))
    read = [task.read(simulator)]
    for index, action in enumerate(done):
        simulator.step(action)
        if (index + 1) % subject.packing.frame_skip == 0:
            read.append(task.read(simulator))
    return torch.from_numpy(np.stack(read)).float()[:, None]
