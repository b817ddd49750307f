"""Random shooting: draw plans, keep the best. The floor that every other planner has to beat.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world or an objective works.
"""

import math
from dataclasses import dataclass

import torch

from worldline.control.candidates import check_positive
from worldline.control.planner import SearchPlanner
from worldline.control.search import Search, SearchConfig
from worldline.interfaces import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomShootingConfig(SearchConfig):
    """Settings of `RandomShooting`, besides those of `SearchConfig`.

    Attributes:
        num_candidates: plans that are drawn.

    Raises:
        ValueError: if a count is not positive or the correlation not in [0, 1).
    """

    num_candidates: int = 1024

    def __post_init__(self) -> None:
        SearchConfig.__post_init__(self)
        check_positive(num_candidates=self.num_candidates)


class RandomShooting(SearchPlanner[RandomShootingConfig]):
    """Planner that draws plans uniformly within the bounds and returns the best of them."""

    config_class = RandomShootingConfig

    def num_passes(self) -> int:
        """See `SearchPlanner.num_passes`."""
        return self.config.num_candidates

    def search(self, search: Search) -> list[Plan]:
        """The best of `num_candidates` plans; those that were given are among them."""
        # The normal distribution function makes every marginal uniform and keeps the correlation.
        candidates = torch.erf(search.draw(self.config.num_candidates) / math.sqrt(2))
        search.score(search.with_seeds(candidates.expand(len(search.start), -1, -1, -1)))
        search.record()
        return search.finish()
