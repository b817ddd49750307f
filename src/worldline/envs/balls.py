"""Balls: one law of mechanics at a time, as in PhyWorld (Kang et al. 2024, How Far is Video Generation from World Model): a ball that
rolls on, two that collide, one that is thrown. The physics is Box2D's (zlib licence); only the discs are drawn here.

Radii and speeds have PhyWorld's ranges in and (above) out of distribution: 0.7 to 1.5 m and 1 to 4 m/s, 1.6 to 2 m and 4.5 to 6 m/s.

May import: interfaces, envs.simulator, envs.colors, envs.phrases, envs.rolling_balls, numpy, Box2D and cv2 (extra `sim-2d`). Refuses to
know: clips, files.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np

from worldline.envs.colors import COLORS
from worldline.envs.phrases import article, sentence
from worldline.envs.rolling_balls import OVERSAMPLING, STEPS_PER_FRAME, VIEW_M, Touches, add_ground, draw_ball
from worldline.envs.simulator import Act, Attribute, Simulator, Value

with warnings.catch_warnings():
    # Its generated wrapper lacks a `__module__`, and crashes where that warning is an error.
    warnings.simplefilter("ignore")
    from Box2D import b2CircleShape, b2FixtureDef, b2World

FLOOR_M = 1.0


class Balls(Simulator):
    """See `Simulator`. Metres and seconds."""

    name = "balls"
    extra = "sim-2d"
    rate_hz = 20.0
    action_spec = None
    state_names = tuple(f"{ball}_{what}" for ball in ("first", "second") for what in ("x", "y", "velocity_x", "velocity_y", "radius"))
    event_names = ("collision", "bounce", "out_of_view")
    policy_names = ("watch",)
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="motion", kind="scene", usual=("uniform", "collision", "parabola")),
        Attribute(name="radius_m", kind="scene", usual=(0.7, 1.5), unusual=(1.6, 2.0)),
        Attribute(name="other_radius_m", kind="scene", usual=(0.7, 1.5), unusual=(1.6, 2.0)),
        Attribute(name="speed_m_s", kind="physics", usual=(1.0, 4.0), unusual=(4.5, 6.0)),
        Attribute(name="other_speed_m_s", kind="physics", usual=(1.0, 4.0), unusual=(4.5, 6.0)),
        Attribute(name="gravity_m_s2", kind="physics", usual=(8.5, 11.0), unusual=(2.0, 5.0)),
        Attribute(name="restitution", kind="physics", usual=(0.95, 1.0), unusual=(0.3, 0.6)),
        Attribute(name="ball_color", kind="appearance", usual=("red", "blue", "green"), unusual=("magenta", "cyan")),
        Attribute(name="other_color", kind="appearance", usual=("orange", "purple", "teal"), unusual=("lime", "pink")),
        Attribute(name="background_color", kind="appearance", usual=("white", "cream", "light gray"), unusual=("black", "navy")),
    )

    def __init__(self) -> None:
        self._attributes: dict[str, Value] = {}
        self._world = b2World()
        self._touches = Touches()
        self._balls: list[tuple[Any, float]] = []
        self._happened: set[str] = set()
        self._events: dict[str, bool] = {}

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        generator = np.random.default_rng(seed)
        where = float(generator.uniform())
        self._attributes = dict(attributes)
        motion = attributes["motion"]
        radius, other = float(attributes["radius_m"]), float(attributes["other_radius_m"])
        speed, other_speed = float(attributes["speed_m_s"]), float(attributes["other_speed_m_s"])
        self._world = b2World(gravity=(0, -float(attributes["gravity_m_s2"]) if motion == "parabola" else 0), doSleep=False)
        self._touches = Touches()
        self._world.contactListener = self._touches
        self._balls = []
        if motion == "uniform":
            self._add("ball", (radius + where, 2 + radius + where * (VIEW_M - 4 - 2 * radius)), (speed, 0.0), radius)
        elif motion == "collision":
            height = 4 + 4 * where
            self._add("ball", (radius + 0.2, height), (speed, 0.0), radius)
            self._add("other", (VIEW_M - other - 0.2, height), (-other_speed, 0.0), other)
        else:
            add_ground(self._world, "ground", FLOOR_M)
            self._add("ball", (radius + 0.2, 7 + 2.5 * where), (speed, 0.0), radius)
        self._happened = set()
        self._events = dict.fromkeys(self.event_names, False)

    def _add(self, name: str, position: tuple[float, float], velocity: tuple[float, float], radius: float) -> None:
        fixture = b2FixtureDef(
            shape=b2CircleShape(radius=radius), density=1.0, friction=0.0, restitution=float(self._attributes["restitution"])
        )
        body = self._world.CreateDynamicBody(position=position, linearVelocity=velocity, fixtures=fixture, userData=name, bullet=True)
        self._balls.append((body, radius))

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        self._touches.names.clear()
        for _ in range(STEPS_PER_FRAME):
            self._world.Step(1 / self.rate_hz / STEPS_PER_FRAME, 10, 10)
        state = self.state()
        outside = [_outside(*state[start : start + 2], state[start + 4]) for start in (0, 5)[: len(self._balls)]]
        self._events = {
            "collision": frozenset(("ball", "other")) in self._touches.names,
            "bounce": frozenset(("ball", "ground")) in self._touches.names,
            "out_of_view": any(outside),
        }
        self._happened |= {name for name, happened in self._events.items() if happened}

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`."""
        side = size * OVERSAMPLING
        picture = np.full((side, side, 3), COLORS[str(self._attributes["background_color"])], np.uint8)
        scale = side / VIEW_M
        if self._attributes["motion"] == "parabola":
            picture[round((VIEW_M - FLOOR_M) * scale) :] = COLORS["brown"]
        for (body, radius), color in zip(self._balls, ("ball_color", "other_color")):
            draw_ball(cv2, picture, (body.position.x, body.position.y), radius, COLORS[str(self._attributes[color])])
        return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)

    def state(self) -> np.ndarray:
        """See `Simulator.state`. Zeros stand for a second ball that is not there."""
        values = [(*body.position, *body.linearVelocity, radius) for body, radius in self._balls]
        return np.array([*values, (0.0,) * 5][:2], np.float64).ravel()

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`."""
        return self._events

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """There is nothing to do but to watch."""
        return lambda: None

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        values = self._attributes
        ball, other, back = (str(values[name]) for name in ("ball_color", "other_color", "background_color"))
        first = f"{'fast' if float(values['speed_m_s']) > 2.5 else 'slow'} {ball} ball"
        big = f"{'large' if float(values['radius_m']) > 1.1 else 'small'} {ball} ball"
        if values["motion"] == "uniform":
            leaves = " and leaves the picture" if "out_of_view" in self._happened else ""
            subjects = (article(first), article(big), f"{article(ball)} disc", f"on {article(back)} background, {article(ball)} ball")
            outcomes = (
                f"moves to the right at constant speed{leaves}",
                f"glides on without friction{leaves}",
                f"keeps its velocity{leaves}",
            )
        elif values["motion"] == "collision":
            hit = "collision" in self._happened
            subjects = (
                f"{article(ball)} ball and {article(other)} ball",
                f"{article(first)} and {article(other)} one",
                f"{article(big)} and {article(other)} ball",
                f"on {article(back)} background, {article(ball)} and {article(other)} disc",
            )
            outcomes = (
                ("collide head-on", "meet and bounce off each other", "hit each other")
                if hit
                else (("move towards each other", "come closer without touching yet", "are on course to collide"))
            )
        else:
            hit = "bounce" in self._happened
            floor = " and bounces off the brown floor" if hit else " towards the brown floor"
            subjects = (article(first), article(big), f"{article(ball)} disc", f"on {article(back)} background, {article(ball)} ball")
            outcomes = (f"flies along a parabola{floor}", f"is thrown to the right and falls{floor}", f"falls under gravity{floor}")
        return [sentence(f"{subject} {outcome}") for subject in subjects for outcome in outcomes]


def _outside(x: float, y: float, radius: float) -> bool:
    """Whether nothing of a ball is in view."""
    return x < -radius or x > VIEW_M + radius or y < -radius or y > VIEW_M + radius
