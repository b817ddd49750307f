"""One search: where it starts, what it may spend, the best plans so far, and how it ends.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how candidates are chosen.

Shapes: P problems, N candidates, T frames, D decisions (T / action_repeat), A action components.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from worldline.control.candidates import Scorer, check_fraction, check_positive
from worldline.control.noise import CorrelatedNoise, Noise
from worldline.interfaces import Plan, PlanStatus, backward_passes, evaluations_per_frame

FORWARD, BACKWARD = 1, 2
"""Frame evaluations of imagining a frame once, and of going back through it for a gradient in a world that is differentiable itself."""

_WHITE = CorrelatedNoise(0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """Settings that all planners share.

    Attributes:
        horizon: frames per plan, T.
        action_repeat: frames that each decision lasts; divides the horizon.
        correlation: of neighbouring decisions of the proposals' noise, in [0, 1); not used where the planner was given a `noise`.
        num_samples: futures per candidate.
        batch_size: candidates that are rolled out at a time.
        max_frame_evaluations: the budget: no search imagines more than this, see `Plan.num_frame_evaluations`. None: as much as the
            planner's other settings ask for, which `SearchPlanner.num_frame_evaluations` tells.
        target_score: a score that is good enough: the search stops when it is reached, and the plan says whether it was.
        num_policy_plans: candidates that the planner's policy proposes, where it was given one.
        policy_std: deviation of the noise on the policy's actions, in units of half the bounds; the first of its plans has none.

    Raises:
        ValueError: if a count is not positive, the correlation not in [0, 1), or the repeat does not divide the horizon.
    """

    horizon: int = 12
    action_repeat: int = 1
    correlation: float = 0.0
    num_samples: int = 1
    batch_size: int = 256
    max_frame_evaluations: int | None = None
    target_score: float | None = None
    num_policy_plans: int = 8
    policy_std: float = 0.2

    def __post_init__(self) -> None:
        names = ("horizon", "action_repeat", "num_samples", "batch_size", "num_policy_plans")
        check_positive(**{name: getattr(self, name) for name in names})
        check_fraction(correlation=self.correlation)
        if self.horizon % self.action_repeat:
            raise ValueError(f"action_repeat is {self.action_repeat} and horizon {self.horizon}; the horizon must be a multiple of it")
        if self.max_frame_evaluations is not None:
            check_positive(max_frame_evaluations=self.max_frame_evaluations)
        if self.policy_std < 0:
            raise ValueError(f"policy_std is {self.policy_std}; it must be at least 0")

    @property
    def num_decisions(self) -> int:
        """Actions that a plan decides on, D."""
        return self.horizon // self.action_repeat


class Search:
    """One search: where it starts, what it may spend, and the best plans so far. Every planner's loop is written against this.

    Args:
        scorer: scores candidates.
        config: settings of the planner.
        noise: of the proposals.
        generator: of the proposals.
        seeds: (P, I, D, A) plans that the search starts with, in [-1, 1], the one to start from first.
        num_given: how many of them were given, so that an unused default is not scored.
        budget: frame evaluations per problem.
    """

    def __init__(
        self,
        scorer: Scorer,
        config: SearchConfig,
        *,
        noise: Noise,
        generator: torch.Generator,
        seeds: Tensor,
        num_given: int,
        budget: float,
    ) -> None:
        self.scorer, self.config, self.noise, self.generator, self.budget = scorer, config, noise, generator, budget
        self.backward = backward_passes(scorer.world, config.horizon)
        self.seeds, self.num_given = seeds, num_given
        self.start = seeds[:, 0]
        self.best = self.start
        self.best_score = self.start.new_full((len(seeds),), -math.inf)
        self.num_evaluations = 0
        self.num_frame_evaluations = 0
        self.trace: list[Tensor] = []
        self.stopped = False
        self.status: PlanStatus | None = None
        self.message = ""

    @property
    def frame_cost(self) -> int:
        """Frame evaluations of one candidate's rollout."""
        return self.config.horizon * self.config.num_samples * evaluations_per_frame(self.scorer.world)

    @property
    def done(self) -> bool:
        """Whether to stop: nothing more can be paid for, or every problem is as good as was asked for."""
        target = self.config.target_score
        return self.stopped or self.affordable() < 1 or (target is not None and bool((self.best_score >= target).all()))

    def pays_for(self, cost: int, *, reserve: int = 0) -> int:
        """How many times the rest of the budget, less a reserve, pays a number of frame evaluations; 0 or more."""
        left = self.budget - self.num_frame_evaluations - reserve
        return max(0, int(min(left / cost, 2**31)))

    def affordable(self, passes: int = FORWARD) -> int:
        """Candidates that the rest of the budget pays for."""
        return self.pays_for(passes * self.frame_cost)

    def pay(self, frame_evaluations: int) -> None:
        """Count what was spent elsewhere than in `score` and `gradients`."""
        self.num_frame_evaluations += frame_evaluations

    def draw(self, count: int, *, white: bool = False) -> Tensor:
        """Noise (1, N, D, A) of unit variance, the same for every problem, so that none depends on its neighbours."""
        decisions, components = self.start.shape[-2:]
        noise = _WHITE if white else self.noise
        return noise.draw((count, decisions, components), generator=self.generator, like=self.start)[None]

    def with_seeds(self, candidates: Tensor) -> Tensor:
        """Candidates (P, N, D, A) whose first ones are replaced by the plans that were given at the start, as many as fit."""
        given = self.seeds[:, : min(self.num_given, candidates.shape[1])]
        return torch.cat([given, candidates[:, given.shape[1] :]], dim=1)

    def score(self, candidates: Tensor) -> Tensor:
        """(P, N) scores of candidates (P, N, D, A), of which the best is remembered; minus infinity where the budget ends or not finite."""
        paid = candidates[:, : self.affordable()]
        scores = candidates.new_full(candidates.shape[:2], -math.inf)
        if paid.shape[1]:
            scores = torch.cat([self.scorer.score(paid), scores[:, paid.shape[1] :]], dim=1)
            self._count(paid.shape[1], FORWARD)
            self.remember(candidates, scores)
        return scores

    def gradients(self, candidates: Tensor, method: Literal["autograd", "differences"], step: float) -> tuple[Tensor, Tensor] | None:
        """Scores (P, N) and their gradients (P, N, D, A), zero where not finite; None, with the status said, if there are none.

        Args:
            candidates: (P, N, D, A).
            method: by going back through the rollouts, or by central differences, which need no differentiable world.
            step: half the distance of a difference.
        """
        found = self._backward(candidates) if method == "autograd" else self._differences(candidates, step)
        if found is None:
            self.status = "no gradient"
            self.message = 'the scores do not depend differentiably on the actions; use gradient="differences" or a planner that samples'
            return None
        scores, gradient = found
        self.remember(candidates, scores)
        return scores, gradient.nan_to_num(0, 0, 0)

    def record(self, scores: Tensor | None = None) -> None:
        """Note the best scores, or others (P,), at the end of an iteration."""
        self.trace.append((self.best_score if scores is None else scores).clone())

    def finish(self, actions: Tensor | None = None, scores: Tensor | None = None, elites: Tensor | None = None) -> list[Plan]:
        """The plans: the best that were scored, or `actions` (P, D, A) with `scores` (P,); with `elites` (P, E, D, A) if there are some."""
        if actions is None or scores is None:
            actions, scores = self.best, self.best_score
        plans = []
        for problem in range(len(actions)):
            score = scores[problem].item()
            status, message = self._verdict(score)
            trace = tuple(each[problem].item() for each in self.trace)
            plans.append(
                Plan(
                    actions=self.scorer.actions(actions[problem]).detach(),
                    score=score,
                    trace=trace,
                    num_evaluations=self.num_evaluations,
                    num_frame_evaluations=self.num_frame_evaluations,
                    status=status,
                    message=message,
                    elites=None if elites is None else self.scorer.actions(elites[problem]).detach(),
                )
            )
        return plans

    def _verdict(self, score: float) -> tuple[PlanStatus, str]:
        target = self.config.target_score
        if not math.isfinite(score):
            if self.num_evaluations == 0 and self.status is None:
                price = f"a budget of {self.budget:g} frame evaluations pays for no candidate, which costs {self.frame_cost}"
                return "budget", f"{price}; the plan is the one the search started from"
            tried = f"none of {self.num_evaluations} candidates has a finite score"
            return "not finite", f"{tried}; check that the state and the goal hold no NaN, and shorten the horizon if the world diverges"
        if self.status is not None:
            return self.status, self.message
        if target is None:
            return "ok", ""
        if score >= target:
            return "reached", ""
        return "short", f"the best score found is {score:.4g}, and {target:.4g} was asked for; the goal may be out of reach"

    def _backward(self, candidates: Tensor) -> tuple[Tensor, Tensor] | None:
        count = self.affordable(FORWARD + self.backward)
        scores, gradient = candidates.new_full(candidates.shape[:2], -math.inf), torch.zeros_like(candidates)
        if not count:
            return scores, gradient
        with torch.enable_grad():
            variable = candidates[:, :count].detach().requires_grad_()
            found = self.scorer.score(variable)
            # What requires a gradient may do so for the world's parameters alone.
            (slope,) = torch.autograd.grad(found[found.isfinite()].sum(), variable, allow_unused=True) if found.requires_grad else (None,)
        scores[:, :count] = found.detach()
        if slope is None:
            self._count(variable.shape[1], FORWARD)
            self.remember(candidates, scores)
            return None
        self._count(variable.shape[1], FORWARD + self.backward)
        gradient[:, :count] = slope
        return scores, gradient

    def _differences(self, candidates: Tensor, step: float) -> tuple[Tensor, Tensor]:
        problems, count, *shape = candidates.shape
        size = math.prod(shape)
        moves = step * torch.eye(size, dtype=candidates.dtype, device=candidates.device).view(size, *shape)
        # Inside the bounds, where scores are defined: at a bound the difference is one-sided.
        up, down = ((candidates[:, :, None] + sign * moves).clamp(-1, 1) for sign in (1, -1))
        if self.affordable() < count * (2 * size + 1):
            self.stopped = True  # what is left pays for no gradient
            return self.score(candidates), torch.zeros_like(candidates)
        every = self.score(torch.cat([candidates[:, :, None], up, down], dim=2).flatten(1, 2)).view(problems, count, -1)
        rise = every[..., 1 : size + 1] - every[..., size + 1 :]
        run = (up - down).flatten(3).sum(-1)
        return every[..., 0], (rise / run).view(problems, count, *shape)

    def _count(self, candidates: int, passes: int) -> None:
        self.num_evaluations += candidates
        self.num_frame_evaluations += passes * candidates * self.frame_cost

    def remember(self, candidates: Tensor, scores: Tensor) -> None:
        """Keep the best of candidates (P, N, D, A) by their scores (P, N), if better than the best so far."""
        best_score, index = scores.max(dim=1)
        better = best_score > self.best_score
        found = candidates[torch.arange(len(candidates), device=index.device), index]
        self.best = torch.where(better[:, None, None], found, self.best).detach()
        self.best_score = torch.maximum(best_score, self.best_score).detach()
