"""The cross-entropy method: refit a Gaussian over plans to the best of its own samples.

May import: torch, `worldline.interfaces` and `control.candidates`. Refuses to know: how a world or an objective works.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.control.candidates import check_fraction, check_positive, correlated_noise, start_search
from worldline.interfaces import Objective, Plan, State, World


@dataclass(frozen=True, kw_only=True, slots=True)
class CEMConfig:
    """Settings of `CEM`. Deviations are in units of half the action bounds.

    Attributes:
        horizon: frames per plan, T.
        num_candidates: plans that are scored in each iteration.
        num_iterations: refits of the Gaussian.
        num_elites: best plans that the Gaussian is refitted to.
        initial_std: standard deviation of the first proposals.
        min_std: floor that keeps the search from freezing early.
        momentum: share of the old mean and deviation in the new ones, in [0, 1).
        correlation: of neighbouring frames of the proposals' noise, in [0, 1).
        num_samples: futures per candidate.
        batch_size: candidates that are rolled out at a time.

    Raises:
        ValueError: if a count or deviation is not positive, a share not in [0, 1), or there are more elites than candidates.
    """

    horizon: int = 12
    num_candidates: int = 300
    num_iterations: int = 10
    num_elites: int = 30
    initial_std: float = 0.5
    min_std: float = 0.01
    momentum: float = 0.1
    correlation: float = 0.0
    num_samples: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_positive(
            horizon=self.horizon,
            num_candidates=self.num_candidates,
            num_iterations=self.num_iterations,
            num_elites=self.num_elites,
            initial_std=self.initial_std,
            min_std=self.min_std,
            num_samples=self.num_samples,
            batch_size=self.batch_size,
        )
        check_fraction(momentum=self.momentum, correlation=self.correlation)
        if self.num_elites > self.num_candidates:
            raise ValueError(f"num_elites is {self.num_elites} of {self.num_candidates} candidates; choose fewer elites")


class CEM:
    """Planner by the cross-entropy method (Rubinstein 1999).

    Every iteration scores the mean of the Gaussian and `num_candidates - 1` samples of it, and the best plan seen so far stays among
    the elites (Pinneri et al. 2020, iCEM). The plan returned is the best that was ever scored, be it a mean or a sample.
    """

    def __init__(self, world: World, objective: Objective, config: CEMConfig | None = None) -> None:
        self.world = world
        self.objective = objective
        self.config = config or CEMConfig()

    @torch.no_grad()
    def plan(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> Plan:
        """The best plan found from `state`, batch 1. The first mean is `initial` (T, A), in environment units, or mid-bounds.

        Raises:
            ValueError: if the world has no actions, the state has several rows, `initial` does not fit, or no score is finite.
        """
        config, like = self.config, state.latent
        scorer, mean, generator = start_search(
            self.world,
            self.objective,
            state,
            horizon=config.horizon,
            num_samples=config.num_samples,
            batch_size=config.batch_size,
            seed=seed,
            initial=initial,
        )
        std = torch.full_like(mean, config.initial_std)
        best, best_score = mean, torch.full_like(mean[0, 0], -torch.inf)
        trace = []
        for _ in range(config.num_iterations):
            noise = correlated_noise(config.num_candidates, *mean.shape, correlation=config.correlation, generator=generator, like=like)
            noise[0] = 0  # the mean itself
            candidates = (mean + std * noise).clamp(-1, 1)
            scores = scorer.score(candidates)

            pool, pool_scores = torch.cat([candidates, best[None]]), torch.cat([scores, best_score[None]])
            elite_scores, order = pool_scores.topk(config.num_elites)
            elites = pool[order[elite_scores.isfinite()]]
            best, best_score = elites[0], elite_scores[0]
            mean = torch.lerp(elites.mean(0), mean, config.momentum)
            std = torch.lerp(elites.std(0, correction=0), std, config.momentum).clamp_min(config.min_std)
            trace.append(best_score.item())
        num_evaluations = config.num_iterations * config.num_candidates
        return Plan(actions=scorer.actions(best), score=trace[-1], trace=tuple(trace), num_evaluations=num_evaluations)
