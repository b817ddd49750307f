"""Each fault, drawn, is seen by its own score; what has no fault passes."""

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("cv2", reason="scores need OpenCV; extra curate")

from worldline.data.curate.config import CurateConfig
from worldline.data.curate.scores import bars, flicker, frozen, motion, score_clip, sharpness, text, verdict

SIDE = 128


def scene(time: int = 0, seed: int = 0) -> np.ndarray:
    """Objects with edges on uneven ground, which wander by two pixels a frame."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    picture = 90 + 40 * np.sin(rows / 19) * np.cos(columns / 23) + generator.normal(0, 4, (SIDE, SIDE))
    for size, level in ((18, 220), (12, 40), (25, 150)):
        top, left = generator.integers(0, SIDE - size, 2)
        left = (left + 2 * time) % (SIDE - size)
        picture[top : top + size, left : left + size] = level
    return picture.clip(16, 235).astype(np.uint8)


def card() -> np.ndarray:
    import cv2

    picture = np.full((SIDE, SIDE), 20, np.uint8)
    for line, words in enumerate(("Directed by", "nobody at all", "in the year", "of writing")):
        cv2.putText(picture, words, (6, 30 + 24 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 230, 1)
    return picture


def judge(pictures: list[np.ndarray], brightness: np.ndarray | None = None) -> str:
    levels = np.array([picture.mean() for picture in pictures]) if brightness is None else brightness
    scores = score_clip(np.stack(pictures), list(pairwise(pictures)), levels, 10.0)
    return verdict(scores, len(pictures) / 10, CurateConfig())


def blurred(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(picture, (0, 0), 8)


def test_a_moving_scene_is_kept() -> None:
    assert judge([scene(time) for time in range(12)]) == "kept"


def test_a_drawn_scene_on_flat_ground_is_kept() -> None:
    """A simulator's picture is as flat as a card of text, but is no text."""
    pictures = []
    for time in range(12):
        picture = np.full((SIDE, SIDE), 235, np.uint8)
        picture[40:60, 20 + time : 50 + time] = 90
        picture[80:90, 60:70] = 40
        pictures.append(picture)
    assert text(pictures[0]) == 0
    assert judge(pictures) == "kept"


@pytest.mark.parametrize(
    ("fault", "pictures"),
    [
        ("short", [scene(time) for time in range(4)]),
        ("black", [np.full((SIDE, SIDE), 17, np.uint8)] * 12),
        ("text", [card()] * 12),
        ("frozen", [scene()] * 12),
        ("bars", [np.pad(scene(time)[::2], ((32, 32), (0, 0)), constant_values=16) for time in range(12)]),
        ("blurred", [blurred(scene(3 * time)) for time in range(12)]),
    ],
)
def test_each_fault_is_seen(fault: str, pictures: list[np.ndarray]) -> None:
    assert judge(pictures) == fault


def test_flicker_is_seen_and_a_fade_or_a_flash_is_not() -> None:
    assert flicker(100 + 20 * (-1.0) ** np.arange(30)) > 30
    assert flicker(np.linspace(0, 200, 30)) == 0
    flash = np.full(60, 100.0)
    flash[30] = 200
    assert flicker(flash) < 4
    assert judge([scene(time) for time in range(12)], 100 + 20 * (-1.0) ** np.arange(36)) == "flicker"


def test_motion_is_the_share_of_the_width_that_things_move() -> None:
    whole = np.roll(scene(), 4, axis=1)
    assert motion(scene(), scene()) < 0.001
    assert motion(scene(), whole) == pytest.approx(4 / SIDE, rel=0.5)


def test_sharpness_does_not_know_contrast() -> None:
    dim = (scene().astype(float) / 3 + 80).astype(np.uint8)
    assert sharpness(dim) == pytest.approx(sharpness(scene()), rel=0.2)
    assert sharpness(blurred(scene())) < 0.1 * sharpness(scene())
    assert sharpness(np.full((SIDE, SIDE), 7, np.uint8)) == 0


def test_frozen_counts_repeats_and_bars_count_the_border() -> None:
    assert frozen(np.stack([scene(), scene(), scene(1)])) == 0.5
    assert bars(np.pad(np.full((1, 96, 128), 200, np.uint8), ((0, 0), (16, 16), (0, 0)))) == pytest.approx(0.25)
    assert bars(np.zeros((2, 8, 8), np.uint8)) == 0
