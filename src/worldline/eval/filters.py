"""How alike pictures look, and how alike two sets of videos are, by a fixed bank of oriented filters: no network, nothing to download.

Each of up to four scales (every one half the size of the one before) is filtered by even and odd Gabor filters of four orientations; their
energies stand for edges and texture, two opponent colours for the rest (Portilla and Simoncelli, 2000, use such statistics). It is neither
LPIPS nor FVD and cannot be compared with figures of those: both need a trained network.

May import: torch. Refuses to know: worlds, data sets.

Shapes: N pictures, B videos, T frames, F features.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_COMPONENTS = 16
"""Principal components that the Fréchet distance is taken over: few enough that a covariance can be estimated from tens of videos."""

_ORIENTATIONS, _SIDE, _WAVELENGTH, _WIDTH = 4, 7, 4.0, 1.6
_MAX_SCALES = 4
_CONTRAST_FLOOR = 0.02  # energies below it are noise of 8-bit pictures
_CHUNK = 256


def filter_distance(predicted: Tensor, true: Tensor) -> Tensor:
    """Oriented-filter distance of frames (..., 3, H, W) in [0, 1], one value per frame; 0 for equal frames, about 1 for unrelated ones.

    At each place the vector of filter energies is divided by its length (so that contrast counts less than structure), and the squared
    differences are averaged over places and scales; differences of the opponent colours are added.

    Raises:
        ValueError: for frames of fewer than 8 pixels a side.
    """
    lead = true.shape[:-3]
    x, y = (frames.reshape(-1, *frames.shape[-3:]).float() for frames in (predicted, true))
    values = []
    for start in range(0, len(x), _CHUNK):
        pairs = zip(_maps(x[start : start + _CHUNK]), _maps(y[start : start + _CHUNK]), strict=True)
        values.append(torch.stack([_map_distance(a, b) for a, b in pairs]).mean(0))
    return torch.cat(values).view(lead)


def video_features(frames: Tensor) -> Tensor:
    """What is seen and what moves in each frame of videos (B, T, 3, H, W), T at least 2: (B, T - 1, F).

    The mean filter energies of a frame's four quarters at each scale, and those of its difference to the frame before.
    """
    batch, num_frames = frames.shape[:2]
    shown = frames[:, 1:].flatten(0, 1).float()
    moved = (frames[:, 1:] - frames[:, :-1]).flatten(0, 1).float()
    rows = [
        torch.cat([_pooled(shown[start : start + _CHUNK]), _pooled(moved[start : start + _CHUNK])], dim=1)
        for start in range(0, len(shown), _CHUNK)
    ]
    return torch.cat(rows).view(batch, num_frames - 1, -1)


def principal_components(features: Tensor, count: int = NUM_COMPONENTS) -> tuple[Tensor, Tensor]:
    """Mean (F,) and directions (F, K) of the largest variance of features (N, F), K at most `count`."""
    rows = features.double()
    mean = rows.mean(0)
    _, _, directions = torch.linalg.svd(rows - mean, full_matrices=False)
    return mean, directions[:count].T


def moments(points: Tensor) -> Tensor:
    """(..., K + K * K): each point (..., K) beside its outer product with itself, whose means give a mean and a covariance."""
    return torch.cat([points, (points.unsqueeze(-1) * points.unsqueeze(-2)).flatten(-2)], dim=-1)


def frechet_distance(first: Tensor, second: Tensor) -> Tensor:
    """Squared Fréchet distance (...,) of two Gaussians, each given by the means (..., K + K * K) of its points' `moments`.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau, 1982).
    """
    (mean_1, cov_1), (mean_2, cov_2) = _gaussian(first), _gaussian(second)
    values, vectors = torch.linalg.eigh(cov_1)
    root = (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)) @ vectors.mT
    # The eigenvalues of C1 C2 are those of C1^(1/2) C2 C1^(1/2), which is symmetric.
    cross = torch.linalg.eigvalsh(root @ cov_2 @ root).clamp_min(0).sqrt().sum(-1)
    trace = cov_1.diagonal(dim1=-2, dim2=-1).sum(-1) + cov_2.diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((mean_1 - mean_2).square().sum(-1) + trace - 2 * cross).clamp_min(0)


def _gaussian(means: Tensor) -> tuple[Tensor, Tensor]:
    size = round((-1 + math.sqrt(1 + 4 * means.shape[-1])) / 2)
    mean = means[..., :size]
    return mean, means[..., size:].unflatten(-1, (size, size)) - mean.unsqueeze(-1) * mean.unsqueeze(-2)


def _bank() -> Tensor:
    """(2 * orientations, 1, side, side): even and odd Gabor filters without a mean, of unit length."""
    axis = torch.arange(_SIDE) - (_SIDE - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / (2 * _WIDTH**2))
    filters = []
    for index in range(_ORIENTATIONS):
        angle = math.pi * index / _ORIENTATIONS
        phase = 2 * math.pi / _WAVELENGTH * (x * math.cos(angle) + y * math.sin(angle))
        even, odd = window * phase.cos(), window * phase.sin()
        even = even - window * even.sum() / window.sum()
        filters += [even / even.norm(), odd / odd.norm()]
    return torch.stack(filters).unsqueeze(1)


def _maps(frames: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Per scale: filter energies (N, orientations, h, w), and brightness and two opponent colours (N, 3, h, w)."""
    if min(frames.shape[-2:]) < 8:
        raise ValueError(f"the filters need frames of at least 8 x 8 pixels, got {tuple(frames.shape[-2:])}")
    red, green, blue = frames.unbind(1)
    planes = torch.stack([(red + green + blue) / 3, (red - green) / 2, (red + green) / 4 - blue / 2], dim=1)
    bank, maps = _bank().to(planes), []
    for _ in range(_MAX_SCALES):
        padded = F.pad(planes[:, :1], [_SIDE // 2] * 4, mode="replicate")
        even, odd = F.conv2d(padded, bank).unflatten(1, (_ORIENTATIONS, 2)).unbind(2)
        maps.append(((even.square() + odd.square()).sqrt(), planes))
        if min(planes.shape[-2:]) < 16:
            break
        planes = F.avg_pool2d(planes, 2)
    return maps


def _map_distance(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    edges = [energy / (energy.square().sum(1, keepdim=True) + _CONTRAST_FLOOR**2).sqrt() for energy in (first[0], second[0])]
    structure = (edges[0] - edges[1]).square().sum(1).mean((1, 2))
    color = (first[1] - second[1]).square().sum(1).mean((1, 2))
    return structure + color


def _pooled(frames: Tensor) -> Tensor:
    parts = [F.adaptive_avg_pool2d(values, 2).flatten(1) for pair in _maps(frames) for values in pair]
    return torch.cat(parts, dim=1)
