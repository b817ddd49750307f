"""Where a crowd walks: the corridor of a counterflow, and the room with one narrow door.

May import: numpy, shapely (on demand). Refuses to know: people, pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldline.envs.simulator import Value

SIZE_METRES = 7.0
"""Side of the square that is looked at; x goes right, y goes up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What a crowd needs to know of where it is.

    Attributes:
        walkable: shapely polygon within which people walk.
        starts: for each group the polygon in which its people begin.
        exits: for each group the corners of the area, within `walkable`, in which it leaves.
    """

    walkable: Any
    starts: tuple[Any, ...]
    exits: tuple[tuple[tuple[float, float], ...], ...]


def corridor(generator: np.random.Generator, attributes: Mapping[str, Value]) -> Place:
    """A straight corridor; one group goes right, the other left."""
    width = float(attributes["width_m"])
    low = float(generator.uniform(0.4, SIZE_METRES - 0.4 - width))
    high = low + width
    return Place(
        walkable=_box(0, low, SIZE_METRES, high),
        starts=(_box(0.05, low, 3.3, high), _box(SIZE_METRES - 3.3, low, SIZE_METRES - 0.05, high)),
        exits=(_corners(SIZE_METRES - 0.25, low, SIZE_METRES, high), _corners(0, low, 0.25, high)),
    )


def door(generator: np.random.Generator, attributes: Mapping[str, Value]) -> Place:
    """A room whose only door is in its right wall; everybody wants out."""
    width = float(attributes["width_m"])
    middle, wall = float(generator.uniform(2.4, 4.6)), float(generator.uniform(4.4, 5.0))
    room, gap = _box(0.3, 0.3, wall, 6.7), _box(wall - 0.01, middle - width / 2, wall + 0.31, middle + width / 2)
    outside = _box(wall + 0.3, 0.3, SIZE_METRES, 6.7)
    start = _box(0.35, 1.0, 4.2, 6.0)
    exit_corners = _corners(SIZE_METRES - 0.3, 0.3, SIZE_METRES, 6.7)
    return Place(walkable=room.union(gap).union(outside), starts=(start,), exits=(exit_corners,))


def _corners(left: float, bottom: float, right: float, top: float) -> tuple[tuple[float, float], ...]:
    return (left, bottom), (right, bottom), (right, top), (left, top)


def _box(left: float, bottom: float, right: float, top: float) -> Any:
    import shapely  # noqa: PLC0415

    return shapely.Polygon(_corners(left, bottom, right, top))
