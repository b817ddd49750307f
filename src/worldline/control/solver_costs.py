"""A world as the cost function that other projects' solvers ask for, so that stable-worldmodel's planners plan in ours.

    solver = stable_worldmodel.solver.CEMSolver(SolverCosts(world, problem), num_samples=300, n_steps=30)
    solver.configure(action_space=..., n_envs=1, config=PlanConfig(horizon=5, receding_horizon=1))
    plan = solver.solve({"pixels": pixels})["actions"]        # [-1, 1]; `SolverCosts.actions` turns them into the environment's units

May import: torch and `worldline.interfaces`. Refuses to know: stable-worldmodel, which only has to find `get_cost`.

Shapes: B problems, N candidates, T frames, A action components.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from worldline.control.candidates import widened
from worldline.interfaces import Objective, State, World

Problem = Callable[[Mapping[str, Any]], tuple[State, Objective]]
"""What a solver knows of one problem (its `info_dict`, without the candidates' dimension) -> the state, batch 1, and the objective."""


class SolverCosts:
    """Costs of candidates, as stable-worldmodel's protocol `Costable` (0.1.1) has them. Differentiable where world and objective are.

    Args:
        world: with actions.
        problem: makes state and objective of what the solver was given.
        seed: of the world's noise, the same for every call, so that costs can be compared.

    Raises:
        ValueError: if the world has no actions.
    """

    def __init__(self, world: World, problem: Problem, *, seed: int = 0) -> None:
        if world.action_spec is None:
            raise ValueError("this world was trained without actions, so there is nothing to plan; use a world with an action_spec")
        self.world, self.problem, self.seed = world, problem, seed
        self.action_spec = world.action_spec

    def get_cost(self, info_dict: Mapping[str, Any], action_candidates: Tensor) -> Tensor:
        """(B, N) costs of candidates (B, N, T, A) in [-1, 1], clipped to it; infinite where not finite.

        Args:
            info_dict: values (B, N, ...), the same for all candidates of a problem.
            action_candidates: (B, N, T, A).
        """
        costs = []
        for row, candidates in enumerate(action_candidates):
            known = {name: value[row][0] if hasattr(value, "shape") else value for name, value in info_dict.items()}
            state, objective = self.problem(known)
            wide = torch.promote_types(state.latent.dtype, torch.float32)
            actions = self.actions(candidates.to(state.latent.device, wide))
            scores = objective(widened(self.world.rollout(state, actions, seed=self.seed)))
            costs.append((-scores).masked_fill(~scores.isfinite(), torch.inf).to(action_candidates.dtype))
        return torch.stack(costs)

    def actions(self, normalized: Tensor) -> Tensor:
        """Actions (..., A) in [-1, 1] in the environment's units, inside the bounds."""
        return self.action_spec.clamp(self.action_spec.denormalize(normalized))
