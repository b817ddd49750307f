"""What a plan costs by its actions alone: effort, jerks, and being unlike what was recorded.

May import: torch, `worldline.interfaces` and its siblings in `reward`. Refuses to know: where a rollout leads.

Shapes: B rows of a rollout, E recorded sequences, T frames, A action components. Actions are normalised by the bounds, so that costs of
pixels, metres and newtons compare.
"""

import torch
from torch import Tensor

from worldline.interfaces import ActionSpec, Rollout
from worldline.reward.compose import Composable


class Effort(Composable):
    """Objective: minus the mean square of the actions, 0 in the middle of the bounds and -1 on them.

    Args:
        action_spec: of the world.
    """

    def __init__(self, action_spec: ActionSpec) -> None:
        self.action_spec = action_spec

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores.

        Raises:
            ValueError: if the rollout has no actions.
        """
        return -self.action_spec.normalize(actions_of(rollout)).square().mean((1, 2))


class Smoothness(Composable):
    """Objective: minus the mean square of the change from one action to the next.

    Args:
        action_spec: of the world.
        previous: (A,) the action before the plan, environment units, so that its first change counts, too; None if there was none.
    """

    def __init__(self, action_spec: ActionSpec, *, previous: Tensor | None = None) -> None:
        self.action_spec = action_spec
        self.previous = previous

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores; zero for a single action with none before.

        Raises:
            ValueError: if the rollout has no actions.
        """
        actions = actions_of(rollout)
        if self.previous is not None:
            actions = torch.cat([self.previous.to(actions).expand(len(actions), 1, -1), actions], dim=1)
        changes = self.action_spec.normalize(actions).diff(dim=1)
        return -changes.square().mean((1, 2)) if changes.shape[1] else changes.new_zeros(len(changes))


class NearData(Composable):
    """Objective: minus the squared Mahalanobis distance of a plan to recorded actions, per component.

        score = -(u - mean)' covariance^-1 (u - mean) / (T A)

    About -1 for a plan like those recorded. A learned world is only to be trusted near its data, and an optimiser leaves it wherever
    that looks cheaper: plans of a cross-entropy search were seen to drift from 13 to 334 where demonstrations have 34 to 50.

    Args:
        mean: (T, A) of normalised actions.
        covariance: (T * A, T * A), frame by frame, positive definite. Plans may be shorter than T.
        action_spec: of the world.

    Raises:
        ValueError: if the shapes do not fit or the covariance is not positive definite.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, action_spec: ActionSpec) -> None:
        size = mean.numel()
        if mean.ndim != 2 or covariance.shape != (size, size):
            raise ValueError(f"mean is {tuple(mean.shape)} and covariance {tuple(covariance.shape)}; give (T, A) and (T * A, T * A)")
        factor, info = torch.linalg.cholesky_ex(covariance.double())
        if info.any() or not factor.isfinite().all():
            raise ValueError("covariance is not positive definite; fit it to more sequences, or with more shrinkage")
        self.mean, self.covariance, self.factor, self.action_spec = mean.double(), covariance.double(), factor, action_spec

    @classmethod
    def fit(cls, actions: Tensor, action_spec: ActionSpec, *, shrinkage: float = 0.1) -> "NearData":
        """The distance to recorded action sequences (E, T, A) in environment units.

        Args:
            actions: sequences as long as the plans, or longer.
            action_spec: of the world.
            shrinkage: share of the covariance that is replaced by its diagonal, in (0, 1]; components that never change get a
                thousandth of the mean variance.

        Raises:
            ValueError: if `actions` is not (E, T, A) with E >= 2, does not vary, or the shrinkage is out of range.
        """
        if actions.ndim != 3 or len(actions) < 2:
            raise ValueError(f"actions are {tuple(actions.shape)}; give at least two recorded sequences, (E, T, A)")
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage is {shrinkage}; it must be above 0 and at most 1")
        normalized = action_spec.normalize(actions.double())
        covariance = torch.cov(normalized.flatten(1).T)
        variances = covariance.diagonal()
        if not (variances > 1e-12).any():
            raise ValueError("the recorded actions never change; there is no distance to them")
        diagonal = torch.diag(variances.clamp_min(1e-3 * variances.mean()))
        return cls(normalized.mean(0), torch.lerp(covariance, diagonal, shrinkage), action_spec)

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores.

        Raises:
            ValueError: if the rollout has no actions, or more frames than the recorded sequences.
        """
        actions = self.action_spec.normalize(actions_of(rollout))
        horizon = actions.shape[1]
        if horizon > len(self.mean):
            raise ValueError(f"the plan has {horizon} frames and the recorded sequences {len(self.mean)}; fit longer sequences")
        offset = (actions - self.mean[:horizon].to(actions)).flatten(1)
        size = offset.shape[1]
        # The leading block of the factor is the factor of the leading block: a shorter plan is judged by its own frames.
        factor = self.factor[:size, :size].to(offset)
        return -torch.linalg.solve_triangular(factor, offset.T, upper=False).square().sum(0) / size


def actions_of(rollout: Rollout) -> Tensor:
    """The actions (B, T, A) of a rollout.

    Raises:
        ValueError: if it has none.
    """
    if rollout.actions is None:
        raise ValueError("the rollout has no actions, and this objective judges them; use a world with an action_spec")
    return rollout.actions
