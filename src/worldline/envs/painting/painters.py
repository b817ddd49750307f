"""Who paints the wall: a careful painter, a sloppy one and a child.

May import: numpy, envs.simulator, `room`. Refuses to know: brushes, pictures.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from worldline.envs.painting.room import SIZE, Room
from worldline.envs.simulator import Act
from worldline.envs.wander import visit

NUM_FRAMES = 58
"""Frames in which a painter means to be done."""


def careful(generator: np.random.Generator, room: Room, radius_pixels: tuple[float, float], *, reach: float) -> Act:
    """Row by row from the top, staying a brush's width away from what must stay clean, and lifting the brush over it."""
    return _rows(generator, room, radius_pixels, reach=reach, overrun=0.0, wobble=0.0)


def sloppy(generator: np.random.Generator, room: Room, radius_pixels: tuple[float, float], *, reach: float) -> Act:
    """Row by row, but past the wall's lower edge, over windows and doors, and with a shaking hand."""
    return _rows(generator, room, radius_pixels, reach=reach, overrun=generator.uniform(25, 70), wobble=generator.uniform(4, 10))


def scribble(generator: np.random.Generator, room: Room, radius_pixels: tuple[float, float], *, reach: float) -> Act:
    """Strokes anywhere on the wall, now and then below it, each in a colour and width of its own."""

    def actions() -> Iterator[np.ndarray]:
        wall_bottom = 1 - room.wall_bottom / SIZE
        place = np.array([0.5, 0.35])
        while True:
            low = 0.03 if generator.random() < 0.2 else wall_bottom + 0.08
            points = generator.uniform((0.05, low), (0.95, 0.97), (int(generator.integers(2, 5)), 2))
            hue_shift, radius = generator.uniform(-0.5, 0.5), generator.uniform(0.1, 0.6)
            for point in visit(iter(points[:1]), place, speed=0.15):
                yield np.array([*point, 0.0, hue_shift, radius])
            for point in visit(iter(points[1:]), points[0], speed=0.07):
                yield np.array([*point, generator.uniform(0.6, 1.0), hue_shift, radius])
            place = points[-1]

    source = actions()
    return lambda: next(source)


def _rows(
    generator: np.random.Generator, room: Room, radius_pixels: tuple[float, float], *, reach: float, overrun: float, wobble: float
) -> Act:
    radius = generator.uniform(18, 23)
    size = (radius - radius_pixels[0]) / (radius_pixels[1] - radius_pixels[0])
    top, bottom = radius * 0.6, room.wall_bottom - radius * reach - 3 + overrun
    num_rows = int(np.ceil((bottom - top) / (1.6 * radius))) + 1
    rows, sides = np.linspace(top, bottom, num_rows), [radius * 0.5, SIZE - radius * 0.5]
    if generator.random() < 0.5:
        sides.reverse()
    corners = [np.array([side, row]) for index, row in enumerate(rows) for side in (sides if index % 2 == 0 else sides[::-1])]
    length = sum(float(np.linalg.norm(after - before)) for before, after in pairwise(corners))

    def actions() -> Iterator[np.ndarray]:
        place = corners[0]
        yield _action(place, 0.0, size)
        for goal in visit(iter(corners[1:]), place, speed=length / NUM_FRAMES):
            target = goal + generator.normal(0, wobble, 2) if wobble else goal
            clean = overrun == 0 and any(_near_fixture(room, point, radius * reach + 2) for point in (place, target))
            place = target
            yield _action(place, 0.0 if clean else generator.uniform(0.9, 1.0), size)
        while True:
            yield _action(place, 0.0, size)

    source = actions()
    return lambda: next(source)


def _action(place: np.ndarray, pressure: float, size: float) -> np.ndarray:
    return np.array([place[0] / SIZE, 1 - place[1] / SIZE, pressure, 0.0, size])


def _near_fixture(room: Room, place: np.ndarray, margin: float) -> bool:
    if room.fixture_box is None:
        return False
    left, top, right, bottom = room.fixture_box
    return left - margin < place[0] < right + margin and top - margin < place[1] < bottom + margin
