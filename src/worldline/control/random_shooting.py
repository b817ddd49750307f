"""Random shooting: draw plans, keep the best. The floor that every other planner has to beat.

May import: torch, `worldline.interfaces` and `control.candidates`. Refuses to know: how a world or an objective works.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.control.candidates import check_fraction, check_positive, correlated_noise, start_search
from worldline.interfaces import Objective, Plan, State, World


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomShootingConfig:
    """Settings of `RandomShooting`.

    Attributes:
        horizon: frames per plan, T.
        num_candidates: plans that are drawn.
        correlation: of neighbouring frames of a plan, in [0, 1); 0 draws every action on its own.
        num_samples: futures per candidate.
        batch_size: candidates that are rolled out at a time.

    Raises:
        ValueError: if a count is not positive or the correlation not in [0, 1).
    """

    horizon: int = 12
    num_candidates: int = 1024
    correlation: float = 0.0
    num_samples: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_positive(horizon=self.horizon, num_candidates=self.num_candidates, num_samples=self.num_samples, batch_size=self.batch_size)
        check_fraction(correlation=self.correlation)


class RandomShooting:
    """Planner that draws plans uniformly within the bounds and returns the best of them."""

    def __init__(self, world: World, objective: Objective, config: RandomShootingConfig | None = None) -> None:
        self.world = world
        self.objective = objective
        self.config = config or RandomShootingConfig()

    @torch.no_grad()
    def plan(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> Plan:
        """The best of `num_candidates` plans from `state`, batch 1; `initial` (T, A), in environment units, is one of them if given.

        Raises:
            ValueError: if the world has no actions, the state has several rows, `initial` does not fit, or no score is finite.
        """
        config, like = self.config, state.latent
        scorer, start, generator = start_search(
            self.world,
            self.objective,
            state,
            horizon=config.horizon,
            num_samples=config.num_samples,
            batch_size=config.batch_size,
            seed=seed,
            initial=initial,
        )
        noise = correlated_noise(
            config.num_candidates, config.horizon, scorer.action_spec.dim, correlation=config.correlation, generator=generator, like=like
        )
        # The normal distribution function makes every marginal uniform and keeps the correlation.
        candidates = torch.erf(noise / math.sqrt(2))
        if initial is not None:
            candidates[0] = start
        scores = scorer.score(candidates)
        best = scores.argmax()
        score = scores[best].item()
        return Plan(actions=scorer.actions(candidates[best]), score=score, trace=(score,), num_evaluations=len(candidates))
