"""The room that is painted: where wall, skirting board, floor, rug and window or door are, and what they look like.

May import: numpy, cv2 (on demand), envs.colors, envs.opencv. Refuses to know: paint, brushes, who paints.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from worldline.envs.colors import color
from worldline.envs.opencv import import_opencv
from worldline.envs.simulator import Value

SIZE = 256
"""Pixels of the side of the room's picture, in which everything is laid out; rows count from the top."""

PARTS = ("wall", "skirting", "floor", "rug", "fixture")


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What is where.

    Attributes:
        picture: (SIZE, SIZE, 3) float64 in [0, 255], without paint.
        masks: for each of `PARTS` the pixels (SIZE, SIZE) bool that it fills; each pixel is of one part.
        wall_bottom: first row below the wall.
        fixture_box: left, top, right, bottom of the window or door; None without one.
    """

    picture: np.ndarray
    masks: Mapping[str, np.ndarray]
    wall_bottom: int
    fixture_box: tuple[int, int, int, int] | None


def furnish(generator: np.random.Generator, attributes: Mapping[str, Value], *, extra: str) -> Room:
    """A room drawn from its attributes; sizes and places follow from the generator."""
    cv2 = import_opencv(extra)
    wall_bottom = int(generator.integers(160, 186))
    skirting_bottom = wall_bottom + int(generator.integers(12, 18))
    rug_center = int(generator.integers(90, 166)), int((skirting_bottom + SIZE) / 2 + generator.integers(-4, 5))
    rug_size = int(generator.integers(55, 85)), int((SIZE - skirting_bottom) * 0.3)
    fixture_box = _fixture(generator, str(attributes["fixture"]), wall_bottom)

    rug = np.zeros((SIZE, SIZE), np.uint8)
    rug_outline = _rug_outline(str(attributes["rug_shape"]), rug_center, rug_size)
    cv2.fillPoly(rug, [rug_outline], 1)
    part = np.zeros((SIZE, SIZE), int)
    part[wall_bottom:skirting_bottom] = PARTS.index("skirting")
    part[skirting_bottom:] = PARTS.index("floor")
    part[rug.astype(bool) & (part == PARTS.index("floor"))] = PARTS.index("rug")
    if fixture_box is not None:
        left, top, right, bottom = fixture_box
        part[top:bottom, left:right] = PARTS.index("fixture")

    picture = np.empty((SIZE, SIZE, 3))
    light = np.linspace(1.0, 0.88, SIZE)[None, :, None] * np.linspace(0.96, 1.0, SIZE)[:, None, None]
    for name in ("wall", "skirting", "floor", "rug"):
        picture[part == PARTS.index(name)] = color(attributes[f"{name}_color"])
    floor = color(attributes["floor_color"])
    for index in range(-6, 15):  # planks run towards the viewer
        near, far = int(SIZE / 2 + (index - 4) * 64), int(SIZE / 2 + (index - 4) * 34)
        line = np.zeros((SIZE, SIZE), np.uint8)
        cv2.line(line, (far, skirting_bottom), (near, SIZE - 1), 1, 1)
        picture[line.astype(bool) & (part == PARTS.index("floor"))] = floor * 0.75
    rug_color = color(attributes["rug_color"])
    inner = _rug_outline(str(attributes["rug_shape"]), rug_center, (int(rug_size[0] * 0.75), int(rug_size[1] * 0.65)))
    cv2.polylines(picture, [rug_outline], True, tuple(rug_color * 0.6), 2)
    cv2.polylines(picture, [inner], True, tuple(0.4 * rug_color + 0.6 * 255), 2)
    picture[wall_bottom : wall_bottom + 2] *= 0.72
    picture[skirting_bottom - 2 : skirting_bottom] *= 0.6
    if fixture_box is not None:
        _draw_fixture(cv2, picture, str(attributes["fixture"]), fixture_box)
    return Room(
        picture=np.clip(picture * light, 0, 255),
        masks={name: part == index for index, name in enumerate(PARTS)},
        wall_bottom=wall_bottom,
        fixture_box=fixture_box,
    )


def _fixture(generator: np.random.Generator, fixture: str, wall_bottom: int) -> tuple[int, int, int, int] | None:
    if fixture == "none":
        return None
    left = int(generator.integers(30, 150))
    if fixture == "door":
        return left, wall_bottom - int(generator.integers(115, 135)), left + 56, wall_bottom
    top = int(generator.integers(25, 45))
    return left, top, left + int(generator.integers(55, 75)), top + int(generator.integers(55, 75))


def _rug_outline(shape: str, center: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    (x, y), (wide, deep) = center, size
    if shape == "oval":
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        return np.stack([x + wide * np.cos(angle), y + deep * np.sin(angle)], 1).astype(np.int32)
    return np.array(
        [[x - wide * 0.85, y - deep], [x + wide * 0.85, y - deep], [x + wide * 1.1, y + deep], [x - wide * 1.1, y + deep]], np.int32
    )


def _draw_fixture(cv2, picture: np.ndarray, fixture: str, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    if fixture == "window":
        picture[top:bottom, left:right] = np.linspace((120, 180, 235), (205, 230, 250), bottom - top)[:, None]
        frame = (250.0, 250.0, 250.0)
        cv2.line(picture, ((left + right) // 2, top), ((left + right) // 2, bottom - 1), frame, 3)
        cv2.line(picture, (left, (top + bottom) // 2), (right - 1, (top + bottom) // 2), frame, 3)
        cv2.rectangle(picture, (left + 2, top + 2), (right - 3, bottom - 3), frame, 5)
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), (90.0, 90.0, 90.0), 1)
    else:
        picture[top:bottom, left:right] = (150, 100, 60)
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), (95.0, 60.0, 35.0), 4)
        for low, high in ((0.08, 0.48), (0.55, 0.92)):
            tall = bottom - top
            corners = (left + 12, int(top + low * tall)), (right - 13, int(top + high * tall))
            cv2.rectangle(picture, *corners, (120.0, 78.0, 45.0), 2)
        cv2.circle(picture, (right - 9, int((top + bottom) / 2)), 3, (230.0, 200.0, 90.0), -1)
