"""Settings of SoftTree.

May import: files of `control`. Refuses to know: how the tree is grown.
"""

import math
from dataclasses import dataclass
from typing import Literal

from worldline.control.candidates import check_positive
from worldline.control.search import SearchConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftTreeConfig(SearchConfig):
    """Settings of `SoftTree`, besides those of `SearchConfig`. Deviations and steps are in units of half the action bounds.

    Attributes:
        chunk: decisions per edge, h; divides the decisions of a plan.
        num_roots: plans that the tree starts with.
        width: nodes that are expanded in each round.
        branching: children that each of them gets.
        num_rounds: rounds of expansion and refinement.
        max_leaves: leaves that survive a round, those of the highest posterior.
        refine_steps: steps of Adam on every edge in each round, up the gradient of the root's soft value; 0 for a search by samples alone.
        refine_leaves: leaves that are refined; the others are given up before the first step, since edges that they share move.
        learning_rate: of these steps, falling on a half cosine to a twentieth.
        max_move: how far a round may move an action.
        gradient: "path": through whole paths, exact; "chunk": gradients stop at the nodes, so that an edge answers only for the frames of
            its own chunk. The second is for worlds whose long gradients are noise and objectives that score every frame.
        temperature: of the backup, in units of the objective; None: a share of the distance from the median leaf to the best.
        temperature_share: that share.
        effective_share: leaves that count as much as one another, in a search by samples alone, as a share of a round's branches, but
            three at least; the temperature is chosen so, if it is None.
        whole_share: share of a round's branches that are whole plans, from the root, in a search by samples alone.
        wide_share: share of those whole plans that stay wide, so that a search that is sure can leave where all that is near is worse.
        wide_std: their least deviation.
        initial_std: deviation of the first proposals.
        min_std: floor of the deviations of later ones.
        exploration: weight of the bonus for nodes with few children.
        prior_std: deviation of the normal prior over decisions, None for a uniform one.
        clip: limit of the importance weights; 1 ignores them, None is exact and noisy.
        num_finalists: leaves that are scored again, with fresh noise and by the verifying world, before one acts.
        verify_samples: futures per finalist in that.

    Raises:
        ValueError: if a setting is out of range, or `chunk` does not divide the decisions.
    """

    chunk: int = 4
    num_roots: int = 64
    width: int = 8
    branching: int = 4
    num_rounds: int = 4
    max_leaves: int = 48
    refine_steps: int = 75
    refine_leaves: int = 4
    learning_rate: float = 0.2
    max_move: float = math.inf
    gradient: Literal["path", "chunk"] = "path"
    temperature: float | None = None
    temperature_share: float = 0.2
    effective_share: float = 0.05
    whole_share: float = 0.5
    wide_share: float = 0.0
    wide_std: float = 1.0
    initial_std: float = 0.5
    min_std: float = 0.001
    exploration: float = 1.0
    prior_std: float | None = 1.0
    clip: float | None = 10.0
    num_finalists: int = 4
    verify_samples: int = 1

    def __post_init__(self) -> None:
        SearchConfig.__post_init__(self)
        names = ("chunk", "num_roots", "width", "branching", "num_rounds", "max_leaves", "refine_leaves", "learning_rate", "max_move")
        check_positive(**{name: getattr(self, name) for name in names})
        names = ("temperature_share", "effective_share", "wide_std", "initial_std", "min_std", "num_finalists", "verify_samples")
        check_positive(**{name: getattr(self, name) for name in names})
        for name in ("temperature", "prior_std"):
            if getattr(self, name) is not None:
                check_positive(**{name: getattr(self, name)})
        if self.num_decisions % self.chunk:
            raise ValueError(f"chunk is {self.chunk} of {self.num_decisions} decisions; the number of decisions must be a multiple of it")
        if self.refine_steps < 0 or self.exploration < 0:
            raise ValueError(f"refine_steps and exploration must be at least 0, got {self.refine_steps} and {self.exploration}")
        if not (0 < self.whole_share <= 1 and 0 <= self.wide_share <= 1):
            raise ValueError(f"whole_share is {self.whole_share} and wide_share {self.wide_share}; give shares, the first above 0")
        if self.clip is not None and self.clip < 1:
            raise ValueError(f"clip is {self.clip}; it must be at least 1, or None")
        if self.gradient not in ("path", "chunk"):
            raise ValueError(f'gradient is {self.gradient!r}; choose "path" or "chunk"')

    @property
    def depth(self) -> int:
        """Edges of a path."""
        return self.num_decisions // self.chunk
