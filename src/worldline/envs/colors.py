"""Colours by the name that captions give them, so that no two domains mean different things by `teal`.

May import: numpy. Refuses to know: what is painted.
"""

import numpy as np

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "crimson": (160, 20, 50),
    "orange": (255, 127, 14),
    "yellow": (240, 205, 40),
    "green": (44, 150, 44),
    "lime": (150, 220, 40),
    "mint": (165, 220, 190),
    "teal": (0, 128, 128),
    "turquoise": (38, 200, 190),
    "cyan": (40, 200, 220),
    "blue": (40, 90, 220),
    "navy": (20, 30, 110),
    "purple": (130, 60, 190),
    "lilac": (195, 175, 225),
    "magenta": (220, 30, 190),
    "pink": (245, 150, 190),
    "brown": (130, 80, 45),
    "black": (20, 20, 20),
    "dark gray": (75, 75, 80),
    "gray": (130, 135, 140),
    "light gray": (205, 208, 212),
    "white": (254, 254, 254),
    "cream": (248, 238, 210),
    "beige": (217, 194, 153),
    "sand": (214, 186, 140),
}
"""(red, green, blue) in 0 to 255, as screens understand them."""


def color(name: object) -> np.ndarray:
    """A named colour as (3,) float64 in [0, 255], RGB."""
    return np.array(COLORS[str(name)], dtype=np.float64)


def share_of_full(name: object) -> np.ndarray:
    """A named colour as (3,) float64 in [0, 1], RGB: for engines that take a screen's colours so."""
    return color(name) / 255


def reflectance(name: object) -> np.ndarray:
    """A named colour as (3,) float64 in [0, 0.85], RGB, linear in light: for engines that follow light. Nothing reflects all of it."""
    encoded = share_of_full(name)
    return 0.85 * np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
