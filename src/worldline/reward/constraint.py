"""Constraints on rollouts, g <= 0, for `control.Constrained` or as a penalty.

May import: torch, `worldline.interfaces` and its siblings in `reward`. Refuses to know: how they are enforced.

Shapes: B rows of a rollout.
"""

from torch import Tensor

from worldline.interfaces import Objective, Rollout
from worldline.reward.compose import Composable


class AtLeast:
    """Constraint: an objective's score is at least a limit; g = limit - score.

    Args:
        objective: what is measured, (B,) of a rollout: `AtLeast(Effort(spec), -0.1)` limits the effort, since its score is negative.
        limit: the least score that is allowed.
    """

    def __init__(self, objective: Objective, limit: float) -> None:
        self.objective = objective
        self.limit = limit

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) g, at most 0 where the constraint is kept."""
        return self.limit - self.objective(rollout)


class AtMost:
    """Constraint: an objective's score is at most a limit; g = score - limit.

    Args:
        objective: what is measured, (B,) of a rollout.
        limit: the largest score that is allowed.
    """

    def __init__(self, objective: Objective, limit: float) -> None:
        self.objective = objective
        self.limit = limit

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) g, at most 0 where the constraint is kept."""
        return self.objective(rollout) - self.limit


class Penalty(Composable):
    """Objective: minus the square of how far a constraint is broken, 0 where it is kept; a soft wall for planners without constraints.

    Args:
        constraint: g, (B,) of a rollout, kept where at most 0.
    """

    def __init__(self, constraint: Objective) -> None:
        self.constraint = constraint

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores."""
        return -self.constraint(rollout).clamp_min(0).square()
