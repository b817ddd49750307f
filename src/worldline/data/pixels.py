"""Pixels: bytes to floats and back, and the geometry of a resize.

May import: torch. Refuses to know: files, codecs, actions.

The data room is the only place that touches uint8; everywhere else a frame is (..., 3, H, W) float in [0, 1].
"""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

Fit: TypeAlias = Literal["stretch", "crop", "pad"]
"""How a frame meets another aspect ratio: `stretch` ignores it (nothing is lost, circles become ellipses), `crop` cuts the
longer side around the centre, `pad` adds black bars."""

Size: TypeAlias = int | tuple[int, int]
"""A frame size in pixels: (height, width), or one number for a square."""


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


def height_and_width(size: Size) -> tuple[int, int]:
    """`size` as (height, width) in pixels.

    Raises:
        ValueError: if it is not one or two positive whole numbers.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"size is {size!r}; give one positive number of pixels, or (height, width)")
    return pair


def scaled_size(source: tuple[int, int], target: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """The (height, width) to scale a frame of `source` to, before the centre is cut out or bars are added to reach `target`."""
    if fit not in get_args(Fit):
        raise ValueError(f"fit is {fit!r}; choose one of {', '.join(get_args(Fit))}")
    if fit == "stretch":
        return target
    ratios = (target[0] / source[0], target[1] / source[1])
    if fit == "crop":
        ratio = max(ratios)
        return max(target[0], round(source[0] * ratio)), max(target[1], round(source[1] * ratio))
    ratio = min(ratios)
    return min(target[0], max(1, round(source[0] * ratio))), min(target[1], max(1, round(source[1] * ratio)))


def center_on(frames: Tensor, target: tuple[int, int]) -> Tensor:
    """Cut the centre out of frames (..., H, W), or add black bars around them, to make them (..., *target)."""
    extra = [wanted - have for wanted, have in zip(target, frames.shape[-2:], strict=True)]
    if extra == [0, 0]:
        return frames
    top, left = extra[0] // 2, extra[1] // 2
    # Negative padding cuts.
    return functional.pad(frames, (left, extra[1] - left, top, extra[0] - top))


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
