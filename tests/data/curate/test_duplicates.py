"""Copies are found, other takes of the same scene are not."""

import numpy as np
import pytest

pytest.importorskip("cv2", reason="fingerprints need OpenCV; extra curate")
pytest.importorskip("faiss", reason="candidates need faiss; extra curate")

from worldline.data.curate import fingerprint
from worldline.data.curate.duplicates import DuplicateConfig, find_duplicates


def film(scene: int, take: int) -> list[np.ndarray]:
    """Eight pictures of a ground that the scene decides, and objects whose way the take decides."""
    import cv2

    ground = np.random.default_rng(scene).uniform(40, 200, (6, 8)).astype(np.float32)
    ground = cv2.resize(ground, (160, 120), interpolation=cv2.INTER_CUBIC)
    way = np.random.default_rng(1000 * scene + take).normal(0, 14, (3, 8, 2)).cumsum(1) + np.array([[[60, 40]], [[30, 100]], [[90, 120]]])
    pictures = []
    for time in range(8):
        picture = ground.copy()
        for position, level in zip(way[:, time], (250, 10, 130), strict=True):
            cv2.circle(picture, (int(position[1]) % 160, int(position[0]) % 120), 14, level, -1)
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


def resized(pictures: list[np.ndarray]) -> list[np.ndarray]:
    import cv2

    return [cv2.resize(picture, (90, 90), interpolation=cv2.INTER_AREA) for picture in pictures]


def find(*films: list[np.ndarray]) -> list[tuple[int, int]]:
    marks = [fingerprint.pictures_of(pictures) for pictures in films]
    hashes = np.stack([np.frombuffer(fingerprint.hash_of(mark), np.uint8) for mark in marks])
    return find_duplicates(hashes, np.stack(marks))


CHANGES = {
    "noise": lambda pictures: [(p + np.random.default_rng(0).normal(0, 4, p.shape)).clip(0, 255).astype(np.uint8) for p in pictures],
    "resized": resized,
    "cropped at a corner": lambda pictures: [p[6:, :152] for p in pictures],
    "cropped all around": lambda pictures: [p[3:117, 4:156] for p in pictures],
    "brighter": lambda pictures: [(p * 1.1).clip(0, 255).astype(np.uint8) for p in pictures],
    "darker": lambda pictures: [(p * 0.9).astype(np.uint8) for p in pictures],
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_among_other_takes_and_scenes(change: str) -> None:
    films = [film(scene, take) for scene in range(4) for take in range(3)]
    copies = [CHANGES[change](film(scene, 1)) for scene in range(4)]
    assert find(*films, *copies) == [(3 * scene + 1, 12 + scene) for scene in range(4)]


def test_a_mirrored_clip_and_one_that_runs_backwards_are_others() -> None:
    assert find(film(0, 0), [picture[:, ::-1] for picture in film(0, 0)]) == []
    assert find(film(0, 0), film(0, 0)[::-1]) == []


def test_still_clips_are_compared_by_their_picture() -> None:
    assert find([film(0, 0)[0]] * 8, [film(0, 0)[0]] * 8, [film(0, 0)[5]] * 8) == [(0, 1)]


def test_few_or_wrong_fingerprints() -> None:
    assert find_duplicates(np.zeros((0, 32), np.uint8), np.zeros((0, 8, 32, 32), np.uint8)) == []
    assert find(film(0, 0)) == []
    with pytest.raises(ValueError, match="one fingerprint per clip"):
        find_duplicates(np.zeros((2, 8), np.uint8), np.zeros((2, 8, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="0 to 64 bits"):
        DuplicateConfig(hash_bits=65)
