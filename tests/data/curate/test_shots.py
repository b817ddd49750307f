"""Cuts are found by the library's rules, in batches of any length."""

import numpy as np
import pytest

pytest.importorskip("scenedetect", reason="shots need scenedetect; extra curate")

from worldline.data.curate.config import ShotDetector
from worldline.data.curate.shots import SMALL, changes_of, make_cutter


def film(*lengths: int) -> np.ndarray:
    """Shots of different smooth pictures that drift by a pixel a frame."""
    import cv2

    frames = []
    for shot, length in enumerate(lengths):
        grid = np.random.default_rng(shot).uniform(0, 255, (5, 9, 3)).astype(np.float32)
        picture = cv2.resize(grid, (2 * SMALL[0], SMALL[1]), interpolation=cv2.INTER_LINEAR)
        frames += [np.roll(picture, time, axis=1)[:, : SMALL[0]] for time in range(length)]
    return np.stack(frames).astype(np.uint8)


def cuts(frames: np.ndarray, kind: ShotDetector, batch: int) -> list[int]:
    cutter = make_cutter(kind)
    found = [cut for start in range(0, len(frames), batch) for cut in cutter.push(frames[start : start + batch])]
    return found + cutter.finish()


def library(frames: np.ndarray, kind: str) -> list[int]:
    """The library's own detector, told every frame."""
    import scenedetect

    detector = scenedetect.AdaptiveDetector(min_scene_len=5) if kind == "adaptive" else scenedetect.ContentDetector(min_scene_len=0)
    times = [scenedetect.FrameTimecode(number, 30.0) for number in range(len(frames))]
    return [int(cut.frame_num) for time, frame in zip(times, frames, strict=True) for cut in detector.process_frame(time, frame)]


@pytest.mark.parametrize("kind", ["adaptive", "content"])
@pytest.mark.parametrize("batch", [1, 2, 7, 32, 1000])
def test_cuts_are_those_of_the_library_whatever_the_batch(kind: ShotDetector, batch: int) -> None:
    frames = film(20, 33, 8, 40)
    assert cuts(frames, kind, batch) == library(frames, kind) == [20, 53, 61]


def test_the_change_of_a_frame_is_the_librarys() -> None:
    from scenedetect import ContentDetector, FrameTimecode

    frames, detector = film(3, 4), ContentDetector()
    scores = [detector._calculate_frame_score(FrameTimecode(t, 30.0), frame) for t, frame in enumerate(frames)]
    np.testing.assert_allclose(changes_of(frames), scores[1:], rtol=1e-6)
    assert len(changes_of(frames[:1])) == 0


def test_a_flash_is_two_changes_and_at_most_one_shot_in_between() -> None:
    frames = film(40)
    frames[20] = 255
    assert len(cuts(frames, "adaptive", 32)) <= 1


def test_nothing_is_cut_on_request() -> None:
    assert cuts(film(20, 20), "none", 32) == []
