"""One loss from several terms of unlike size.

May import: torch. Refuses to know: what the terms mean.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_DECAY = 0.99
_SMALLEST_RMS = 1e-8


class LossBalance:
    """Adds loss terms, each divided by the running root mean square of itself (as in MMBench2 and Dreamer 4), then weighted.

    A model with a single term is left as it is, since Adam and Muon do not see the scale of a loss. A term that is exactly zero (no labels
    in this batch) leaves its statistics alone.

    Args:
        weights: factor per term; 1 for those not named.
        enabled: False adds the weighted terms as they come.
    """

    def __init__(self, weights: Mapping[str, float], *, enabled: bool) -> None:
        self.weights = dict(weights)
        self.enabled = enabled
        self._mean_square: dict[str, Tensor] = {}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss to differentiate; changes no statistics, so a step that is skipped leaves no trace.

        Raises:
            ValueError: if there is no term, or a term is not a scalar.
        """
        wrong = {name: tuple(term.shape) for name, term in terms.items() if term.ndim}
        if wrong or not terms:
            raise ValueError(f"loss() returned {wrong or 'no terms'}; return a dictionary of at least one scalar tensor")
        alone = len(self._mean_square.keys() | terms.keys()) == 1
        scale = {name: 1.0 if alone or not self.enabled else 1 / self._rms(name, term) for name, term in terms.items()}
        return torch.stack([term.float() * scale[name] * self.weights.get(name, 1.0) for name, term in terms.items()]).sum()

    @torch.no_grad()
    def update(self, terms: Mapping[str, Tensor]) -> None:
        """Take the terms of an accepted step into the statistics."""
        if not self.enabled:
            return
        for name, term in terms.items():
            square = term.detach().float().square()
            before = self._mean_square.get(name, torch.zeros_like(square))
            after = torch.where(before == 0, square, before.lerp(square, 1 - _DECAY))
            self._mean_square[name] = torch.where(square == 0, before, after)

    def tensors(self) -> dict[str, Tensor]:
        """Mean square per term."""
        return dict(self._mean_square)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over saved statistics."""
        self._mean_square = dict(tensors)

    def _rms(self, name: str, term: Tensor) -> Tensor:
        size = term.detach().float().abs()
        mean_square = self._mean_square.get(name, torch.zeros_like(size))
        return torch.where(mean_square == 0, size, mean_square.sqrt()).clamp_min(_SMALLEST_RMS)
