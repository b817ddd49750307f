"""Planning under constraints g <= 0, by an augmented Lagrangian around any planner.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world, an objective or the planner works.

Shapes: B rows of a rollout, T frames, A action components.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worldline.control.candidates import Scorer, check_positive, widened
from worldline.control.planner import SearchPlanner
from worldline.interfaces import Objective, Plan, Rollout, State, evaluations_per_frame

Constraint = Callable[[Rollout], Tensor]
"""(B,) of a rollout, at most 0 where the constraint is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstrainedConfig:
    """Settings of `Constrained`.

    Attributes:
        num_rounds: searches, each with the multipliers that the one before left.
        penalty: rho, weight of the squared violation in the first round, in units of the objective per squared unit of g.
        growth: factor on rho after a round in which the violation did not fall to `progress` of what it was.
        progress: see `growth`.
        tolerance: violation that counts as none.

    Raises:
        ValueError: if a setting is not positive, or `growth` below 1.
    """

    num_rounds: int = 8
    penalty: float = 1.0
    growth: float = 4.0
    progress: float = 0.25
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        check_positive(num_rounds=self.num_rounds, penalty=self.penalty, progress=self.progress, tolerance=self.tolerance)
        if self.growth < 1:
            raise ValueError(f"growth is {self.growth}; it must be at least 1")


class AugmentedObjective:
    """The objective less what violations cost: f - sum over i of (max(0, m[i] + rho g[i])^2 - m[i]^2) / (2 rho).

    Args:
        objective: f.
        constraints: g.
        multipliers: m, one per constraint, at least 0.
        penalty: rho.
    """

    def __init__(self, objective: Objective, constraints: Sequence[Constraint], multipliers: Sequence[float], penalty: float) -> None:
        self.objective, self.constraints, self.multipliers, self.penalty = objective, constraints, multipliers, penalty

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores."""
        score = self.objective(rollout)
        for constraint, multiplier in zip(self.constraints, self.multipliers, strict=True):
            pressed = (multiplier + self.penalty * constraint(rollout)).clamp_min(0)
            score = score - (pressed.square() - multiplier**2) / (2 * self.penalty)
        return score


class Constrained:
    """Planner under constraints, by the method of multipliers (Hestenes 1969; Powell 1969; Bertsekas 1982, for inequalities).

    Each round searches with an augmented objective from the plan of the round before, then raises the multiplier of each constraint by rho
    times its violation. Returned is the best plan that keeps the constraints within the tolerance, or, with status "infeasible", the one
    that violates them least.

    Args:
        make_planner: an objective to a planner, for example `lambda objective: CEM(world, objective, config)`.
        objective: what to maximise.
        constraints: each (B,) of a rollout, kept where at most 0.
        config: settings.

    Raises:
        ValueError: if there are no constraints.
    """

    def __init__(
        self,
        make_planner: Callable[[Objective], SearchPlanner],
        objective: Objective,
        constraints: Sequence[Constraint],
        config: ConstrainedConfig | None = None,
    ) -> None:
        if not constraints:
            raise ValueError("there are no constraints; use the planner itself")
        self.make_planner, self.objective, self.constraints = make_planner, objective, tuple(constraints)
        self.config = config or ConstrainedConfig()

    @property
    def num_frame_evaluations(self) -> int:
        """The default budget: that of the planner in every round, and a look at each plan that it finds."""
        planner = self.make_planner(self.objective)
        return self.config.num_rounds * (planner.num_frame_evaluations + self._look_cost(planner))

    @torch.no_grad()
    def plan(
        self, state: State, *, seed: int | None = None, initial: Tensor | None = None, max_frame_evaluations: int | None = None
    ) -> Plan:
        """The plan from `state`, batch 1; see `SearchPlanner.plan`. The budget is that of all rounds together.

        Raises:
            ValueError: as the planner does, or if a constraint does not return one value per row.
        """
        seed = int(torch.randint(2**31, ())) if seed is None else seed
        config, multipliers, penalty = self.config, [0.0] * len(self.constraints), self.config.penalty
        budget = math.inf if max_frame_evaluations is None else max_frame_evaluations
        best: Plan | None = None
        best_violation = before = math.inf
        evaluations = spent = 0
        trace: list[float] = []
        for index in range(config.num_rounds):
            planner = self.make_planner(AugmentedObjective(self.objective, self.constraints, multipliers, penalty))
            look = self._look_cost(planner)
            share = (budget - spent) / (config.num_rounds - index) - look
            share = max(share, min(look, budget - spent - look))  # one candidate costs as much as a look: rather few rounds than empty ones
            plan = planner.plan(state, seed=seed, initial=initial, max_frame_evaluations=None if math.isinf(share) else max(1, int(share)))
            spent += plan.num_frame_evaluations
            evaluations += plan.num_evaluations
            if not math.isfinite(plan.score):
                best = plan if best is None else best
                break
            if spent + look > budget:
                break
            score, values = self._look(planner, state, plan.actions, seed)
            spent, evaluations = spent + look, evaluations + 1
            violation = max(0.0, *values)
            trace.append(score)
            kept, was_kept = violation <= config.tolerance, best_violation <= config.tolerance
            if best is None or (kept and (not was_kept or score > best.score)) or (not was_kept and violation < best_violation):
                best, best_violation = replace(plan, score=score), violation
            multipliers = [max(0.0, m + penalty * g) for m, g in zip(multipliers, values, strict=True)]
            if violation > max(config.tolerance, config.progress * before):
                penalty *= config.growth
            before, initial = violation, plan.actions
        return self._said(best or plan, best_violation, trace, evaluations, spent)

    def _said(self, plan: Plan, violation: float, trace: list[float], evaluations: int, spent: int) -> Plan:
        plan = replace(plan, trace=(*trace, plan.score), num_evaluations=evaluations, num_frame_evaluations=spent, elites=None)
        if plan.status in ("budget", "not finite") or violation <= self.config.tolerance:
            return plan
        if math.isinf(violation):
            return replace(plan, status="budget", message="the budget ended before the constraints of a plan were looked at")
        message = f"no plan was found that keeps the constraints; the largest value of this one is {violation:.4g}, and 0 is allowed"
        return replace(plan, status="infeasible", message=message)

    def _look_cost(self, planner: SearchPlanner) -> int:
        return planner.config.horizon * planner.config.num_samples * evaluations_per_frame(planner.world)

    def _look(self, planner: SearchPlanner, state: State, actions: Tensor, seed: int) -> tuple[float, list[float]]:
        """The objective's score of a plan, and the value of each constraint, infinite where it is not a number."""
        scorer = Scorer(world=planner.world, objective=self.objective, state=state, seed=seed, num_samples=planner.config.num_samples)
        rollout = widened(scorer.world.rollout(state, actions[None], samples=scorer.num_samples, seed=seed))
        values = []
        for constraint in self.constraints:
            value = constraint(rollout)
            if value.shape != (1,):
                raise ValueError(f"a constraint returned {tuple(value.shape)} for 1 row; it must return (B,)")
            values.append(math.inf if value.isnan() else float(value))
        return float(self.objective(rollout)), values
