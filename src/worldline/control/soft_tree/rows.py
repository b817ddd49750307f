"""A tree plans from one state; several rows of a state are planned for one after the other.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a plan is found.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from worldline.control.planner import SearchPlanner
from worldline.interfaces import Plan, SelectableWorld, State


def one_by_one(
    planner: SearchPlanner, state: State, *, seed: int | None, initial: Tensor | None, max_frame_evaluations: int | None
) -> list[Plan]:
    """One plan per row of `state`, one search after the other with the same seed.

    Raises:
        ValueError: if the world cannot select rows of a state.
    """
    if not isinstance(planner.world, SelectableWorld):
        raise ValueError(f"{type(planner.world).__name__} cannot select rows of a state; plan from states of batch 1, one call per row")
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    objective, plans = planner.objective, []
    try:
        for row in range(state.batch_size):
            planner.objective = objective[row] if isinstance(objective, Sequence) else objective
            alone = planner.world.select(state, torch.tensor([row], device=state.latent.device))
            start = None if initial is None else initial[row]
            plans.append(planner.plan(alone, seed=seed, initial=start, max_frame_evaluations=max_frame_evaluations))
    finally:
        planner.objective = objective
    return plans
