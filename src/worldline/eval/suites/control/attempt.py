"""One try to get from a start to a goal: look, plan, do the first few actions, look again, until it is solved or time is up.

May import: data, envs, interfaces, numpy, torch, its siblings. Refuses to know: figures, files.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldline.data import to_float
from worldline.envs.simulator import Simulator
from worldline.eval.suites.control.pairs import Pair
from worldline.eval.suites.control.planners import passes_per_frame
from worldline.eval.suites.control.subject import History, Subject, frame_costs
from worldline.eval.suites.control.tasks import Task
from worldline.interfaces import Objective, Planner, State


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What came of it.

    Attributes:
        solved: whether any frame within the budget counts as the goal.
        num_frames: simulator frames until then, or all of them.
        start_cost: the objective's cost at the start.
        predicted: cost of the frame at which each plan was left, as the plan foresaw it.
        realised: cost of the frame that was there.
        seconds: that each decision took, looking not counted.
        frame_evaluations: of all decisions together.
        note: what went wrong, if anything did.
    """

    solved: bool
    num_frames: int
    start_cost: float
    predicted: tuple[float, ...]
    realised: tuple[float, ...]
    seconds: tuple[float, ...]
    frame_evaluations: int
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The film of an attempt: real frames (T, 3, H, W) from the start on, and what the latest plan before each frame expected there."""

    real: Tensor
    imagined: Tensor


Solve = Callable[[State, Objective], Planner]
"""(state, objective) -> the planner for it."""


def try_pair(
    subject: Subject,
    task: Task,
    simulator: Simulator,
    pair: Pair,
    solve: Solve,
    *,
    budget: int,
    horizon: int,
    execute: int,
    seed: int,
    size: int,
) -> tuple[Attempt, Shown]:
    """Try to solve a pair.

    Args:
        subject: in which plans are made.
        task: what counts as solved.
        simulator: that is acted in; not the subject's own.
        pair: start and goal.
        solve: makes the planner.
        budget: simulator frames.
        horizon: frames of the world per plan.
        execute: frames of the world of each plan that are done before the next plan.
        seed: of the plans.
        size: side of the pictures in pixels.
    """
    pair.enter(simulator)
    history, skip, generator = History.of(pair), subject.packing.frame_skip, torch.Generator().manual_seed(seed)
    state = subject.look(history)
    objective = subject.objective(pair, state)
    start_cost = frame_costs(objective, state.latent)[0]
    predicted, realised, seconds = [], [], []
    imagined: list[Tensor] = []
    evaluations, solved, note, initial = 0, False, "", history.hold(subject.packing, horizon)
    while not solved and len(history.taken) < budget:
        if not bool(state.latent.isfinite().all()):
            note = "what the world makes of the pictures is not finite"
            break
        plan_seed = int(torch.randint(2**31, (), generator=generator))
        began = time.perf_counter()
        plan = solve(state, objective).plan(state, seed=plan_seed, initial=initial)
        seconds.append(time.perf_counter() - began)
        evaluations += plan.num_evaluations * len(plan.actions) * passes_per_frame(subject.world)
        with torch.no_grad():
            rollout = subject.world.rollout(state, plan.actions[None], seed=plan_seed)
            expected = subject.world.decode(rollout)[0, 0].float().cpu()
        costs = frame_costs(objective, rollout.latents[0, 0])
        done = 0
        try:
            for action in plan.actions[:execute].float().cpu().numpy():
                for one in subject.packing.unpack(action):
                    if solved or len(history.taken) == budget:
                        break
                    simulator.step(one)
                    history.add(one, to_float(torch.from_numpy(simulator.render(size).copy()).permute(2, 0, 1)))
                    imagined.append(expected[done])
                    solved = task.solved(task.read(simulator), pair.start, pair.goal)
                else:
                    done += 1
        except FloatingPointError as error:
            note = str(error)
            break
        if done and len(history.taken) % skip == 0:
            state = subject.look(history)
            predicted.append(costs[done - 1])
            realised.append(frame_costs(objective, state.latent)[0])
        initial = torch.cat([plan.actions[execute:], plan.actions[-1:].expand(min(execute, len(plan.actions)), -1)])
    real = torch.stack(history.frames[len(history.frames) - len(history.taken) - 1 :])
    attempt = Attempt(
        solved=solved,
        num_frames=len(history.taken),
        start_cost=start_cost,
        predicted=tuple(predicted),
        realised=tuple(realised),
        seconds=tuple(seconds),
        frame_evaluations=evaluations,
        note=note,
    )
    return attempt, Shown(real=real, imagined=torch.stack([real[0], *imagined]) if imagined else real)


def batch_difference(subject: Subject, state: State, make: Callable[[int], Planner], *, seed: int) -> float:
    """The largest difference between plans whose candidates are imagined one and sixteen at a time, in units of half the bounds."""
    assert subject.world.action_spec is not None
    spec = subject.world.action_spec
    plans = [spec.normalize(make(batch_size).plan(state, seed=seed).actions) for batch_size in (1, 16)]
    return float((plans[0] - plans[1]).abs().max())


def mean_gap(attempt: Attempt) -> float | None:
    """Realised minus predicted cost, mean over decisions, in units of the cost at the start; None without a decision or a distance."""
    if not attempt.predicted or not attempt.start_cost > 0:
        return None
    return float(np.mean(np.subtract(attempt.realised, attempt.predicted)) / attempt.start_cost)
