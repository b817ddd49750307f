"""Thumbnails of decoded frames show what FFmpeg's do, in any format and at odd sizes."""

import numpy as np
import pytest

pytest.importorskip("cv2", reason="thumbnails need OpenCV; extra curate")

from av.video.frame import VideoFrame

from worldline.data.curate.glances import Glances


def frame_of(seed: int, size: tuple[int, int], pixel_format: str) -> VideoFrame:
    """A smooth picture, the same for a seed whatever its size."""
    import cv2

    grid = np.random.default_rng(seed).uniform(30, 220, (4, 6, 3)).astype(np.float32)
    pixels = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    return VideoFrame.from_ndarray(pixels, format="bgr24").reformat(format=pixel_format)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "bgr24"])
@pytest.mark.parametrize("size", [(64, 36), (321, 181), (40, 22)])
@pytest.mark.parametrize(("wanted", "capacity"), [((64, 36), 4), ((64, 36), 3), ((48, 27), 4), ((48, 27), 3)])
def test_pictures_are_those_of_ffmpeg(pixel_format: str, size: tuple[int, int], wanted: tuple[int, int], capacity: int) -> None:
    glances = Glances(wanted, capacity)
    frames = [frame_of(seed, size, pixel_format) for seed in range(3)]
    for frame in frames:
        glances.add(frame)
    assert len(glances) == 3
    pictures, brightness = glances.take()
    assert pictures.shape == (3, wanted[1], wanted[0], 3)
    for picture, light, frame in zip(pictures, brightness, frames, strict=True):
        expected = frame.reformat(width=wanted[0], height=wanted[1], format="bgr24").to_ndarray().astype(float)
        assert np.abs(picture - expected).mean() < 11  # Pictures are picked, not averaged; those of other scenes differ by 60.
        luma = frame.reformat(width=wanted[0], height=2 * wanted[1], format="yuv420p").to_ndarray()[: 2 * wanted[1]]
        assert light == pytest.approx(luma.mean(), abs=2)
    assert len(glances) == 0
    assert [len(part) for part in glances.take()] == [0, 0]
