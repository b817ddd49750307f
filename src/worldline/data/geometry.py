"""The geometry of a resize: which size a frame is scaled to, and what is cut off or added after that.

May import: numpy. Refuses to know: torch, so that a process that only decodes starts in a tenth of a second; codecs; files.
"""

from typing import Literal, TypeAlias, get_args

import numpy as np

Fit: TypeAlias = Literal["stretch", "crop", "pad"]
"""How a frame meets another aspect ratio: `stretch` ignores it (nothing is lost, circles become ellipses), `crop` cuts the
longer side around the centre, `pad` adds black bars."""

Size: TypeAlias = int | tuple[int, int]
"""A frame size in pixels: (height, width), or one number for a square."""


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


def margins(source: tuple[int, int], target: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels to add (above, below), (left, right) of a frame of `source` to centre it in `target`; negative ones are cut."""
    height, width = (wanted - have for wanted, have in zip(target, source, strict=True))
    return (height // 2, height - height // 2), (width // 2, width - width // 2)


def center_pixels(pixels: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    """Cut the centre out of pixels (H, W, C), or add black bars around them, to make them (*target, C)."""
    if pixels.shape[:2] == target:
        return pixels
    vertical, horizontal = margins((pixels.shape[0], pixels.shape[1]), target)
    added = [(max(before, 0), max(after, 0)) for before, after in (vertical, horizontal)]
    rows, columns = (slice(max(-before, 0), side + min(after, 0)) for (before, after), side in zip((vertical, horizontal), pixels.shape))
    return np.pad(pixels[rows, columns], [*added, (0, 0)])
