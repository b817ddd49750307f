"""Decides, step by step, whether a gradient may be trusted.

The window of 128 steps and the limit of six standard deviations are those of OLMo-core's skip-step optimiser.

May import: the standard library. Refuses to know: tensors, models, checkpoints.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

_WINDOW = 128
_FEWEST = 32  # statistics of fewer steps judge nothing
_SIGMAS = 6.0
_SMALLEST_SIGMA = 1e-3  # of the mean: a value that has hardly moved yet may begin to


class TrainingDivergedError(RuntimeError):
    """Training cannot go on: wherever it goes back to, it runs into the same trouble."""


class SpikeGuard:
    """Refuses steps on which a watched value (a loss term, the gradient norm) is not finite, or far above what it lately was.

    Each value has its own window, so a term that appears late is not taken for a spike, and one that is exactly zero (switched off, no
    labels in the batch) is not counted. Only accepted steps enter a window: a bad stretch cannot make itself the norm.

    After `patience` refusals in a row `exhausted` asks the loop to go back to its last checkpoint and to call `forget`.
    """

    def __init__(self, *, patience: int = 10) -> None:
        self.patience = patience
        self.num_skipped = 0
        self.num_consecutive = 0
        self._num_lenient = 0
        self._windows: dict[str, deque[float]] = {}

    @property
    def exhausted(self) -> bool:
        """Whether so many steps in a row were refused that skipping further makes no sense."""
        return self.num_consecutive >= self.patience

    def accept(self, values: Mapping[str, float]) -> bool:
        """Judge the values of one step, and count it."""
        finite = all(math.isfinite(value) for value in values.values())
        if not finite or (not self._num_lenient and any(self._is_spike(name, value) for name, value in values.items())):
            self.num_skipped += 1
            self.num_consecutive += 1
            return False
        self.num_consecutive = 0
        self._num_lenient = max(0, self._num_lenient - 1)
        for name, value in values.items():
            if value:
                self._windows.setdefault(name, deque(maxlen=_WINDOW)).append(value)
        return True

    def forget(self, num_lenient: int) -> None:
        """Start afresh after a return to a checkpoint.

        For `num_lenient` accepted steps, enough to pass the place of trouble, only what is not finite is refused: a level that rises
        again on other data is not an accident but what the loss now is.
        """
        self._windows.clear()
        self.num_consecutive = 0
        self._num_lenient = num_lenient

    def state_dict(self) -> dict[str, Any]:
        """Counts and windows, JSON-serialisable."""
        return {
            "num_skipped": self.num_skipped,
            "num_consecutive": self.num_consecutive,
            "num_lenient": self._num_lenient,
            "windows": {name: list(window) for name, window in self._windows.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.num_skipped = state["num_skipped"]
        self.num_consecutive = state["num_consecutive"]
        self._num_lenient = state["num_lenient"]
        self._windows = {name: deque(values, maxlen=_WINDOW) for name, values in state["windows"].items()}

    def _is_spike(self, name: str, value: float) -> bool:
        past = self._windows.get(name, ())
        if len(past) < _FEWEST:
            return False
        mean = sum(past) / len(past)
        sigma = math.sqrt(sum((other - mean) ** 2 for other in past) / len(past))
        return value > mean + _SIGMAS * max(sigma, _SMALLEST_SIGMA * abs(mean))
