"""Environments of the control suite: how each is started, what counts as having reached a goal, and what standing still is.

Push, two rooms, reacher and cube are solved as in stable-worldmodel's evaluation, so that figures can be compared; the definitions of the
others are ours.

May import: envs, reward, numpy, torch. Refuses to know: worlds, planners.

Shapes: D components of a state, R requirements.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldline.envs.push import PlainPush, Push
from worldline.envs.simulator import Simulator
from worldline.envs.zoo import start_domain
from worldline.interfaces import Rollout
from worldline.reward import nearest

Excess = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(states (..., D), start (D,), goal (D,)) -> (..., R): squared distances over squared tolerances; solved where none is above 1."""

_CANVAS = 16  # cells along each side of a painted wall


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One environment.

    Attributes:
        name: of the environment, as on the command line.
        solved_means: what counts as solved, in words.
        make: starts the simulator; raises ImportError, which says what to install.
        excess: how far a state is from being solved; differentiable.
        stay: the action (A,) of standing still, from the simulator as it is.
        read: what of the simulator a goal is made of, (D,); its ground truth by default.
    """

    name: str
    solved_means: str
    make: Callable[[], Simulator]
    excess: Excess
    stay: Callable[[Simulator], np.ndarray]
    read: Callable[[Simulator], np.ndarray] = lambda simulator: simulator.state()

    def solved(self, state: np.ndarray, start: np.ndarray, goal: np.ndarray) -> bool:
        """Whether `state` counts as the goal."""
        excess = self.excess(*(torch.from_numpy(np.asarray(values, np.float64)) for values in (state, start, goal)))
        return bool((excess <= 1).all())


@dataclass(frozen=True, kw_only=True, slots=True)
class StateGoal:
    """Objective on ground truth, for planning in the simulator: minus the excess, summed over requirements, of the nearest frame.

    Attributes:
        task: whose.
        start: (D,).
        goal: (D,).
    """

    task: Task
    start: Tensor
    goal: Tensor

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores, mean over samples; see `reward.nearest`."""
        excess = self.task.excess(rollout.latents.squeeze(-2), self.start.to(rollout.latents), self.goal.to(rollout.latents))
        return -nearest(excess.sum(-1)).mean(0)


def _near(*groups: tuple[tuple[int, ...], float], angles: tuple[tuple[int, float], ...] = ()) -> Excess:
    """Components that must be within a distance of the goal's, and angles, in radians, within an angle."""

    def excess(states: Tensor, start: Tensor, goal: Tensor) -> Tensor:
        change = states - goal
        parts = [change[..., list(indices)].square().sum(-1) / tolerance**2 for indices, tolerance in groups]
        for index, tolerance in angles:
            wrapped = torch.remainder(change[..., index] + torch.pi, 2 * torch.pi) - torch.pi
            parts.append((wrapped / tolerance).square())
        return torch.stack(parts, dim=-1)

    return excess


def _paint_left(states: Tensor, start: Tensor, goal: Tensor) -> Tensor:
    wanted = (goal - start).square().sum().clamp_min(1e-6)
    return ((states - goal).square().sum(-1, keepdim=True)) / (0.25 * wanted)


def _zoo(name: str) -> Callable[[], Simulator]:
    return lambda: start_domain(name)


def _nothing(simulator: Simulator) -> np.ndarray:
    assert simulator.action_spec is not None
    return np.zeros(simulator.action_spec.dim, np.float32)


def _stay_put(simulator: Simulator) -> np.ndarray:
    return simulator.state()[:2].astype(np.float32)


def _pose(simulator: Simulator) -> np.ndarray:
    assert isinstance(simulator, Push)
    return simulator.pose()


def _brush_up(simulator: Simulator) -> np.ndarray:
    x, y = simulator.state()[:2]
    return np.array([x, y, 0.0, 0.0, 0.0], np.float32)


def _canvas(simulator: Simulator) -> np.ndarray:
    from worldline.envs.painting.wall import PaintedRoom  # noqa: PLC0415  (needs its library)

    assert isinstance(simulator, PaintedRoom)
    return simulator.canvas(_CANVAS).astype(np.float64).ravel()


_PUSHED = _near(((0, 1, 2, 3), 20.0), angles=((4, np.deg2rad(20.0)),))
_PUSHED_MEANS = "agent and block together less than 20 of 512 off, and the block's angle less than 20 degrees"

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(name="push", solved_means=_PUSHED_MEANS, make=_zoo("push"), excess=_PUSHED, stay=_stay_put, read=_pose),
        Task(name="pusht", solved_means=_PUSHED_MEANS, make=PlainPush, excess=_PUSHED, stay=_stay_put, read=_pose),
        Task(
            name="two_room",
            solved_means="the dot less than 16 of 224 off",
            make=_zoo("two_room"),
            excess=_near(((0, 1), 16.0)),
            stay=_nothing,
        ),
        Task(
            name="reacher",
            solved_means="each joint less than 0.05 rad off",
            make=_zoo("reacher"),
            excess=_near(angles=((0, 0.05), (1, 0.05))),
            stay=_nothing,
        ),
        Task(
            name="ball_in_cup",
            solved_means="cup and ball each less than 5 cm off",
            make=_zoo("ball_in_cup"),
            excess=_near(((0, 1), 0.05), ((2, 3), 0.05)),
            stay=_nothing,
        ),
        Task(
            name="cube",
            solved_means="the cube less than 4 cm off",
            make=_zoo("cube"),
            excess=_near(((5, 6, 7), 0.04)),
            stay=_nothing,
        ),
        Task(
            name="fetch_push",
            solved_means="the block less than 5 cm off",
            make=_zoo("fetch_push"),
            excess=_near(((3, 4, 5), 0.05)),
            stay=_nothing,
        ),
        Task(
            name="painting",
            solved_means=f"half or less of the difference in paint left, root mean square over {_CANVAS} x {_CANVAS} cells",
            make=_zoo("painting"),
            excess=_paint_left,
            stay=_brush_up,
            read=_canvas,
        ),
    )
}
"""Environments by name."""
