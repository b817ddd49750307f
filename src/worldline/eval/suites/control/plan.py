"""How much of the control suite is measured.

May import: its siblings. Refuses to know: how anything is measured.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from worldline.eval.suites.control.pairs import Protocol
from worldline.eval.suites.control.planners import PLANNERS, POLICIES
from worldline.eval.suites.control.tasks import TASKS

FRAMES_PER_OFFSET = 2
"""Simulator frames that an attempt may take, per frame between start and goal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPlan:
    """How much to measure.

    Attributes:
        environments: names from `TASKS`.
        planners: names from `PLANNERS` and `POLICIES`.
        frame_evaluations: budgets per decision.
        protocols: how hard pairs have to be.
        offsets: simulator frames from start to goal; an attempt may take twice as many.
        num_pairs: pairs per environment, protocol and offset.
        num_seeds: plans of each pair with other random numbers.
        seed: of the pairs, and the first of the plans.
        horizon: frames of the world per plan; the offset, within 4 and 12, if None.
        execute: frames of each plan that are done; a third of the horizon if None.
        prompt_frames: frames that a learned world is shown.
        batch_size: candidates imagined at once, per attempt.
        num_together: attempts whose plans are made in one batch, where world and planner can.
        in_simulator: plan in the true simulator, at the world's rate.
        num_films: films per environment, failures first.
        num_lessons: training episodes that policies are regressed on, where one is measured.
        lessons_from: store of recordings that they are regressed on in place of these.
        num_policy_updates: of their regression.
        num_gradients: pairs whose gradients are compared.

    Raises:
        ValueError: if a name is unknown, or a number out of range.
    """

    environments: tuple[str, ...] = ("push",)
    planners: tuple[str, ...] = ("cem",)
    frame_evaluations: tuple[int, ...] = (1000,)
    protocols: tuple[Protocol, ...] = ("strict",)
    offsets: tuple[int, ...] = (25,)
    num_pairs: int = 5
    num_seeds: int = 1
    seed: int = 0
    horizon: int | None = None
    execute: int | None = None
    prompt_frames: int = 4
    batch_size: int = 64
    num_together: int = 1
    in_simulator: bool = False
    num_films: int = 4
    num_lessons: int = 60
    lessons_from: Path | None = None
    num_policy_updates: int = 1500
    num_gradients: int = 3

    def __post_init__(self) -> None:
        for what, given, known in (("environment", self.environments, TASKS), ("planner", self.planners, (*PLANNERS, *POLICIES))):
            if not given or (unknown := [name for name in given if name not in known]):
                raise ValueError(f"{what} {', '.join(unknown) if given else 'none'} is unknown; choose of {', '.join(known)}")
        numbers = (
            self.num_pairs,
            self.num_seeds,
            self.prompt_frames,
            self.batch_size,
            self.num_together,
            *self.offsets,
            *self.frame_evaluations,
        )
        if min(numbers) < 1 or not self.offsets or not self.frame_evaluations or not self.protocols:
            raise ValueError(
                f"pairs, seeds, prompt frames, batch size, attempts together, offsets and budgets must all be at least 1, got {self}"
            )
        if min(self.horizon or 1, self.execute or 1) < 1 or (self.horizon or math.inf) < (self.execute or 1):
            raise ValueError(f"horizon is {self.horizon} and execute {self.execute}; do at least one frame of a plan, and at most all")

    def horizon_for(self, offset: int, frame_skip: int) -> int:
        """Frames of the world per plan."""
        return self.horizon or max(4, min(12, offset // frame_skip))

    def execute_for(self, horizon: int) -> int:
        """Frames of each plan that are done."""
        return self.execute or max(1, horizon // 3)

    def budget_for(self, offset: int) -> int:
        """Simulator frames of an attempt."""
        return FRAMES_PER_OFFSET * offset
