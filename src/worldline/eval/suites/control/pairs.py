"""Starts and goals: both frames of one held-out episode, so that the goal can be reached, and hard enough that reaching it means something.

`moderate`: the start does not count as solved. `strict`: nor does it come to count as solved within the budget by standing still, nor by
any of three runs of random actions; each is tried in the simulator.

May import: envs, data, numpy, torch, `tasks`. Refuses to know: worlds, planners.

Shapes: T frames, A action components of the simulator, D components of a state, P frames of a context, H, W pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worldline.data import to_float
from worldline.envs.record import Split, draw_attributes, record, simulator_seed
from worldline.envs.simulator import Simulator, Value
from worldline.eval.suites.control.tasks import Task

Protocol = Literal["moderate", "strict"]

NUM_RANDOM = 3
"""Runs of random actions that a strict pair withstands."""

_SLACK = 24  # frames of an episode beyond context and goal, in which a start may lie
_TRIES_PER_PAIR = 25
_SEEDS_PER_SET = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A start and a goal.

    Attributes:
        seed: that the simulator is reset with.
        attributes: of the episode.
        actions: (T, A), all actions of the episode before the start, which `enter` repeats.
        context: (P, 3, H, W) in [0, 1], the latest frames up to the start, at the simulator's rate.
        start: (D,), what the task reads at the start.
        goal: (D,), likewise at the goal.
        goal_frame: (3, H, W) in [0, 1].
        shown: (offset, A), what the episode did from the start to the goal.
        source: of the episode.
    """

    seed: int
    attributes: Mapping[str, Value]
    actions: np.ndarray
    context: Tensor
    start: np.ndarray
    goal: np.ndarray
    goal_frame: Tensor
    shown: np.ndarray
    source: str

    def enter(self, simulator: Simulator) -> None:
        """Bring a simulator to the start, by running the episode again: exact in every domain."""
        simulator.reset(self.seed, self.attributes)
        for action in self.actions:
            simulator.step(action)


@dataclass(kw_only=True, slots=True)
class Pairs:
    """What was found, and why other candidates were not taken."""

    pairs: list[Pair] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)


def find_pairs(
    task: Task,
    simulator: Simulator,
    *,
    protocol: Protocol,
    offset: int,
    count: int,
    budget: int,
    context_frames: int,
    size: int,
    seed: int = 0,
    split: Split = "validation",
) -> Pairs:
    """Look for `count` pairs, at most one per episode; the same arguments find the same ones.

    Args:
        task: what counts as solved.
        simulator: that the episodes are filmed in.
        protocol: how hard a pair has to be.
        offset: simulator frames from start to goal.
        count: pairs wanted; fewer are found where the episodes do not have them.
        budget: simulator frames within which standing still and random actions must fail.
        context_frames: frames before the start, that one included, at the simulator's rate.
        size: side of the pictures in pixels.
        seed: another one looks in other episodes.
        split: whose episodes; a zoo data set's training episodes are of another one.
    """
    found = Pairs()
    first = seed * _SEEDS_PER_SET
    for episode in range(first, first + _TRIES_PER_PAIR * count):
        if len(found.pairs) == count:
            break
        pair = _cut(task, simulator, episode, split, offset=offset, context_frames=context_frames, size=size)
        why = _why_not(task, simulator, pair, protocol, budget=budget)
        if why is None:
            found.pairs.append(pair)
        else:
            found.refused[why] = found.refused.get(why, 0) + 1
    return found


def solved_by(task: Task, simulator: Simulator, pair: Pair, act: Callable[[], np.ndarray | None], *, budget: int) -> bool:
    """Whether a policy that sees no picture is at the goal at any frame within `budget` from where the simulator stands."""
    for _ in range(budget):
        simulator.step(np.asarray(act(), np.float32))
        if task.solved(task.read(simulator), pair.start, pair.goal):
            return True
    return False


def random_policy(simulator: Simulator, seed: int, index: int) -> Callable[[], np.ndarray | None]:
    """Uniform random actions, another sequence for each index."""
    return simulator.policy("random", np.random.default_rng([seed, index]))


def _cut(task: Task, simulator: Simulator, episode: int, split: Split, *, offset: int, context_frames: int, size: int) -> Pair:
    num_frames = context_frames + offset + _SLACK
    (clip,) = record(simulator, seed=episode, split=split, num_frames=num_frames, sizes=(size,))
    assert clip.actions is not None
    actions = clip.actions.numpy()
    start = int(np.random.default_rng(episode).integers(context_frames - 1, num_frames - offset))
    seed, attributes = simulator_seed(episode, split), draw_attributes(simulator, seed=episode, split=split)
    simulator.reset(seed, attributes)
    read = [task.read(simulator)]
    for action in actions[: start + offset]:
        simulator.step(action)
        read.append(task.read(simulator))
    return Pair(
        seed=seed,
        attributes=attributes,
        actions=actions[:start],
        context=to_float(clip.frames[start + 1 - context_frames : start + 1]),
        start=read[start],
        goal=read[start + offset],
        goal_frame=to_float(clip.frames[start + offset]),
        shown=actions[start : start + offset],
        source=clip.source,
    )


def _why_not(task: Task, simulator: Simulator, pair: Pair, protocol: Protocol, *, budget: int) -> str | None:
    """Why a pair is too easy; None if it is not."""
    if task.solved(pair.start, pair.start, pair.goal):
        return "solved at the start"
    if protocol == "moderate":
        return None
    pair.enter(simulator)
    # Where one stands is asked once: a disc that was pushed off is not to follow.
    still = task.stay(simulator)
    if solved_by(task, simulator, pair, lambda: still, budget=budget):
        return "solved by standing still"
    for index in range(NUM_RANDOM):
        pair.enter(simulator)
        if solved_by(task, simulator, pair, random_policy(simulator, pair.seed, index), budget=budget):
            return "solved by random actions"
    return None


def goal_tensor(values: np.ndarray) -> Tensor:
    """What a task reads, as a float64 tensor."""
    return torch.from_numpy(np.asarray(values, np.float64))
