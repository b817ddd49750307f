"""Model predictive path integral control: average perturbed plans with weights that fall exponentially with their cost.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world or an objective works.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from worldline.control.candidates import check_positive
from worldline.control.planner import SearchPlanner
from worldline.control.search import Search, SearchConfig
from worldline.interfaces import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class MPPIConfig(SearchConfig):
    """Settings of `MPPI`, besides those of `SearchConfig`. Deviations are in units of half the action bounds.

    Attributes:
        num_candidates: perturbed plans in each iteration.
        num_iterations: updates of the plan.
        temperature: lambda, in units of the objective: how much worse a plan may be and still count. None: a tenth of the distance from
            the median to the best score of each iteration, which fits objectives of any scale.
        noise_std: standard deviation of the perturbations.
        noise_decay: factor on that from one iteration to the next, in (0, 1]; an average over noise that never shrinks stays off the
            optimum.
        control_cost: charge each perturbation lambda * u' Sigma^-1 e as the information-theoretic derivation does; it pulls the plan
            towards the middle of the bounds. Needs `correlation` 0.

    Raises:
        ValueError: if a count, the temperature or the deviation is not positive, or `control_cost` meets correlated noise.
    """

    num_candidates: int = 64
    num_iterations: int = 140
    temperature: float | None = None
    noise_std: float = 0.3
    noise_decay: float = 0.97
    control_cost: bool = False

    def __post_init__(self) -> None:
        SearchConfig.__post_init__(self)
        names = ("num_candidates", "num_iterations", "noise_std", "noise_decay")
        check_positive(**{name: getattr(self, name) for name in names})
        if self.temperature is not None:
            check_positive(temperature=self.temperature)
        if self.noise_decay > 1:
            raise ValueError(f"noise_decay is {self.noise_decay}; it must be at most 1")
        if self.control_cost and self.correlation:
            raise ValueError(f"control_cost assumes white noise, but correlation is {self.correlation}; switch one of the two off")


class Scores(Protocol):
    """What scores candidates: a `Scorer`, or a `Search`, which also counts them."""

    def score(self, candidates: Tensor) -> Tensor:
        """(..., N) scores of candidates (..., N, D, A)."""
        ...


class MPPI(SearchPlanner[MPPIConfig]):
    """Planner by path integrals (Williams et al. 2017, "Information Theoretic MPC for Model-Based Reinforcement Learning").

    The plan returned is the average, which no rollout has visited exactly; it is scored once after each iteration, and those scores
    are the trace.
    """

    config_class = MPPIConfig

    def num_passes(self) -> int:
        """See `SearchPlanner.num_passes`."""
        return self.config.num_iterations * (self.config.num_candidates + 1)

    def search(self, search: Search) -> list[Plan]:
        """The plan after the last update that the budget pays for."""
        config, mean = self.config, search.start
        scores = torch.full_like(mean[:, 0, 0], -math.inf)
        for iteration in range(config.num_iterations):
            count = min(config.num_candidates, search.affordable() - 1)
            if count < 1 or (iteration and search.done):
                break
            noise = config.noise_std * config.noise_decay**iteration * search.draw(count)
            noise = noise.expand(len(mean), -1, -1, -1)
            if iteration == 0:
                noise = search.with_seeds(mean[:, None] + noise) - mean[:, None]
            mean = self.update(search, mean, noise, noise_std=config.noise_std * config.noise_decay**iteration)
            scores = search.score(mean[:, None])[:, 0]
            search.record(scores)
        if not search.trace:  # the budget does not pay for an update and the score of its mean
            search.score(mean[:, None])
            return search.finish()
        if config.target_score is not None:  # a candidate that is good enough is, even where the average is not
            better = (scores < config.target_score) & (search.best_score >= config.target_score)
            mean, scores = torch.where(better[:, None, None], search.best, mean), torch.where(better, search.best_score, scores)
        # The last average may lie where the world breaks though others do not.
        lost = ~scores.isfinite() & search.best_score.isfinite()
        mean, scores = torch.where(lost[:, None, None], search.best, mean), torch.where(lost, search.best_score, scores)
        return search.finish(mean, scores)

    def update(self, scorer: Scores, mean: Tensor, noise: Tensor, *, noise_std: float | None = None) -> Tensor:
        """One information-theoretic update of the plan `mean` (..., D, A) by perturbations `noise` (..., N, D, A), all in [-1, 1] units.

            mean + sum over n of w[n] e[n],   w = softmax((score[n] - lambda sum over t of mean[t]' Sigma^-1 e[n, t]) / lambda)

        where e is what the bounds leave of the noise, and the charge on e is dropped unless `control_cost`. Sigma is `noise_std` squared,
        by default the config's. Without any finite score the plan stays as it is.
        """
        config = self.config
        center = mean.unsqueeze(-3)
        candidates = (center + noise).clamp(-1, 1)
        noise = candidates - center
        scores = scorer.score(candidates)
        temperature = self.temperature(scores)
        if config.control_cost:
            scores = scores - temperature / (noise_std or config.noise_std) ** 2 * (center * noise).sum((-2, -1))
        weights = torch.softmax(scores / temperature, dim=-1).nan_to_num(0)
        return mean + torch.einsum("...n,...nta->...ta", weights, noise)

    def temperature(self, scores: Tensor) -> Tensor:
        """lambda (..., 1) for scores (..., N)."""
        if self.config.temperature is not None:
            return scores.new_full((*scores.shape[:-1], 1), self.config.temperature)
        return relative_temperature(scores, 0.1)


def relative_temperature(scores: Tensor, share: float) -> Tensor:
    """A share of the distance from the median to the best of the finite scores (..., N); (..., 1), at least the smallest number."""
    finite = scores.masked_fill(~scores.isfinite(), math.nan)
    spread = scores.max(dim=-1, keepdim=True).values - finite.nanmedian(dim=-1, keepdim=True).values
    return (share * spread).nan_to_num(1).clamp_min(torch.finfo(scores.dtype).tiny ** 0.5)
