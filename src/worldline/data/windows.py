"""Which windows there are, and how they are drawn: uniformly, or first a task and then one of its windows.

May import: numpy. Refuses to know: what lies in a window.
"""

from collections.abc import Hashable, Sequence
from typing import Literal, TypeAlias

import numpy as np

Balance: TypeAlias = Literal["windows", "tasks", "sources", "labels"]
"""What is equally likely: every window; every task, so that a task of ten clips counts as much as one of a thousand; every source;
windows with action labels and windows without, so that a few labels are seen often."""


class WindowTable:
    """All windows of `span` rows that fit into episodes.

    Args:
        lengths: rows of each episode.
        span: rows of a window.
        groups: of each episode; groups are drawn uniformly, then windows in them. None draws windows uniformly.
    """

    def __init__(self, lengths: Sequence[int], span: int, groups: Sequence[Hashable] | None = None) -> None:
        counts = np.maximum(np.asarray(lengths, dtype=np.int64) - span + 1, 0)
        self._order = np.arange(len(counts))
        if groups is not None:
            numbers: dict[Hashable, int] = {}
            group_of = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
            self._order = np.argsort(group_of, kind="stable")
        self._ends = np.cumsum(counts[self._order])
        self._group_ends: np.ndarray | None = None
        if groups is not None:
            totals = np.bincount(group_of, weights=counts).astype(np.int64)
            self._group_ends = np.cumsum(totals[totals > 0])

    @property
    def num_windows(self) -> int:
        """How many there are."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def draw(self, generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(episodes, first rows in them) of `count` windows, with repetition."""
        if self._group_ends is None:
            windows = generator.integers(self.num_windows, size=count)
        else:
            chosen = generator.integers(len(self._group_ends), size=count)
            starts = np.concatenate([[0], self._group_ends[:-1]])
            windows = generator.integers(starts[chosen], self._group_ends[chosen])
        places = np.searchsorted(self._ends, windows, side="right")
        # Counting back from the end of an episode's windows spares a second table.
        return self._order[places], self._ends[places] - 1 - windows
