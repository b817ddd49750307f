"""How a picture moves from one frame to the next, as a few dozen numbers: enough to see whether actions belong to it.

Two families, since some worlds move and others change colour: `flow`, least-squares optical flow (Lucas and Kanade, 1981) in the whole
frame, in 6 and in 24 cells; and `change`, the difference of brightness and its size in 12 cells.

May import: numpy, torch, data.pixels. Refuses to know: actions, files.
"""

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from worldline.data.pixels import resize_frames, to_float

Family: TypeAlias = Literal["flow", "change"]
FAMILIES: tuple[Family, ...] = ("flow", "change")
FRAME_SIZE = (48, 64)
"""Height and width in pixels that frames are brought to: large motions become small enough for a linear estimate."""

_FLOW_GRIDS = ((1, 1), (2, 3), (4, 6))
_CHANGE_GRID = (3, 4)
_MAX_FLOW = 3.0  # pixels; what is faster is an aperture effect
_RIDGE = 1e-4
_CHUNK = 512


def motion_features(frames: Tensor) -> dict[Family, np.ndarray]:
    """Features of the T - 1 transitions of frames (T, 3, H, W), uint8: name of the family -> (T - 1, F) float32.

    Row `t` describes what happened between frame `t` and frame `t + 1`.
    """
    parts: dict[Family, list[Tensor]] = {family: [] for family in FAMILIES}
    for start in range(0, len(frames) - 1, _CHUNK):
        gray = _gray(frames[start : start + _CHUNK + 1])
        before, after = gray[:-1], gray[1:]
        parts["flow"].append(_flow(before, after))
        difference = after - before
        cells = [functional.adaptive_avg_pool2d(value, _CHANGE_GRID).flatten(1) for value in (difference, difference.abs())]
        parts["change"].append(torch.cat(cells, dim=1))
    return {family: torch.cat(chunks).numpy() for family, chunks in parts.items()}


def _gray(frames: Tensor) -> Tensor:
    """(T, 1, *FRAME_SIZE) brightness, blurred, since the linear estimate holds for motions up to the width of an edge."""
    gray = to_float(frames)
    if gray.shape[-2:] != FRAME_SIZE:
        gray = resize_frames(gray, FRAME_SIZE)
    gray = gray.mean(1, keepdim=True)
    for _ in range(2):
        gray = functional.avg_pool2d(gray, 3, stride=1, padding=1, count_include_pad=False)
    return gray


def _flow(before: Tensor, after: Tensor) -> Tensor:
    """(T, 2 * cells) pixels: in each cell the one translation that explains the change of brightness best."""
    middle = (before + after) / 2
    across = (middle[..., 1:-1, 2:] - middle[..., 1:-1, :-2]) / 2
    down = (middle[..., 2:, 1:-1] - middle[..., :-2, 1:-1]) / 2
    change = (after - before)[..., 1:-1, 1:-1]
    flows = []
    for grid in _FLOW_GRIDS:
        products = (across * across, down * down, across * down, across * change, down * change)
        xx, yy, xy, xt, yt = (functional.adaptive_avg_pool2d(product, grid).flatten(1) for product in products)
        xx, yy = xx + _RIDGE, yy + _RIDGE
        determinant = xx * yy - xy * xy
        flows += [(xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant]
    return torch.cat(flows, dim=1).clamp(-_MAX_FLOW, _MAX_FLOW)
