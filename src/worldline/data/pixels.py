"""Pixels: bytes to floats and back, and the geometry of a resize.

May import: data.geometry, torch. Refuses to know: files, codecs, actions.

The data room is the only place that touches uint8; everywhere else a frame is (..., 3, H, W) float in [0, 1].
"""

import torch
from torch import Tensor
from torch.nn import functional

from worldline.data.geometry import Fit, Size, height_and_width, margins, scaled_size


def to_float(frames: Tensor) -> Tensor:
    """Frames of any shape, uint8, as float32 in [0, 1].

    Raises:
        ValueError: if `frames` is not uint8 (converting twice would quietly make everything black).
    """
    if frames.dtype != torch.uint8:
        raise ValueError(f"to_float takes uint8 frames, got {frames.dtype}; these are already converted, or need to_uint8 first")
    return frames.to(torch.float32).div_(255)


def to_uint8(frames: Tensor) -> Tensor:
    """Frames of any shape, float, as uint8: clipped to [0, 1] and rounded. Inverse of `to_float`. NaN becomes black.

    Raises:
        ValueError: if `frames` is not of a floating type.
    """
    if not frames.is_floating_point():
        raise ValueError(f"to_uint8 takes float frames in [0, 1], got {frames.dtype}")
    return frames.detach().float().nan_to_num(0).clamp(0, 1).mul(255).round_().to(torch.uint8)


def center_on(frames: Tensor, target: tuple[int, int]) -> Tensor:
    """Cut the centre out of frames (..., H, W), or add black bars around them, to make them (..., *target)."""
    if tuple(frames.shape[-2:]) == target:
        return frames
    vertical, horizontal = margins((frames.shape[-2], frames.shape[-1]), target)
    # Negative padding cuts.
    return functional.pad(frames, (*horizontal, *vertical))


def resize_frames(frames: Tensor, size: Size, fit: Fit = "stretch") -> Tensor:
    """Resize frames (T, 3, H, W), float, to `size`: area average when shrinking, bilinear when enlarging; differentiable.

    Raises:
        ValueError: for wrong shapes, uint8 frames, or an unknown `fit`.
    """
    if frames.ndim != 4 or not frames.is_floating_point():
        raise ValueError(f"frames must be (T, 3, H, W) float, got {tuple(frames.shape)} {frames.dtype}")
    target = height_and_width(size)
    source = (frames.shape[-2], frames.shape[-1])
    scaled = scaled_size(source, target, fit)
    if scaled != source:
        if scaled[0] <= source[0] and scaled[1] <= source[1]:
            frames = functional.interpolate(frames, scaled, mode="area")
        else:
            frames = functional.interpolate(frames, scaled, mode="bilinear", antialias=True)
    return center_on(frames, target)
