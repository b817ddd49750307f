"""Candidate plans and their scores: bounds, units, action repeat, and rollouts in batches from a shared state.

May import: torch and `worldline.interfaces`. Refuses to know: how the next candidates are chosen.

Shapes: P problems (rows of the state), N candidates, T frames, D decisions (T / action_repeat), A action components. Candidates live in
[-1, 1], half the width of the environment's bounds, so that one setting of a planner fits pixels, metres and newtons. They, their scores
and their gradients are float32 at least: a search is too fine for the half precision that a world may imagine in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worldline.control.heads import LazyHeads
from worldline.interfaces import ActionSpec, Objective, Rollout, State, World


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """Scores candidates from a state of a world with common random numbers, so that scores can be compared.

    Attributes:
        world: rolls the candidates out.
        objective: judges the rollouts; or one objective per problem, each of which sees its own rows.
        state: where the candidates start, one row per problem; its memory is shared, not copied.
        seed: of the world's randomness, the same for every candidate, problem and call.
        num_samples: futures per candidate, averaged by the objective.
        batch_size: candidates that are rolled out at a time, all problems together; bounds the memory.
        action_repeat: frames that each decision lasts.

    Raises:
        ValueError: if the world has no actions, or there are as many objectives as neither one nor the problems.
    """

    world: World
    objective: Objective | Sequence[Objective]
    state: State
    seed: int
    num_samples: int = 1
    batch_size: int = 256
    action_repeat: int = 1

    def __post_init__(self) -> None:
        if self.world.action_spec is None:
            raise ValueError("this world was trained without actions, so there is nothing to plan; use a world with an action_spec")
        if isinstance(self.objective, Sequence) and len(self.objective) != self.num_problems:
            raise ValueError(f"{len(self.objective)} objectives for a state of {self.num_problems} rows; give one per row, or one for all")

    @property
    def num_problems(self) -> int:
        """Rows of the state, P."""
        return self.state.batch_size

    @property
    def action_spec(self) -> ActionSpec:
        """The world's bounds."""
        assert self.world.action_spec is not None
        return self.world.action_spec

    @property
    def like(self) -> Tensor:
        """An empty tensor with the device of the state and the dtype that plans are reckoned in: the state's, float32 at least."""
        latent = self.state.latent
        return latent.new_empty(0, dtype=torch.promote_types(latent.dtype, torch.float32))

    def actions(self, candidates: Tensor) -> Tensor:
        """Candidates (..., D, A) as actions (..., T, A) in environment units, inside the bounds up to the last bit."""
        repeated = candidates.repeat_interleave(self.action_repeat, dim=-2) if self.action_repeat > 1 else candidates
        return self.action_spec.clamp(self.action_spec.denormalize(repeated))

    def score(self, candidates: Tensor) -> Tensor:
        """(N,) scores of candidates (N, D, A) in [-1, 1], or (P, N) of (P, N, D, A); minus infinity, the worst, where not finite.

        Raises:
            ValueError: if the objective does not return one score per candidate.
        """
        if candidates.ndim == 3:
            return self.score(candidates[None])[0]
        problems = self.num_problems
        parts = []
        for chunk in self.actions(candidates).split(max(1, self.batch_size // problems), dim=1):
            count = chunk.shape[1]
            start = self.state if problems == 1 else self.world.fork(self.state, count)
            rollout = self.world.rollout(start, chunk.flatten(0, 1), samples=self.num_samples, seed=self.seed)
            scores = judged(self.objective, rollout, problems).view(problems, count)
            # Where an action leads may be unknown to gradients while its effort is not: half a gradient is worse than none.
            parts.append(scores if rollout.latents.requires_grad else scores.detach())
        scores = torch.cat(parts, dim=1).to(candidates)
        return scores.masked_fill(~scores.isfinite(), -math.inf)


def judged(objective: Objective | Sequence[Objective], rollout: Rollout, num_problems: int) -> Tensor:
    """(B,) scores of a rollout whose rows are sorted by problem, by the objective of all or each problem's own.

    The rollout that a problem's own objective sees ends in a state without memory: rows of a memory cannot be cut out in general.

    Raises:
        ValueError: if an objective does not return one score per row.
    """
    rollout = widened(rollout)
    if isinstance(objective, Sequence):
        return torch.cat([judged(each, part, 1) for each, part in zip(objective, _rows_by_problem(rollout, num_problems), strict=True)])
    count, scores = rollout.latents.shape[1], objective(rollout)
    if scores.shape != (count,):
        raise ValueError(f"the objective returned scores {tuple(scores.shape)} for {count} candidates; it must return (N,)")
    return scores


def widened(rollout: Rollout) -> Rollout:
    """A rollout as objectives are to see it: latents in float32 at least.

    A mean of squares in bfloat16 has two digits, and the best of many plans differ in the third.
    """
    wide = torch.promote_types(rollout.latents.dtype, torch.float32)
    return rollout if rollout.latents.dtype == wide else replace(rollout, latents=rollout.latents.to(wide))


def _rows_by_problem(rollout: Rollout, num_problems: int) -> list[Rollout]:
    count = rollout.latents.shape[1] // num_problems
    parts = []
    for problem in range(num_problems):
        rows = slice(problem * count, (problem + 1) * count)
        latents = rollout.latents[:, rows]
        end = State(latent=latents[:, :, -1].flatten(0, 1), position=rollout.state.position)
        actions = None if rollout.actions is None else rollout.actions[rows]
        heads = LazyHeads([rollout.heads], lambda value, rows=rows: value[:, rows])
        parts.append(replace(rollout, latents=latents, actions=actions, heads=heads, state=end))
    return parts


def decisions_of(actions: Tensor, action_spec: ActionSpec, action_repeat: int) -> Tensor:
    """Actions (..., T, A) in environment units as candidates (..., D, A) in [-1, 1]: the mean over the frames of each decision."""
    normalized = action_spec.normalize(actions).clamp(-1, 1)
    return normalized.unflatten(-2, (-1, action_repeat)).mean(-2) if action_repeat > 1 else normalized


def check_positive(**values: float) -> None:
    """Raise ValueError naming the first setting that is not positive."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be positive")


def check_fraction(**values: float) -> None:
    """Raise ValueError naming the first setting that is not in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 0 and below 1")
