"""A running average of the weights, which is what a trained world is made of.

May import: torch. Refuses to know: optimisers and schedules.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a model's trainable parameters; buffers stay the model's own.

    The decay after n updates is min(decay, (1 + n) / (10 + n)): early on the average forgets the random start, in the manner of a
    power-function average, and only later reaches its full length. A decay of 0 follows the weights exactly.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; give a number in [0, 1), such as 0.999")
        self.decay = decay
        self.num_updates = 0
        self._live = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._average = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights; call once per optimiser step."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates)) if self.decay else 0.0
        self.num_updates += 1
        torch._foreach_lerp_(list(self._average.values()), [*self._live.values()], 1 - decay)

    @contextmanager
    def swapped_in(self) -> Generator[None]:
        """Within the block the model holds the average; afterwards, bit for bit, the weights it had."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Make the average the model's weights."""
        for name, parameter in self._live.items():
            parameter.copy_(self._average[name])

    def tensors(self) -> dict[str, Tensor]:
        """The average by parameter name (not copies)."""
        return dict(self._average)

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], num_updates: int) -> None:
        """Take over a saved average."""
        if tensors.keys() != self._average.keys():
            raise ValueError(f"saved average and model differ in parameters: {sorted(tensors.keys() ^ self._average.keys())[:5]}")
        for name, average in self._average.items():
            average.copy_(tensors[name])
        self.num_updates = num_updates

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._live.items():
            weights = parameter.detach().clone()
            parameter.copy_(self._average[name])
            self._average[name].copy_(weights)
