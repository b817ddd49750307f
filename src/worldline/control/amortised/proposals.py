"""A policy's own future in a world, as a plan: to act by, or for a search to start from.

May import: torch and `worldline.interfaces`. Refuses to know: how the policy was found.

Shapes: T frames, A action components.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from worldline.interfaces import Objective, Plan, Planner, Policy, State, World


@torch.no_grad()
def propose_plan(world: World, state: State, policy: Policy, *, horizon: int, seed: int | None = None) -> Tensor:
    """The actions (T, A), environment units, that a policy takes in `horizon` imagined frames from `state`, batch 1.

    Raises:
        ValueError: if the world has no actions, or the horizon is not positive.
    """
    if world.action_spec is None or horizon < 1:
        raise ValueError(f"action_spec is {world.action_spec} and horizon {horizon}; give a world with actions, and at least one frame")
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    actions = []
    for _ in range(horizon):
        action = world.action_spec.clamp(policy(state))
        actions.append(action[0])
        # A seed per frame: one for all would draw the same noise in worlds that know no position.
        state = world.step(state, action, seed=None if generator is None else int(torch.randint(2**31, (), generator=generator)))
    return torch.stack(actions)


class PolicyPlanner:
    """Planner that does not search: the policy's own future, scored once if there is an objective.

    With `search`, that future is where the search starts: the policy proposes, the planner refines.

    Args:
        world: in which the policy is followed.
        make_policy: a fresh policy for each plan; policies that count the frames left to a goal start anew.
        horizon: frames per plan, T.
        objective: judges the plan; its score is NaN without.
        search: any planner of the same world and horizon, or None.
    """

    def __init__(
        self,
        world: World,
        make_policy: Callable[[], Policy],
        *,
        horizon: int,
        objective: Objective | None = None,
        search: Planner | None = None,
    ) -> None:
        self.world, self.make_policy, self.horizon = world, make_policy, horizon
        self.objective, self.search = objective, search

    def plan(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> Plan:
        """The policy's plan from `state`, batch 1, or what the search makes of it; an `initial` plan is not looked at."""
        proposed = propose_plan(self.world, state, self.make_policy(), horizon=self.horizon, seed=seed)
        if self.search is not None:
            return self.search.plan(state, seed=seed, initial=proposed)
        if self.objective is None:
            return Plan(actions=proposed, score=float("nan"), num_evaluations=1)
        with torch.no_grad():
            score = float(self.objective(self.world.rollout(state, proposed[None], seed=seed)))
        return Plan(actions=proposed, score=score, trace=(score,), num_evaluations=2)
