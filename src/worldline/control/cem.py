"""The cross-entropy method: refit a Gaussian over plans to the best of its own samples.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world or an objective works.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.control.candidates import check_fraction, check_positive
from worldline.control.gaussian import Covariance, Gaussian
from worldline.control.planner import SearchPlanner
from worldline.control.search import Search, SearchConfig
from worldline.interfaces import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class CEMConfig(SearchConfig):
    """Settings of `CEM`, besides those of `SearchConfig`. Deviations are in units of half the action bounds.

    Attributes:
        num_candidates: plans that are scored in each iteration.
        num_iterations: refits of the Gaussian.
        num_elites: best plans that the Gaussian is refitted to.
        initial_std: standard deviation of the first proposals.
        min_std: floor that keeps the search from freezing early.
        momentum: share of the old mean and deviation in the new ones, in [0, 1).
        covariance: "full" learns how the actions of a plan go together, "diagonal" is the textbook's; see `control.gaussian`.
        covariance_memory: share of the old covariance in the new one, in [0, 1).

    Raises:
        ValueError: if a count or deviation is not positive, a share not in [0, 1), or there are more elites than candidates.
    """

    num_candidates: int = 300
    num_iterations: int = 30
    num_elites: int = 60
    initial_std: float = 0.5
    min_std: float = 0.001
    momentum: float = 0.1
    covariance: Covariance = "full"
    covariance_memory: float = 0.5

    def __post_init__(self) -> None:
        SearchConfig.__post_init__(self)
        names = ("num_candidates", "num_iterations", "num_elites", "initial_std", "min_std")
        check_positive(**{name: getattr(self, name) for name in names})
        check_fraction(momentum=self.momentum, covariance_memory=self.covariance_memory)
        if self.num_elites > self.num_candidates:
            raise ValueError(f"num_elites is {self.num_elites} of {self.num_candidates} candidates; choose fewer elites")


class CEM(SearchPlanner[CEMConfig]):
    """Planner by the cross-entropy method (Rubinstein 1999).

    Every iteration scores the mean of the Gaussian and `num_candidates - 1` samples of it, and the best plan seen so far stays among
    the elites (Pinneri et al. 2020, iCEM). The plan returned is the best that was ever scored, be it a mean or a sample.
    """

    config_class = CEMConfig

    def num_passes(self) -> int:
        """See `SearchPlanner.num_passes`."""
        return self.config.num_iterations * self.config.num_candidates

    def search(self, search: Search) -> list[Plan]:
        """The best plan that was scored, and the last elites. The first mean is the plan that the search starts from."""
        config, gaussian = self.config, gaussian_of(search, self.config)
        elites = None
        for iteration in range(config.num_iterations):
            if search.done:
                break
            noise = search.draw(config.num_candidates, white=not gaussian.colours)
            noise[:, 0] = 0  # the mean itself
            candidates = gaussian.sample(noise)
            candidates = search.with_seeds(candidates) if iteration == 0 else candidates
            kept, kept_score = search.best[:, None], search.best_score[:, None]
            scores = search.score(candidates)
            elites, finite = best_of(torch.cat([candidates, kept], dim=1), torch.cat([scores, kept_score], dim=1), config.num_elites)
            gaussian.refit(elites, finite)
            search.record()
        return search.finish(elites=elites)


def gaussian_of(search: Search, config: CEMConfig) -> Gaussian:
    """The Gaussian that a search begins with."""
    return Gaussian(
        search.start,
        config.initial_std,
        covariance=config.covariance,
        memory=config.momentum,
        covariance_memory=config.covariance_memory,
        min_std=config.min_std,
    )


def best_of(candidates: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best of candidates (P, N, D, A), the best first, and whether each has a finite score (P, count)."""
    best_scores, order = scores.topk(count, dim=1)
    return candidates[torch.arange(len(candidates), device=order.device)[:, None], order], best_scores.isfinite()
