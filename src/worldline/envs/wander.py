"""Ways to move about without a purpose, for the policies of several domains.

May import: interfaces, numpy. Refuses to know: any simulator.
"""

from collections.abc import Iterator

import numpy as np

from worldline.envs.simulator import Act
from worldline.interfaces import ActionSpec


def hold_random(spec: ActionSpec, generator: np.random.Generator, *, shortest: int = 3, longest: int = 10) -> Act:
    """Uniformly random actions, each held for a random number of frames, so that they have an effect."""

    def actions() -> Iterator[np.ndarray]:
        while True:
            action = generator.uniform(spec.low, spec.high)
            for _ in range(int(generator.integers(shortest, longest + 1))):
                yield action

    source = actions()
    return lambda: next(source)


def visit(points: Iterator[np.ndarray], start: np.ndarray, *, speed: float) -> Iterator[np.ndarray]:
    """Positions on straight lines from one point (D,) to the next, `speed` units of length per frame."""
    position = np.asarray(start, dtype=np.float64)
    for point in points:
        while (rest := np.linalg.norm(point - position)) > speed:
            position = position + (point - position) * (speed / rest)
            yield position
        position = point
        yield position
