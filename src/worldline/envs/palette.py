"""Colours by name, for domains that draw their own pictures and say in words what colour a thing has.

May import: numpy, cv2 (on demand). Refuses to know: any simulator.
"""

from types import ModuleType

import numpy as np

RGB = {
    "red": (205, 48, 45),
    "orange": (235, 130, 35),
    "yellow": (240, 200, 50),
    "green": (60, 150, 75),
    "teal": (30, 145, 150),
    "blue": (45, 100, 200),
    "purple": (125, 70, 165),
    "pink": (235, 125, 165),
    "brown": (130, 85, 50),
    "white": (242, 242, 238),
    "cream": (240, 228, 200),
    "grey": (140, 142, 148),
    "black": (28, 28, 32),
    "navy": (22, 34, 70),
    "mint": (165, 220, 190),
    "lilac": (195, 175, 225),
}


def color(name: str) -> np.ndarray:
    """A named colour as (3,) float64 in [0, 255], RGB."""
    return np.array(RGB[name], dtype=np.float64)


def import_opencv(extra: str) -> ModuleType:
    """The `cv2` module, with which pictures are drawn; `extra` is named if it is missing."""
    try:
        import cv2  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            f'pictures of this domain are drawn with opencv, which is not installed: pip install "worldline[{extra}]"'
        ) from error
    return cv2
