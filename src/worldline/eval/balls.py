"""Where are the balls: a parser of discs of known colours on a plain ground, to less than a pixel, and velocities from it.

The measure of PhyWorld (Kang et al., 2024): how far a ball's velocity in an imagined video is from that in the simulator.

May import: torch. Refuses to know: worlds, simulators, which colours there are.

Shapes: B videos, T frames, N colours.
"""

import torch
from torch import Tensor

_LOST = 0.25  # share of its true size below which a ball counts as lost
_NEAR = 1.5  # radii around a ball's rough place that are looked at, so that noise elsewhere does not pull its centre


def color_shares(frames: Tensor, palette: Tensor) -> Tensor:
    """How much of each pixel is of each colour: frames (B, T, 3, H, W), palette (B, N, 3) -> (B, T, N - 1, H, W) in [0, 1].

    The last colour is the background, whose share is what is left. A pixel is taken for a mixture, as it is at the soft edge of a disc, and
    unmixed by least squares; so the first moments of the shares are those of the discs.
    """
    ground = palette[:, -1]
    directions = palette[:, :-1] - ground[:, None]
    unmix = torch.linalg.pinv(directions.mT)
    return torch.einsum("bnc,btchw->btnhw", unmix, frames - ground[:, None, :, None, None]).clamp(0, 1)


def find_discs(share: Tensor, expected: Tensor) -> Tensor:
    """Centres (B, T, 2), x to the right and y down in pixels, of what is of one colour: share (B, T, H, W); NaN where it is lost.

    Args:
        share: of the colour.
        expected: (B,) size in pixels; less than a quarter of it counts as lost.
    """
    rough, mass = _center(torch.where(share > 0.5, share, torch.zeros_like(share)))
    y = torch.arange(share.shape[-2], dtype=share.dtype)[:, None] + 0.5
    x = torch.arange(share.shape[-1], dtype=share.dtype)[None] + 0.5
    reach = _NEAR * (expected / torch.pi).sqrt()[:, None, None, None] + 1
    far = (x - rough[..., :1, None]) ** 2 + (y - rough[..., 1:, None]) ** 2 > reach**2
    center, _ = _center(share.masked_fill(far, 0))
    lost = mass < _LOST * expected[:, None]
    return center.masked_fill(lost.unsqueeze(-1), torch.nan)


def _center(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Centre of mass (..., 2) and mass (...) of weights (..., H, W)."""
    height, width = weight.shape[-2:]
    mass = weight.sum((-2, -1))
    x = torch.arange(width, dtype=weight.dtype) + 0.5
    y = torch.arange(height, dtype=weight.dtype) + 0.5
    moments = torch.stack([(weight.sum(-2) * x).sum(-1), (weight.sum(-1) * y).sum(-1)], dim=-1)
    return moments / mass.clamp_min(1e-6).unsqueeze(-1), mass


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


def velocities(positions: Tensor, rate_hz: float, span: int) -> Tensor:
    """(B, T - span + 1, 2) per second: the slopes, by least squares, of `span` positions (B, T, 2) in a row.

    A tenth of a pixel is a great speed if it is taken from one frame to the next. A ball that is lost stays where it was last seen, and is
    where it is first seen until then; one that is never seen stands still.
    """
    found = positions.isfinite().all(-1)
    first = positions[torch.arange(len(positions)), found.int().argmax(1)]
    known = [torch.where(found[:, 0, None], positions[:, 0], first)]
    for place in positions.unbind(1)[1:]:
        known.append(torch.where(place.isnan(), known[-1], place))
    time = torch.arange(span, dtype=positions.dtype) - (span - 1) / 2
    return (torch.stack(known, dim=1).nan_to_num(0).unfold(1, span, 1) * time).sum(-1) / time.square().sum() * rate_hz
