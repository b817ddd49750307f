"""Colours by the name that captions give them, (red, green, blue) in 0 to 255; so that no two domains mean different things by `teal`.

May import: nothing. Refuses to know: what is painted.
"""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "crimson": (160, 20, 50),
    "orange": (255, 127, 14),
    "yellow": (240, 205, 40),
    "green": (44, 150, 44),
    "lime": (150, 220, 40),
    "teal": (0, 128, 128),
    "cyan": (40, 200, 220),
    "blue": (40, 90, 220),
    "navy": (20, 30, 110),
    "purple": (130, 60, 190),
    "magenta": (220, 30, 190),
    "pink": (245, 150, 190),
    "brown": (130, 80, 45),
    "black": (20, 20, 20),
    "dark gray": (75, 75, 80),
    "gray": (130, 135, 140),
    "light gray": (205, 208, 212),
    "white": (254, 254, 254),
    "cream": (248, 238, 210),
    "sand": (214, 186, 140),
}
