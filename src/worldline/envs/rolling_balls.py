"""What the domains of balls in a plane share: Box2D, contacts by name, and how a ball is drawn.

May import: numpy, Box2D (extra `sim-2d`). Refuses to know: what the balls do, clips, files.
"""

import warnings
from types import ModuleType

import numpy as np

with warnings.catch_warnings():
    # Its generated wrapper lacks a `__module__`, and crashes where that warning is an error.
    warnings.simplefilter("ignore")
    from Box2D import b2Contact, b2ContactListener, b2EdgeShape, b2World

VIEW_M = 12.0
"""Side of the square that is seen; x to the right and y up from its lower left corner."""

OVERSAMPLING = 4
"""Pixels along a side of which one of the picture is the mean."""

STEPS_PER_FRAME = 10
_SHIFT = 4  # fractional bits of a coordinate, for cv2


class Touches(b2ContactListener):
    """What touched what since the last frame."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[frozenset[str]] = set()

    def BeginContact(self, contact: b2Contact) -> None:
        """Called by Box2D."""
        self.names.add(frozenset((contact.fixtureA.body.userData, contact.fixtureB.body.userData)))


def add_ground(world: b2World, name: str, height: float) -> None:
    """A floor without friction that gives nothing back, from end to end."""
    ground = world.CreateStaticBody(userData=name)
    ground.CreateFixture(shape=b2EdgeShape(vertices=[(-100, height), (100, height)]), friction=0, restitution=0)


def draw_ball(cv2: ModuleType, picture: np.ndarray, place: tuple[float, float], radius: float, color: tuple[int, int, int]) -> None:
    """A ball at `place`, metres, into a picture (side, side, 3) of `VIEW_M`."""
    scale = len(picture) / VIEW_M * 2**_SHIFT
    center = [round(value * scale) for value in (place[0], VIEW_M - place[1])]
    cv2.circle(picture, center, round(radius * scale), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
