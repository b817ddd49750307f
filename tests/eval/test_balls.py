"""The parser of balls on discs that are drawn where we know."""

import pytest
import torch

from worldline.eval.balls import calibrate, color_shares, find_discs, touches_border, velocities

SIZE = 32
PALETTE = torch.tensor([[214, 39, 40], [130, 80, 45], [254, 254, 254]]) / 255


def disc(x: float, y: float, radius: float = 5.0, floor: int = 0) -> torch.Tensor:
    """(3, SIZE, SIZE): a red disc on white with soft edges, x right and y down in pixels."""
    fine = (torch.arange(SIZE * 8) + 0.5) / 8
    inside = ((fine[None] - x) ** 2 + (fine[:, None] - y) ** 2 < radius**2).float()
    share = inside.view(SIZE, 8, SIZE, 8).mean((1, 3))
    ground = PALETTE[2][:, None, None].repeat(1, SIZE, SIZE)
    if floor:
        ground[:, -floor:] = PALETTE[1][:, None, None]
    return share * PALETTE[0][:, None, None] + (1 - share) * ground


def parse(frames: torch.Tensor) -> torch.Tensor:
    shares = color_shares(frames[None], PALETTE[None])[:, :, 0]
    return find_discs(shares, shares[:, 0].sum((-2, -1)))


@pytest.mark.parametrize("floor", [0, 4])
def test_discs_are_found_to_a_fiftieth_of_a_pixel(floor):
    places = torch.tensor([[8.0, 9.0], [12.37, 15.81], [20.5, 7.25]])
    frames = torch.stack([disc(float(x), float(y), floor=floor) for x, y in places])
    assert (parse(frames)[0] - places).abs().max() < 0.02


def test_mixed_pixels_are_unmixed():
    shares = torch.rand(3, 8, 8)
    shares = shares / shares.sum(0)
    frames = torch.einsum("nhw,nc->chw", shares, PALETTE)[None, None]
    torch.testing.assert_close(color_shares(frames, PALETTE[None])[0, 0], shares[:2], atol=1e-5, rtol=1e-4)


def test_noise_elsewhere_does_not_pull_the_centre():
    noisy = disc(10, 12)
    noisy[:, 26:, 26:] = 0.4 * PALETTE[0][:, None, None] + 0.6 * PALETTE[2][:, None, None]
    assert (parse(torch.stack([disc(10, 12), noisy]))[0, 1] - torch.tensor([10.0, 12.0])).abs().max() < 0.02


def test_a_ball_that_dissolves_is_lost_and_stands_still():
    faint = disc(16, 16)
    faint[:] = PALETTE[2][:, None, None]
    found = parse(torch.stack([disc(10, 10), disc(12, 10), faint]))
    assert found[0, :2].isfinite().all()
    assert found[0, 2].isnan().all()
    speed = velocities(found, rate_hz=10.0, span=2)
    assert speed[0, 0].tolist() == pytest.approx([20, 0], abs=0.5)
    assert speed[0, 1].tolist() == [0, 0]


def test_a_ball_at_the_border_is_seen_to_be():
    shares = color_shares(torch.stack([disc(16, 16), disc(3, 16), disc(16, 30)])[None], PALETTE[None])[:, :, 0]
    assert touches_border(shares).tolist() == [[False, True, True]]


def test_calibration_finds_the_scale_and_which_way_is_up():
    pixels = torch.rand(2, 6, 2) * SIZE
    metres = torch.stack([pixels[..., 0] * 12 / SIZE, 12 - pixels[..., 1] * 12 / SIZE], dim=-1)
    pixels[0, 0] = torch.nan
    slope, offset = calibrate(pixels, metres).T
    assert slope.tolist() == pytest.approx([12 / SIZE, -12 / SIZE])
    assert offset.tolist() == pytest.approx([0, 12], abs=1e-4)
    with pytest.raises(ValueError, match="colours may not be what the facts say"):
        calibrate(torch.full((2, 2), torch.nan), torch.zeros(2, 2))


def test_velocities_are_slopes():
    time = torch.arange(12.0)
    positions = torch.stack([3 + 0.5 * time, 9 - 0.25 * time], dim=-1)[None]
    speed = velocities(positions, rate_hz=20.0, span=8)
    assert speed.shape == (1, 5, 2)
    torch.testing.assert_close(speed, torch.tensor([10.0, -5.0]).expand(1, 5, 2))
    noisy = positions + 0.05 * torch.randn(positions.shape)
    errors = [float((velocities(noisy, 20.0, span) - torch.tensor([10.0, -5.0])).abs().mean()) for span in (2, 8)]
    assert errors[1] < errors[0] / 4


def test_a_ball_that_is_not_seen_at_first_waits_where_it_is_found_and_one_that_never_is_stands_still():
    nan = torch.full((2,), torch.nan)
    late = torch.stack([nan, nan, torch.tensor([4.0, 5.0]), torch.tensor([6.0, 5.0])])
    never = nan.expand(4, 2)
    speed = velocities(torch.stack([late, never]), rate_hz=10.0, span=2)
    assert speed[0].tolist() == [[0, 0], [0, 0], [20, 0]]
    assert speed[1].tolist() == [[0, 0]] * 3
