"""Tries to get from a start to a goal: look, plan, do the first few actions, look again, until it is solved or time is up.

Tries under one seed draw the same numbers, so several can be made together: their plans are searched for in one batch.

May import: data, envs, interfaces, numpy, torch, its siblings. Refuses to know: figures, files.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from worldline.data import to_float
from worldline.envs.simulator import Simulator
from worldline.eval.suites.control.pairs import Pair
from worldline.eval.suites.control.planners import passes_per_frame
from worldline.eval.suites.control.subject import History, Packing, Subject, costs_now
from worldline.eval.suites.control.tasks import Task
from worldline.interfaces import Objective, Plan, Planner, State


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What came of it.

    Attributes:
        solved: whether any frame within the budget counts as the goal.
        num_frames: simulator frames until then, or all of them.
        start_cost: the objective's cost at the start.
        predicted: cost of the frame at which each plan was left, as the plan foresaw it.
        realised: cost of the frame that was there.
        seconds: that each decision took, looking not counted; of plans that were made together, an equal share.
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
"""(state, objective) -> the planner for it; for a state of several rows, one that has `plan_many`."""


@runtime_checkable
class PlansMany(Protocol):
    """A planner that also plans for several rows of a state at once."""

    def plan_many(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> list[Plan]:
        """One plan per row; see `control.SearchPlanner.plan_many`."""
        ...


@dataclass(kw_only=True, slots=True)
class _Course:
    """An attempt under way."""

    simulator: Simulator
    history: History
    start_cost: float = 0.0
    initial: Tensor | None = None
    predicted: list[float] = field(default_factory=list)
    realised: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    imagined: list[Tensor] = field(default_factory=list)
    frame_evaluations: int = 0
    solved: bool = False
    note: str = ""

    def goes_on(self, budget: int) -> bool:
        """Whether it is neither solved nor broken off, and has time left."""
        return not self.solved and not self.note and len(self.history.taken) < budget

    def act(self, actions: Tensor, expected: Tensor, task: Task, packing: Packing, *, budget: int, size: int) -> int:
        """Do actions (n, A) of the world, from which frames (n or more, 3, H, W) are expected; how many were done to the end."""
        done, history, pair = 0, self.history, self.history.pair
        try:
            for action in actions.float().cpu().numpy():
                for one in packing.unpack(action):
                    if not self.goes_on(budget):
                        break
                    self.simulator.step(one)
                    history.add(one, to_float(torch.from_numpy(self.simulator.render(size).copy()).permute(2, 0, 1)))
                    self.imagined.append(expected[done])
                    self.solved = task.solved(task.read(self.simulator), pair.start, pair.goal)
                else:
                    done += 1
        except FloatingPointError as error:
            self.note = str(error)
            return 0  # nothing can be said of where it is
        return done

    def result(self) -> tuple[Attempt, Shown]:
        """What came of it, and its film."""
        history = self.history
        real = torch.stack(history.frames[len(history.frames) - len(history.taken) - 1 :])
        attempt = Attempt(
            solved=self.solved,
            num_frames=len(history.taken),
            start_cost=self.start_cost,
            predicted=tuple(self.predicted),
            realised=tuple(self.realised),
            seconds=tuple(self.seconds),
            frame_evaluations=self.frame_evaluations,
            note=self.note,
        )
        return attempt, Shown(real=real, imagined=torch.stack([real[0], *self.imagined]) if self.imagined else real)


def try_pairs(
    subject: Subject,
    task: Task,
    simulators: Sequence[Simulator],
    pairs: Sequence[Pair],
    solve: Solve,
    *,
    budget: int,
    horizon: int,
    execute: int,
    seed: int,
    size: int,
) -> list[tuple[Attempt, Shown]]:
    """Try to solve pairs, each as if it were tried alone, up to rounding; their plans are made together.

    Args:
        subject: in which plans are made; one that `can_batch`, for several pairs.
        task: what counts as solved.
        simulators: that are acted in, one per pair; not the subject's own.
        pairs: starts and goals.
        solve: makes the planner.
        budget: simulator frames.
        horizon: frames of the world per plan.
        execute: frames of the world of each plan that are done before the next plan.
        seed: of the plans.
        size: side of the pictures in pixels.
    """
    for pair, simulator in zip(pairs, simulators, strict=True):
        pair.enter(simulator)
    courses = [_Course(simulator=simulator, history=History.of(pair)) for pair, simulator in zip(pairs, simulators, strict=True)]
    state = _look(subject, courses)
    objective = subject.objective(pairs, state)
    for one, cost in zip(courses, costs_now(objective, state.latent), strict=True):
        one.start_cost, one.initial = cost, one.history.hold(subject.packing, horizon)
    active, generator = list(range(len(courses))), torch.Generator().manual_seed(seed)
    while active:
        known = state.latent.isfinite().flatten(1).all(1).tolist()
        if not all(known):
            for index in (index for index, seen in zip(active, known, strict=True) if not seen):
                courses[index].note = "what the world makes of the pictures is not finite"
            active = [index for index, seen in zip(active, known, strict=True) if seen]
            state = _look(subject, [courses[index] for index in active]) if active else state
            continue
        some, own = [courses[index] for index in active], subject.objective_of(objective, active)
        plan_seed = int(torch.randint(2**31, (), generator=generator))
        plans = _planned(some, solve(state, own), state, seed=plan_seed)
        with torch.no_grad():
            rollout = subject.world.rollout(state, torch.stack([plan.actions for plan in plans]), seed=plan_seed)
            expected = subject.world.decode(rollout)[0].float().cpu()
        done = []
        for one, plan, pictures in zip(some, plans, expected, strict=True):
            one.frame_evaluations += plan.num_evaluations * len(plan.actions) * passes_per_frame(subject.world)
            done.append(one.act(plan.actions[:execute], pictures, task, subject.packing, budget=budget, size=size))
            one.initial = torch.cat([plan.actions[execute:], plan.actions[-1:].expand(min(execute, len(plan.actions)), -1)])
        last = torch.tensor([max(count, 1) - 1 for count in done], device=rollout.latents.device)
        foreseen = costs_now(own, rollout.latents[0, torch.arange(len(some), device=last.device), last])
        left = [row for row, one in enumerate(some) if done[row] and len(one.history.taken) % subject.packing.frame_skip == 0]
        going = [row for row in left if some[row].goes_on(budget)]
        # Those that go on are equally far; where the others stand is looked at for the record.
        for rows in (going, *([row] for row in left if row not in going)):
            if not rows:
                continue
            looked = _look(subject, [some[row] for row in rows])
            state = looked if rows is going else state
            for row, cost in zip(rows, costs_now(subject.objective_of(own, rows), looked.latent), strict=True):
                some[row].predicted.append(foreseen[row])
                some[row].realised.append(cost)
        active = [active[row] for row in going]
    return [one.result() for one in courses]


def _look(subject: Subject, courses: Sequence[_Course]) -> State:
    return subject.look(*(one.history for one in courses))


def _planned(courses: Sequence[_Course], planner: Planner, state: State, *, seed: int) -> list[Plan]:
    """A plan for each; their share of the time that all took is noted."""
    began = time.perf_counter()
    if len(courses) == 1:
        plans = [planner.plan(state, seed=seed, initial=courses[0].initial)]
    else:
        assert isinstance(planner, PlansMany)
        initial = None if courses[0].initial is None else torch.stack([one.initial for one in courses if one.initial is not None])
        plans = planner.plan_many(state, seed=seed, initial=initial)
    share = (time.perf_counter() - began) / len(courses)
    for one in courses:
        one.seconds.append(share)
    return plans


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
