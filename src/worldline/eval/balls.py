"""Where are the balls: a parser of discs of known colours on a plain ground, to less than a pixel, and velocities from it.

The measure of PhyWorld (Kang et al., 2024): the mean absolute difference of a ball's velocity between an imagined video and the simulator.

May import: torch. Refuses to know: worlds, simulators, which colours there are.

Shapes: B videos, T frames, N colours.
"""

import torch
from torch import Tensor

_SOFTNESS = 0.15  # of the assignment of a pixel to a colour, in units of brightness
_LOST = 0.25  # share of its true size below which a ball counts as lost


def color_shares(frames: Tensor, palette: Tensor) -> Tensor:
    """How much of each pixel is of each colour: frames (B, T, 3, H, W), palette (B, N, 3) -> (B, T, N, H, W), which add up to 1.

    A pixel half of one colour and half of another lies between them, and is shared by them.
    """
    distance = (frames.unsqueeze(2) - palette[:, None, :, :, None, None]).square().sum(3)
    return torch.softmax(-distance / (2 * _SOFTNESS**2), dim=2)


def find_discs(share: Tensor, expected: Tensor) -> Tensor:
    """Centres (B, T, 2), x to the right and y down in pixels, of what is of one colour: share (B, T, H, W); NaN where it is lost.

    Args:
        share: of the colour.
        expected: (B,) size in pixels; less than a quarter of it counts as lost.
    """
    height, width = share.shape[-2:]
    weight = torch.where(share > 0.3, share, torch.zeros_like(share))  # noise elsewhere must not pull the centre
    mass = weight.sum((-2, -1))
    x = torch.arange(width, dtype=share.dtype) + 0.5
    y = torch.arange(height, dtype=share.dtype) + 0.5
    center = torch.stack([(weight.sum(-2) * x).sum(-1), (weight.sum(-1) * y).sum(-1)], dim=-1) / mass.clamp_min(1e-6).unsqueeze(-1)
    lost = mass < _LOST * expected[:, None]
    return center.masked_fill(lost.unsqueeze(-1), torch.nan)


def touches_border(share: Tensor) -> Tensor:
    """(B, T) bool: whether what is of one colour reaches the edge of the picture, and so may go on behind it."""
    edges = torch.cat([share[..., 0, :], share[..., -1, :], share[..., :, 0], share[..., :, -1]], dim=-1)
    return edges.amax(-1) > 0.3


def calibrate(pixels: Tensor, units: Tensor) -> Tensor:
    """(2, 2): slope and offset, for x and y, that take pixel positions (..., 2) to the simulator's (..., 2), by least squares.

    Raises:
        ValueError: if fewer than two positions are known.
    """
    known = pixels.isfinite().all(-1) & units.isfinite().all(-1)
    if int(known.sum()) < 2:
        raise ValueError("the balls were not found in the true frames; their colours may not be what the facts say")
    rows = []
    for axis in range(2):
        x, y = pixels[known][:, axis].double(), units[known][:, axis].double()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum().clamp_min(1e-9)
        rows.append(torch.stack([slope, y.mean() - slope * x.mean()]))
    return torch.stack(rows)


def velocities(positions: Tensor, rate_hz: float) -> Tensor:
    """(B, T - 1, 2) per second, of positions (B, T, 2); a ball that is lost stands still."""
    return ((positions[:, 1:] - positions[:, :-1]) * rate_hz).nan_to_num(0.0)
