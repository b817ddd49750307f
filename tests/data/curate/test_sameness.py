"""One clip is laid over the other, and what is left decides."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="pictures are compared with OpenCV; extra curate")

from worldline.data.curate.fingerprint import pictures_of
from worldline.data.curate.sameness import DuplicateConfig, compare, show_the_same

HEIGHT, WIDTH = 120, 160


def ground(seed: int = 0) -> np.ndarray:
    import cv2

    grid = np.random.default_rng(seed).uniform(40, 200, (12, 16)).astype(np.float32)
    return cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def film(way: np.ndarray, radius: int = 12, noise: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    """Eight pictures of one ground, with a disc at each (row, column) of `way` (8, 2)."""
    import cv2

    generator, pictures = np.random.default_rng(seed), []
    for row, column in way:
        picture = ground()
        cv2.circle(picture, (round(column), round(row)), radius, 245, -1)
        picture = picture + generator.normal(0, noise, picture.shape) if noise else picture
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


def walk(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    return np.linspace(start, end, 8)


def crop(pictures: list[np.ndarray], share: float, row: float, column: float) -> list[np.ndarray]:
    """What is left when `share` of each side is cut off, at a place from 0 to 1 in what is cut."""
    height, width = round(HEIGHT * (1 - share)), round(WIDTH * (1 - share))
    top, left = round((HEIGHT - height) * row), round((WIDTH - width) * column)
    return [picture[top : top + height, left : left + width] for picture in pictures]


def same(first: list[np.ndarray], second: list[np.ndarray], **settings: Any) -> bool:
    config = DuplicateConfig(**settings)
    there_and_back = [show_the_same(pictures_of(a), pictures_of(b), config) for a, b in ((first, second), (second, first))]
    assert there_and_back[0] == there_and_back[1]
    return there_and_back[0]


@pytest.mark.parametrize("share", [0.03, 0.05, 0.1])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.3, 0.8), (0.5, 0.5), (1.0, 0.1)])
def test_a_crop_by_any_amount_anywhere_is_undone(share: float, place: tuple[float, float]) -> None:
    pictures = film(walk((30, 30), (90, 120)))
    assert same(pictures, crop(pictures, share, *place))


def test_a_crop_beyond_the_limit_is_another_picture() -> None:
    pictures = film(walk((30, 30), (90, 120)))
    assert not same(pictures, crop(pictures, 0.2, 0.5, 0.5))
    assert not same(pictures, crop(pictures, 0.1, 0.5, 0.5), max_crop=0.02)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_crop_that_is_brighter_or_darker_too(factor: float) -> None:
    pictures = film(walk((30, 30), (90, 120)), noise=3.0)
    copies = [(picture * factor).clip(0, 255).astype(np.uint8) for picture in crop(pictures, 0.05, 0.2, 0.7)]
    assert same(pictures, copies)


def test_another_take_before_the_same_ground_is_another_clip_however_it_begins() -> None:
    first = walk((60, 40), (60, 130))
    for second in (walk((60, 40), (100, 130)), walk((60, 40), (60, 70)), first[::-1]):
        assert not same(film(first), film(second))
    small = film(first, radius=5)
    assert same(small, crop(small, 0.05, 0.5, 0.0))
    assert not same(small, film(walk((60, 40), (30, 130)), radius=5))


def test_where_nothing_moves_whatever_stands_elsewhere_tells_clips_apart() -> None:
    def still(row: float, column: float, seed: int) -> list[np.ndarray]:
        return film(np.full((8, 2), (row, column)), noise=3.0, seed=seed)

    assert same(still(60, 40, seed=1), still(60, 40, seed=2))
    assert not same(still(60, 40, seed=1), still(60, 60, seed=2))
    empty = film(np.full((8, 2), (-50, -50)), noise=3.0, seed=3)
    assert not same(still(60, 40, seed=1), empty)


def test_a_small_thing_that_moves_in_one_of_two_still_clips_is_seen() -> None:
    standing = film(np.full((8, 2), (60, 40)), noise=3.0, seed=1)
    passing = [picture.copy() for picture in film(np.full((8, 2), (60, 40)), noise=3.0, seed=2)]
    for picture, column in zip(passing, range(80, 160, 10), strict=True):
        picture[100:108, column : column + 8] = 250
    assert not same(standing, passing)


@pytest.mark.parametrize("change", [lambda p: p[:, ::-1], lambda p: p[::-1], lambda p: 255 - p])
def test_mirrored_and_negative_pictures_are_others(change: Callable[[np.ndarray], np.ndarray]) -> None:
    pictures = film(walk((30, 30), (90, 120)))
    assert not same(pictures, [change(picture) for picture in pictures])


def test_flat_pictures_are_compared_without_a_fit() -> None:
    flat = np.full((8, 32, 32), 100, np.uint8)
    found = compare(flat, flat, 0.1)
    assert found is not None
    assert max(found.still_change, found.still_difference) < 1e-3
