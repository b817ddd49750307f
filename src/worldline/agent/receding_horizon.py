"""Receding-horizon control: plan a few frames ahead, do the first of them, plan again from what really happened.

May import: torch, numpy, gymnasium and `worldline.interfaces`. Refuses to know: any particular world, planner or environment.

Shapes: T frames, P frames of a plan, A action components, H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from torch import Tensor

from worldline.interfaces import ActionSpec, Plan, State, World


class WarmStartPlanner(Protocol):
    """A planner that can go on from an earlier plan; all of `control` can."""

    def plan(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> Plan:
        """Plan from `state`, batch 1, starting the search at `initial` (P, A), in environment units, or from scratch.

        `initial` is several plans (I, P, A), the best first, only where elites were to be kept and the planner's last `Plan` had some.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Imagination:
    """What the agent expected when it planned.

    Attributes:
        start: the true frame that it planned from; `frames[i]` foretells the episode's frame `start + 1 + i`.
        frames: (P, 3, H, W) in [0, 1], one future under `plan`.
        plan: the plan, of which the agent did the first few actions.
    """

    start: int
    frames: Tensor
    plan: Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """What really happened, beside what was expected. `actions[t]` was applied at frame `t` and led to frame `t + 1`.

    Attributes:
        frames: (T + 1, H, W, 3), as the environment drew them.
        actions: (T, A), environment units.
        rewards: (T,).
        observations: T + 1 observations of the environment.
        infos: T + 1 info dictionaries of the environment.
        imagined: one per plan, in order.
        terminated: whether the environment came to an end of its own, as opposed to running out of steps.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    observations: tuple[Any, ...]
    infos: tuple[Mapping[str, Any], ...]
    imagined: tuple[Imagination, ...]
    terminated: bool

    def __len__(self) -> int:
        return len(self.actions)


def run_episode(
    env: gymnasium.Env,
    world: World,
    make_planner: Callable[[State], WarmStartPlanner],
    *,
    observe: Callable[[list[np.ndarray], list[np.ndarray]], State],
    max_steps: int,
    prompt_frames: int = 4,
    replan_every: int = 1,
    keep_elites: int = 0,
    warm_up: Callable[[Any], Sequence[float] | np.ndarray] | None = None,
    seed: int = 0,
    reset_options: dict[str, Any] | None = None,
) -> Episode:
    """Act in `env` for one episode, planning in `world`.

    Args:
        env: with `render_mode="rgb_array"`; its frames are `env.render()`, at the rate at which the world was trained.
        world: imagines each plan; `observe` and the planners normally use the same one.
        make_planner: the planner for a state, called at every plan, so that an objective may depend on the scene.
        observe: the world's state, batch 1, behind the latest frames, each (H, W, 3), and the actions (A,) between them, one fewer.
        max_steps: actions at most, those of the warm-up included.
        prompt_frames: latest frames that `observe` is shown; fewer at the start of the episode.
        replan_every: actions of a plan that are done before the next plan, whose search starts at the rest of this one (its last action
            repeated).
        keep_elites: further plans of the last search that the next one starts from, moved on, as iCEM does (Pinneri et al. 2020).
        warm_up: observation -> action (A,) for the first `prompt_frames - 1` steps, so that motion can be seen before the first plan;
            without it the first plan is made from a single frame.
        seed: of the environment's start and of all plans.
        reset_options: passed to `env.reset`.

    Raises:
        ValueError: if the world's actions are not the environment's, `env` does not render, a number is not positive, or a plan is shorter
            than `replan_every` or leaves the bounds.
    """
    action_space = _matching_action_space(env, world.action_spec)
    for name, value in (("max_steps", max_steps), ("prompt_frames", prompt_frames), ("replan_every", replan_every)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    observation, info = env.reset(seed=seed, options=reset_options)
    observations, infos, frames = [observation], [info], [_render(env)]
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    imagined: list[Imagination] = []
    queue: list[np.ndarray] = []
    terminated = truncated = False
    while len(actions) < max_steps and not (terminated or truncated):
        if warm_up is not None and len(actions) < prompt_frames - 1:
            action = np.asarray(warm_up(observations[-1]))
        else:
            if not queue:
                first = max(0, len(frames) - prompt_frames)
                state = observe(frames[first:], actions[first:])
                initial = _shifted(_plans(imagined[-1].plan, keep_elites), replan_every) if imagined else None
                plan_seed = int(torch.randint(2**31, (), generator=generator))
                plan = make_planner(state).plan(state, seed=plan_seed, initial=initial)
                if len(plan.actions) < replan_every:
                    raise ValueError(f"a plan of {len(plan.actions)} actions for replan_every={replan_every}; plan further or more often")
                imagined.append(Imagination(start=len(actions), frames=_imagine(world, state, plan, plan_seed), plan=plan))
                queue = list(plan.actions[:replan_every].cpu().numpy())
            action = queue.pop(0)
        action = action.astype(action_space.dtype)
        if not action_space.contains(action):
            raise ValueError(f"action {action.tolist()} is outside of the environment's {action_space}; plan inside the bounds")
        observation, reward, terminated, truncated, info = env.step(action)
        actions.append(action)
        rewards.append(float(reward))
        observations.append(observation)
        infos.append(info)
        frames.append(_render(env))
    return Episode(
        frames=np.stack(frames),
        actions=np.stack(actions),
        rewards=np.array(rewards),
        observations=tuple(observations),
        infos=tuple(infos),
        imagined=tuple(imagined),
        terminated=bool(terminated),
    )


def _plans(plan: Plan, keep_elites: int) -> Tensor:
    """What the next search starts from: the plan (P, A), or several (I, P, A) with the plan first."""
    return plan.actions if plan.elites is None or not keep_elites else torch.cat([plan.actions[None], plan.elites[:keep_elites]])


def _shifted(actions: Tensor, count: int) -> Tensor:
    """Plans (..., P, A) when their first `count` actions are done: the rest, and their last action repeated."""
    last = actions[..., -1:, :]
    return torch.cat([actions[..., count:, :], last.expand(*last.shape[:-2], count, -1)], dim=-2)


def _imagine(world: World, state: State, plan: Plan, seed: int) -> Tensor:
    with torch.no_grad():
        return world.decode(world.rollout(state, plan.actions[None], seed=seed))[0, 0]


def _render(env: gymnasium.Env) -> np.ndarray:
    frame = np.asarray(env.render())
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise ValueError(f"the environment drew {frame.shape}, not (H, W, 3); make it with render_mode='rgb_array'")
    return frame


def _matching_action_space(env: gymnasium.Env, action_spec: ActionSpec | None) -> gymnasium.spaces.Box:
    """The environment's action space, if it is what the world was trained with."""
    space = env.action_space
    if action_spec is None:
        raise ValueError("this world was trained without actions, so it cannot act; use a world with an action_spec")
    if not isinstance(space, gymnasium.spaces.Box) or space.shape != (action_spec.dim,):
        raise ValueError(f"the environment's action space is {space}; this world needs a Box of shape ({action_spec.dim},)")
    if not (np.allclose(space.low, action_spec.low) and np.allclose(space.high, action_spec.high)):
        raise ValueError(
            f"the environment's actions are bounded by {space.low.tolist()} and {space.high.tolist()}, the world's by "
            f"{list(action_spec.low)} and {list(action_spec.high)}; wrap the environment in gymnasium.wrappers.RescaleAction"
        )
    return space
