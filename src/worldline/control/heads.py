"""Readings of heads that are made from others only when somebody asks for them.

A learned world reads its heads on demand, a pass of the network for a whole rollout, and most objectives never ask.

May import: torch. Refuses to know: what the heads read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor


class LazyHeads(Mapping[str, Tensor]):
    """By name, what `change` makes of the readings of that name in each of `sources`, which share their names.

    It is remembered, apart for each gradient mode, so that a look without gradients never cuts a graph.

    Args:
        sources: mappings, at least one; not looked into before somebody asks.
        change: one tensor per source -> a tensor.
    """

    def __init__(self, sources: Sequence[Mapping[str, Tensor]], change: Callable[..., Tensor]) -> None:
        self.sources, self._change = tuple(sources), change
        self._found: dict[tuple[str, bool, bool], Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        mode = (name, torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        if mode not in self._found:
            self._found[mode] = self._change(*[source[name] for source in self.sources])
        return self._found[mode]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources[0])

    def __len__(self) -> int:
        return len(self.sources[0])


class JoinedHeads(LazyHeads):
    """The nodes (M, N, ...) of several readings, one after the other along N.

    What was joined before is taken apart: a tree joins hundreds of times, and readings of readings would be as deep as that.

    Args:
        parts: at least one.
    """

    def __init__(self, *parts: Mapping[str, Tensor]) -> None:
        flat = [one for part in parts for one in (part.sources if isinstance(part, JoinedHeads) else (part,))]
        super().__init__(flat, lambda *values: torch.cat(values, dim=1))
