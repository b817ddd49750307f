"""Gradient ascent on the actions, through the rollout, from several starts at once.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world or an objective works.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from worldline.control.candidates import check_positive
from worldline.control.cem import best_of
from worldline.control.planner import SearchPlanner
from worldline.control.search import Search, SearchConfig
from worldline.interfaces import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientConfig(SearchConfig):
    """Settings of `GradientPlanner`, besides those of `SearchConfig`. Steps and deviations are in units of half the action bounds.

    Attributes:
        num_starts: plans that are improved side by side.
        num_iterations: steps of each.
        learning_rate: of Adam, the largest step of an action in one iteration, roughly.
        final_rate: share of the learning rate that is left at the end; it falls on a half cosine.
        start_std: deviation of the starts around the first one, which is exact.
        gradient: by going back through the rollout, or by central differences, which need only scores, but 2 D A more rollouts per step.
        difference: half the distance of a difference.

    Raises:
        ValueError: if a count, a rate or a deviation is not positive, or `gradient` unknown.
    """

    num_starts: int = 4
    num_iterations: int = 300
    learning_rate: float = 0.2
    final_rate: float = 0.05
    start_std: float = 0.3
    gradient: Literal["autograd", "differences"] = "autograd"
    difference: float = 1e-2

    def __post_init__(self) -> None:
        SearchConfig.__post_init__(self)
        names = ("num_starts", "num_iterations", "learning_rate", "final_rate", "start_std", "difference")
        check_positive(**{name: getattr(self, name) for name in names})
        if self.gradient not in ("autograd", "differences"):
            raise ValueError(f'gradient is {self.gradient!r}; choose "autograd" or "differences"')


class GradientPlanner(SearchPlanner[GradientConfig]):
    """Planner by Adam (Kingma & Ba 2015) through the rollout, as in DINO-WM's gradient baseline (arXiv 2411.04983), from many starts.

    After each step a plan is put back into the bounds. The plan returned is the best that was ever scored. In a world that is not
    differentiable, the status is "no gradient" and the plan the best of the starts, unless gradients are taken by differences.
    """

    config_class = GradientConfig

    def num_passes(self) -> int:
        """See `SearchPlanner.num_passes`."""
        config = self.config
        decisions = config.num_decisions * (self.world.action_spec.dim if self.world.action_spec else 0)
        per_step = self._passes_of_a_step() if config.gradient == "autograd" else 1 + 2 * decisions
        return config.num_starts * (per_step * config.num_iterations + 1)

    def search(self, search: Search) -> list[Plan]:
        """The best plan that was scored; the others that were improved are the elites."""
        config = self.config
        per_start = self.num_passes() // config.num_starts
        # Fewer starts rather than fewer than half of the steps.
        num_starts = max(1, min(config.num_starts, int(search.affordable() / (per_start / 2))))
        noise = config.start_std * search.draw(num_starts)
        noise[:, 0] = 0
        plans = search.with_seeds((search.start[:, None] + noise).clamp(-1, 1))
        moments = Moments.none(plans)
        for iteration in range(config.num_iterations):
            if search.done:
                break
            found = search.gradients(plans, config.gradient, config.difference)
            if found is None:
                break
            search.record()
            rate = falling_rate(config.learning_rate, config.final_rate, iteration / max(1, config.num_iterations - 1))
            climb, moments = moments.step(found[1], rate)
            plans = (plans + climb).clamp(-1, 1)
        scores = search.score(plans)
        search.record()
        return search.finish(elites=best_of(plans, scores, num_starts)[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """What Adam (Kingma & Ba 2015, algorithm 1) remembers of the gradients of N tensors: running means, and how many went into them.

    Plans are values, not parameters, so this is a value, too: rows can be picked, joined and given up with the plans they belong to.

    Attributes:
        first: (N, ...) running mean of the gradients, `second` (N, ...) that of their squares.
        second: see `first`.
        count: (N,) gradients so far.
    """

    first: Tensor
    second: Tensor
    count: Tensor

    @classmethod
    def none(cls, like: Tensor) -> "Moments":
        """Before the first gradient of tensors shaped like `like` (N, ...)."""
        return cls(first=torch.zeros_like(like), second=torch.zeros_like(like), count=torch.zeros_like(like.flatten(1)[:, 0]))

    def step(self, gradient: Tensor, learning_rate: float) -> tuple[Tensor, "Moments"]:
        """What to add to climb along `gradient` (N, ...), and the moments after it."""
        gradient = gradient.clamp(-_STEEPEST, _STEEPEST)
        first = torch.lerp(gradient, self.first, _BETAS[0])
        second = torch.lerp(gradient.square(), self.second, _BETAS[1])
        count = self.count + 1
        trusted = [1 - beta ** count.view(-1, *[1] * (gradient.ndim - 1)) for beta in _BETAS]
        climb = learning_rate * (first / trusted[0]) / ((second / trusted[1]).sqrt() + _EPSILON)
        return climb, Moments(first=first, second=second, count=count)


def falling_rate(learning_rate: float, final_rate: float, progress: float) -> float:
    """The learning rate at a share `progress` of the search, on a half cosine down to a share `final_rate` of itself."""
    return learning_rate * (final_rate + (1 - final_rate) * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_STEEPEST = 1e18  # its square is a float32
