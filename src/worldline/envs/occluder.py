"""Occluder: balls that go behind a screen and go on there, for object permanence. The physics is Box2D's (zlib licence).

The courses are those of the infant studies (Baillargeon, 1985, 1987), by mechanics alone: a ball that rolls on behind the screen, one that
bounces there, one that comes back from a post, and two that meet. The state says where everything truly is, seen or not.

May import: interfaces, envs.simulator, envs.colors, envs.phrases, envs.opencv, envs.rolling_balls, numpy, Box2D and cv2
(extra `sim-2d`). Refuses to know: clips, files.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from worldline.envs.colors import COLORS
from worldline.envs.opencv import import_opencv
from worldline.envs.phrases import article, sentence
from worldline.envs.rolling_balls import OVERSAMPLING, STEPS_PER_FRAME, VIEW_M, Touches, add_ground, draw_ball
from worldline.envs.simulator import Act, Attribute, Simulator, Value

with warnings.catch_warnings():
    # Its generated wrapper lacks a `__module__`, and crashes where that warning is an error.
    warnings.simplefilter("ignore")
    from Box2D import b2CircleShape, b2FixtureDef, b2PolygonShape, b2World

FLOOR_M = 1.5
_POST_M = (0.6, 2.6)  # width and height of the post that a ball comes back from
_OVERHANG_M = 0.3  # how much of the post looks out from behind the screen


class Occluder(Simulator):
    """See `Simulator`. Metres and seconds; the screen stands in front of everything, and nothing touches it."""

    name = "occluder"
    extra = "sim-2d"
    rate_hz = 20.0
    action_spec = None
    state_names = (
        *(f"{ball}_{what}" for ball in ("ball", "other") for what in ("x", "y", "velocity_x", "velocity_y", "radius")),
        *("screen_left", "screen_right", "screen_top", "post_left"),
    )
    event_names = ("hidden", "partly_hidden", "vanishes", "reappears", "bounce", "hits_post", "collision", "out_of_view")
    policy_names = ("watch",)
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="course", kind="scene", usual=("rolls", "bounces", "returns", "meets")),
        Attribute(name="radius_m", kind="scene", usual=(0.55, 0.75), unusual=(0.85, 1.0)),
        Attribute(name="speed_m_s", kind="physics", usual=(2.8, 4.5), unusual=(5.0, 6.0)),
        Attribute(name="gravity_m_s2", kind="physics", usual=(8.5, 11.0), unusual=(4.0, 6.0)),
        Attribute(name="restitution", kind="physics", usual=(0.8, 0.95), unusual=(0.5, 0.7)),
        Attribute(name="screen_width_m", kind="scene", usual=(3.5, 4.4), unusual=(4.7, 5.2)),
        Attribute(name="screen_height_m", kind="scene", usual=(5.5, 7.0), unusual=(7.5, 8.5)),
        Attribute(name="ball_color", kind="appearance", usual=("red", "blue", "green"), unusual=("magenta", "cyan")),
        Attribute(name="other_color", kind="appearance", usual=("orange", "purple", "teal"), unusual=("lime", "pink")),
        Attribute(name="screen_color", kind="appearance", usual=("beige", "gray", "mint"), unusual=("dark gray", "lilac")),
        Attribute(name="background_color", kind="appearance", usual=("white", "cream", "light gray"), unusual=("black", "navy")),
    )

    def __init__(self) -> None:
        self._cv2 = import_opencv(self.extra)
        self._attributes: dict[str, Value] = {}
        self._world = b2World()
        self._touches = Touches()
        self._balls: list[Any] = []
        self._radius = 0.0
        self._screen = (0.0, 0.0, 0.0)
        self._happened: set[str] = set()
        self._events: dict[str, bool] = {}

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        where, height = np.random.default_rng(seed).uniform(size=2)
        self._attributes = dict(attributes)
        course = attributes["course"]
        self._radius = float(attributes["radius_m"])
        width, speed = float(attributes["screen_width_m"]), float(attributes["speed_m_s"])
        center = VIEW_M / 2 + 0.5 * (where - 0.5)
        self._screen = (center - width / 2, center + width / 2, FLOOR_M + float(attributes["screen_height_m"]))
        self._world = b2World(gravity=(0, -float(attributes["gravity_m_s2"])), doSleep=False)
        self._touches = Touches()
        self._world.contactListener = self._touches
        add_ground(self._world, "floor", FLOOR_M)
        self._balls = []
        start, ground = self._radius + 0.2, FLOOR_M + self._radius
        if course == "bounces":
            self._add("ball", (start, FLOOR_M + self._radius + 1.5 + 1.5 * height), speed)
        else:
            self._add("ball", (start, ground), speed)
        if course == "meets":
            self._add("other", (VIEW_M - start, ground), -speed)
        if course == "returns":
            post = self._world.CreateStaticBody(userData="post", position=(self._post_left() + _POST_M[0] / 2, FLOOR_M + _POST_M[1] / 2))
            post.CreateFixture(shape=b2PolygonShape(box=(_POST_M[0] / 2, _POST_M[1] / 2)), friction=0, restitution=0)
        self._happened = set()
        self._events = dict.fromkeys(self.event_names, False)

    def _add(self, name: str, position: tuple[float, float], speed: float) -> None:
        """A ball. Without friction: a spin would not be seen, and takes most of the speed of a ball that comes back from a post."""
        fixture = b2FixtureDef(
            shape=b2CircleShape(radius=self._radius), density=1.0, friction=0.0, restitution=float(self._attributes["restitution"])
        )
        body = self._world.CreateDynamicBody(position=position, linearVelocity=(speed, 0), fixtures=fixture)
        body.userData, body.bullet = name, True
        self._balls.append(body)

    def _post_left(self) -> float:
        """Where the post begins; 0 if there is none."""
        return self._screen[1] + _OVERHANG_M - _POST_M[0] if self._attributes["course"] == "returns" else 0.0

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        self._touches.names.clear()
        was = self._hidden()
        for _ in range(STEPS_PER_FRAME):
            self._world.Step(1 / self.rate_hz / STEPS_PER_FRAME, 10, 10)
        hidden = self._hidden()
        touched = self._touches.names
        self._events = {
            "hidden": any(hidden),
            "partly_hidden": any(touches and not gone for touches, gone in zip(self._overlapping(), hidden)),
            "vanishes": any(now and not then for now, then in zip(hidden, was)),
            "reappears": any(then and not now for now, then in zip(hidden, was)),
            "bounce": self._attributes["course"] == "bounces" and frozenset(("ball", "floor")) in touched,
            "hits_post": frozenset(("ball", "post")) in touched,
            "collision": frozenset(("ball", "other")) in touched,
            "out_of_view": any(not -self._radius <= ball.position.x <= VIEW_M + self._radius for ball in self._balls),
        }
        self._happened |= {name for name, happened in self._events.items() if happened}

    def _hidden(self) -> list[bool]:
        """Of each ball, whether nothing of it can be seen."""
        left, right, top = self._screen
        around = ((*ball.position, self._radius) for ball in self._balls)
        return [left <= x - radius and x + radius <= right and y + radius <= top for x, y, radius in around]

    def _overlapping(self) -> list[bool]:
        """Of each ball, whether something of it is behind the screen, by its bounding square."""
        left, right, top = self._screen
        around = ((*ball.position, self._radius) for ball in self._balls)
        return [left < x + radius and x - radius < right and y - radius < top for x, y, radius in around]

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`."""
        side = size * OVERSAMPLING
        scale = side / VIEW_M
        picture = np.full((side, side, 3), COLORS[str(self._attributes["background_color"])], np.uint8)
        picture[round((VIEW_M - FLOOR_M) * scale) :] = COLORS["brown"]

        def box(left: float, right: float, top: float, rgb: tuple[int, int, int]) -> None:
            rows = slice(round((VIEW_M - top) * scale), round((VIEW_M - FLOOR_M) * scale))
            picture[rows, round(left * scale) : round(right * scale)] = rgb

        if self._attributes["course"] == "returns":
            box(self._post_left(), self._post_left() + _POST_M[0], FLOOR_M + _POST_M[1], COLORS["crimson"])
        for ball, color in zip(self._balls, ("ball_color", "other_color")):
            draw_ball(self._cv2, picture, (ball.position.x, ball.position.y), self._radius, COLORS[str(self._attributes[color])])
        box(*self._screen, COLORS[str(self._attributes["screen_color"])])
        return self._cv2.resize(picture, (size, size), interpolation=self._cv2.INTER_AREA)

    def state(self) -> np.ndarray:
        """See `Simulator.state`. Zeros stand for a second ball or a post that is not there."""
        values = [(*ball.position, *ball.linearVelocity, self._radius) for ball in self._balls]
        return np.array([*np.ravel([*values, (0.0,) * 5][:2]), *self._screen, self._post_left()], np.float64)

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`. `hidden`: nothing of some ball is to be seen, because the screen is before it."""
        return self._events

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """There is nothing to do but to watch."""
        return lambda: None

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        values = self._attributes
        ball, other, screen, back = (str(values[name]) for name in ("ball_color", "other_color", "screen_color", "background_color"))
        wall = f"{article(screen)} screen"
        gone, again = "vanishes" in self._happened, "reappears" in self._happened
        subjects = [
            f"{article(ball)} ball",
            f"{article('fast' if float(values['speed_m_s']) > 3.6 else 'slow')} {ball} ball",
            f"in front of {article(back)} background, {article(ball)} ball",
            f"{article(ball)} disc",
        ]
        if values["course"] == "meets":
            subjects = [
                f"{article(ball)} ball and {article(other)} ball",
                f"{article(ball)} and {article(other)} ball",
                f"in front of {article(back)} background, {article(ball)} and {article(other)} disc",
                f"two balls, {ball} and {other},",
            ]
            met = "collision" in self._happened
            ending = " and come out on their own sides again" if met and again else (" and hit each other there" if met else "")
            outcomes = [f"roll behind {wall}{ending}", f"disappear behind {wall}{ending}", f"meet behind {wall}{ending}"]
            outcomes = outcomes if gone else [f"roll towards {wall}", f"come closer to {wall}", f"approach {wall} from both sides"]
        else:
            verbs = {"rolls": ("rolls", "rolls on"), "bounces": ("bounces", "hops"), "returns": ("rolls", "rolls against a post")}
            verb, other_verb = verbs[str(values["course"])]
            side = "on the same side" if values["course"] == "returns" else "on the other side"
            ending = f" and comes out again {side}" if again else ""
            outcomes = [f"{verb} behind {wall}{ending}", f"is hidden by {wall}{ending}", f"{other_verb} behind {wall}{ending}"]
            outcomes = outcomes if gone else [f"{verb} towards {wall}", f"comes closer to {wall}", f"approaches {wall}"]
        return [sentence(f"{subject} {outcome}") for subject in subjects for outcome in outcomes]
