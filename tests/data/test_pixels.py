import pytest
import torch

from worldline.data import resize_frames, to_float, to_uint8
from worldline.data.pixels import height_and_width


def test_bytes_survive_the_way_to_float_and_back() -> None:
    every_byte = torch.arange(256, dtype=torch.uint8)
    floats = to_float(every_byte)
    assert floats.dtype == torch.float32
    assert floats[0] == 0
    assert floats[-1] == 1
    assert torch.equal(to_uint8(floats), every_byte)


def test_to_uint8_clips_and_makes_nan_black() -> None:
    assert to_uint8(torch.tensor([-1.0, 2.0, float("nan"), float("inf")])).tolist() == [0, 255, 0, 255]


def test_converting_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="to_float takes uint8"):
        to_float(torch.zeros(3))
    with pytest.raises(ValueError, match="to_uint8 takes float"):
        to_uint8(torch.zeros(3, dtype=torch.uint8))


def test_shrinking_by_a_whole_factor_averages_areas() -> None:
    frames = torch.rand(2, 3, 8, 12)
    expected = frames.unflatten(-1, (6, 2)).unflatten(-3, (4, 2)).mean((-1, -3))
    torch.testing.assert_close(resize_frames(frames, (4, 6)), expected)


def test_crop_keeps_the_centre_and_its_proportions() -> None:
    frames = torch.zeros(1, 3, 4, 12)
    frames[..., 4:8] = 1
    assert torch.equal(resize_frames(frames, 4, "crop"), torch.ones(1, 3, 4, 4))


def test_pad_adds_black_bars_on_both_sides() -> None:
    padded = resize_frames(torch.ones(1, 3, 4, 12), 12, "pad")
    assert padded[..., 4:8, :].eq(1).all()
    assert padded[..., :4, :].eq(0).all()
    assert padded[..., 8:, :].eq(0).all()


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("source", [(7, 5), (5, 7), (31, 17)])
def test_every_fit_reaches_the_size(fit: str, source: tuple[int, int]) -> None:
    assert resize_frames(torch.rand(2, 3, *source), (9, 16), fit).shape == (2, 3, 9, 16)  # ty: ignore[invalid-argument-type]


def test_resize_is_differentiable() -> None:
    frames = torch.rand(1, 3, 8, 8, requires_grad=True)
    resize_frames(frames, 4, "crop").sum().backward()
    assert frames.grad is not None
    assert torch.allclose(frames.grad, torch.full_like(frames, 0.25))


def test_bad_arguments_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="choose one of stretch, crop, pad"):
        resize_frames(torch.rand(1, 3, 4, 4), 2, "zoom")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match=r"\(T, 3, H, W\) float"):
        resize_frames(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 2)
    for size in (0, (4, -1), (1, 2, 3)):
        with pytest.raises(ValueError, match="height, width"):
            height_and_width(size)  # ty: ignore[invalid-argument-type]
