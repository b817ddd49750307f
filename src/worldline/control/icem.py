"""The improved cross-entropy method: coloured proposals, elites that live on, and a population that shrinks.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world or an objective works.
"""

from dataclasses import dataclass

from worldline.control.candidates import check_fraction
from worldline.control.cem import CEMConfig, best_of, gaussian_of
from worldline.control.noise import Noise, PowerLawNoise
from worldline.control.planner import SearchPlanner
from worldline.control.search import Search
from worldline.interfaces import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class ICEMConfig(CEMConfig):
    """Settings of `ICEM`, besides those of `CEMConfig`. Deviations are in units of half the action bounds.

    Attributes:
        shrink: factor by which each iteration has fewer plans than the one before, at least 1; never below twice the elites.
        keep: share of the elites that are candidates of the next iteration, in [0, 1).
        noise_exponent: beta of the power-law noise of the proposals; with a full covariance, of the first ones.

    Raises:
        ValueError: if a count or deviation is not positive, a share not in [0, 1), `shrink` below 1, or there are too many elites.
    """

    num_candidates: int = 200
    num_iterations: int = 60
    num_elites: int = 30
    covariance_memory: float = 0.7
    shrink: float = 1.03
    keep: float = 0.3
    noise_exponent: float = 1.0

    def __post_init__(self) -> None:
        CEMConfig.__post_init__(self)
        check_fraction(keep=self.keep)
        if self.shrink < 1:
            raise ValueError(f"shrink is {self.shrink}; it must be at least 1")
        if 2 * self.num_elites > self.num_candidates:
            raise ValueError(f"num_elites is {self.num_elites} of {self.num_candidates} candidates; choose at most half")

    def population(self, iteration: int) -> int:
        """Candidates of an iteration, counted from 0."""
        return max(int(self.num_candidates * self.shrink**-iteration), 2 * self.num_elites)


class ICEM(SearchPlanner[ICEMConfig]):
    """Planner by iCEM (Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time Planning").

    What the paper adds to the cross-entropy method: proposals with a power-law spectrum; elites kept from one iteration to the next; a
    population that shrinks; the mean as a candidate of the last iteration; the best plan ever scored is the one that acts. It also moves
    elites on from one decision to the next: pass `Plan.elites`, shifted, as `initial`.
    """

    config_class = ICEMConfig

    def default_noise(self) -> Noise:
        """Power-law noise; AR(1) noise where the config asks for a correlation."""
        return super().default_noise() if self.config.correlation else PowerLawNoise(self.config.noise_exponent)

    def num_passes(self) -> int:
        """See `SearchPlanner.num_passes`."""
        return sum(self.config.population(iteration) for iteration in range(self.config.num_iterations))

    def search(self, search: Search) -> list[Plan]:
        """The best plan that was scored, and the last elites. The first mean is the plan that the search starts from."""
        config, gaussian = self.config, gaussian_of(search, self.config)
        elites = None
        for iteration in range(config.num_iterations):
            if search.done:
                break
            candidates = gaussian.sample(search.draw(config.population(iteration), white=not gaussian.colours))
            if iteration == 0:
                candidates[:, 0] = gaussian.mean
                candidates = search.with_seeds(candidates)
            elif elites is not None:
                num_kept = int(config.keep * config.num_elites)
                candidates[:, :num_kept] = elites[:, :num_kept]
            if iteration == config.num_iterations - 1:
                candidates[:, -1] = gaussian.mean
            scores = search.score(candidates)
            elites, finite = best_of(candidates, scores, config.num_elites)
            gaussian.refit(elites, finite)
            search.record()
        return search.finish(elites=elites)
