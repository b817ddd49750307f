"""Readings of heads that are made from others only when somebody asks for them.

A learned world reads its heads on demand, a pass of the network for a whole rollout, and most objectives never ask.

May import: torch. Refuses to know: what the heads read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor


class LazyHeads(Mapping[str, Tensor]):
    """By name, what `change` makes of the readings of that name in each of `sources`, which share their names.

    Args:
        sources: mappings, at least one; not looked into before somebody asks.
        change: one tensor per source -> a tensor.
    """

    def __init__(self, sources: Sequence[Mapping[str, Tensor]], change: Callable[..., Tensor]) -> None:
        self._sources, self._change = tuple(sources), change

    def __getitem__(self, name: str) -> Tensor:
        return self._change(*(source[name] for source in self._sources))

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources[0])

    def __len__(self) -> int:
        return len(self._sources[0])
