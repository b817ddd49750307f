"""Where the agent is, in a picture: the truth from a state, and a reading of a real or predicted frame.

May import: torch, the simulator's constants. Refuses to know: the simulator itself, models.

Pixel positions are (x, y) in units of pixels, with (0, 0) at the centre of the top left pixel.
"""

import torch
from torch import Tensor
from torch.nn import functional

from worldline.envs.pusht.simulator import ARENA_SIZE

AGENT_RADIUS = 15.0
"""Radius of the agent's disc, environment units."""

# The affine function of (red, green, blue) in [0, 1] that is 1 on the agent's mean colour (70, 114, 238)/255 and 0 on the table
# (white), the goal (144, 238, 144)/255 and the block's face (143, 163, 184)/255; negative on the block's rim and the walls. Being
# affine, it measures which share of a pixel the agent covers, whatever the rest of the pixel is.
COLOR_WEIGHTS = (-2.6005, 1.3143, 2.3993)
COLOR_OFFSET = -1.1130


def agent_pixel_position(states: Tensor, size: int) -> Tensor:
    """Pixel position (..., 2) of the agent in a picture of `size` pixels, from states (..., >= 2) in environment units."""
    return states[..., :2] * (size / ARENA_SIZE) - 0.5


def find_agent(frames: Tensor, *, threshold: float = 0.15) -> Tensor:
    """Pixel position (..., 2) of the agent's blue disc in frames (..., 3, H, W), float in [0, 1]; NaN where it is not seen.

    The position is the centroid of the agent's colour in a window of two radii around the disc-sized patch that has most of it:
    0.05 pixels off on average in the simulator's own pictures of 32 to 96 pixels.

    Args:
        frames: real or predicted pictures, blurred ones too.
        threshold: share of that patch which the agent's colour must fill for the agent to count as seen.

    Raises:
        ValueError: if the frames are not (..., 3, H, W) floating point.
    """
    if frames.ndim < 3 or frames.shape[-3] != 3 or not frames.is_floating_point():
        raise ValueError(f"frames must be (..., 3, H, W) float in [0, 1], got {tuple(frames.shape)} {frames.dtype}")
    *leading, _, height, width = frames.shape
    weights = frames.new_tensor(COLOR_WEIGHTS)[:, None, None]
    # A twentieth is let go: faint traces all over a noisy picture would pull the centroid to the middle of the window.
    share = ((frames.reshape(-1, 3, height, width) * weights).sum(1) + COLOR_OFFSET - 0.05).clamp_min(0)
    radius = AGENT_RADIUS / ARENA_SIZE * width
    window = 2 * max(1, round(radius / 2)) + 1
    patches = functional.avg_pool2d(share[:, None], window, stride=1, padding=window // 2, count_include_pad=False)[:, 0]
    highest, index = patches.flatten(1).max(1)
    x = torch.arange(width, dtype=frames.dtype, device=frames.device)
    y = torch.arange(height, dtype=frames.dtype, device=frames.device)
    distance = torch.hypot(x - (index % width)[:, None, None], y[:, None] - (index // width)[:, None, None])
    mass = share * (distance <= 2 * radius + 1)
    total = mass.sum((1, 2))
    position = torch.stack([(mass * x).sum((1, 2)), (mass * y[:, None]).sum((1, 2))], 1) / total[:, None]
    position = torch.where((highest > threshold)[:, None], position, torch.nan)
    return position.reshape(*leading, 2)
