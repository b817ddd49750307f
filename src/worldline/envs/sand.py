"""Sand: grains run out of a hopper into two bins, heap up, spill, and jam where the mouth is narrow. The physics is Box2D's (zlib licence).

Some hundred discs or squares with friction are a coarse sand: they flow at a rate that hardly depends on how full the hopper is, form
heaps with a slope, and arch over a mouth of few grains' width. The hopper slides sideways and its gate opens by the action.

May import: interfaces, envs.simulator, envs.colors, envs.phrases, envs.wander, envs.opencv, numpy, Box2D and cv2 (extra `sim-2d`).
Refuses to know: clips, files.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from worldline.envs.colors import COLORS
from worldline.envs.opencv import import_opencv
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.envs.wander import hold_random
from worldline.interfaces import ActionSpec

with warnings.catch_warnings():
    # Its generated wrapper lacks a `__module__`, and crashes where that warning is an error.
    warnings.simplefilter("ignore")
    from Box2D import b2CircleShape, b2FixtureDef, b2PolygonShape, b2World

VIEW_M = 12.0
"""Side of the square that is seen; x to the right and y up from its lower left corner."""

FLOOR_M = 0.6
BIN_WALLS_M = (1.4, 6.0, 10.6)
BIN_TOP_M = 2.6
MOUTH_M = 6.2
"""Height of the hopper's mouth."""

FILLED_SHARE = 0.4
JAM_FRAMES = 8
_WALL_M = 0.16  # thickness
_FUNNEL_M = (2.2, 2.2, 4.9)  # half its width at the top, height of the slope, height of all
_SAND_M2 = 6.5  # of grains, however large they are
_STEPS_PER_FRAME = 6
_SETTLE_FRAMES = 20
_GATE_PER_FRAME = 0.2  # of its way, at most
_OVERSAMPLING = 4
_SHIFT = 4  # fractional bits of a coordinate, for cv2


class Sand(Simulator):
    """See `Simulator`. Metres and seconds."""

    name = "sand"
    extra = "sim-2d"
    rate_hz = 16.0
    action_spec = ActionSpec(low=(-2.5, 0.0), high=(2.5, 1.0), names=("hopper_velocity", "gate"))
    state_names = (
        *("hopper_x", "gate_open", "num_grains", "in_hopper", "in_left_bin", "in_right_bin", "on_floor", "in_flight"),
        *("left_heap_top", "right_heap_top", "mean_height", "mean_speed"),
    )
    event_names = ("flows", "jam", "left_bin_fills", "right_bin_fills", "spill", "hopper_empty")
    policy_names = ("fill", "sway", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="grain_shape", kind="scene", usual=("round",), unusual=("square",)),
        Attribute(name="grain_radius_m", kind="scene", usual=(0.13, 0.17), unusual=(0.19, 0.22)),
        Attribute(name="mouth_width_m", kind="scene", usual=(0.85, 1.5), unusual=(1.7, 2.0)),
        Attribute(name="friction", kind="physics", usual=(0.3, 0.7), unusual=(0.0, 0.08)),
        Attribute(name="restitution", kind="physics", usual=(0.0, 0.2), unusual=(0.5, 0.7)),
        Attribute(name="gravity_m_s2", kind="physics", usual=(8.5, 11.0), unusual=(2.5, 5.0)),
        Attribute(name="lower_color", kind="appearance", usual=("orange", "brown", "red"), unusual=("magenta", "black")),
        Attribute(name="upper_color", kind="appearance", usual=("yellow", "beige", "white"), unusual=("cyan", "lime")),
        Attribute(name="hopper_color", kind="appearance", usual=("gray", "green", "purple"), unusual=("crimson", "blue")),
        Attribute(name="background_color", kind="appearance", usual=("navy", "teal"), unusual=("mint", "pink")),
    )

    def __init__(self) -> None:
        self._cv2 = import_opencv(self.extra)
        self._world = b2World()
        self._attributes: dict[str, Value] = {}
        self._grains: list[Any] = []
        self._happened: set[str] = set()
        self._events: dict[str, bool] = {}

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`. The grains have come to rest in the hopper."""
        generator = np.random.default_rng(seed)
        self._attributes = dict(attributes)
        self._radius, self._mouth = float(attributes["grain_radius_m"]), float(attributes["mouth_width_m"])
        self._world = b2World(gravity=(0, -float(attributes["gravity_m_s2"])), doSleep=False)
        ground = self._world.CreateStaticBody()
        for box in _bins():
            self._wall(ground, box)
        self._hopper_walls = _hopper(self._mouth)
        self._hopper = self._world.CreateKinematicBody(position=(float(generator.uniform(2.6, 9.4)), MOUTH_M))
        for quad in self._hopper_walls:
            self._wall(self._hopper, quad)
        # The gate slides to the right; it is a little wider than the mouth and lies just below it.
        self._gate = self._world.CreateKinematicBody(position=(self._hopper.position.x, MOUTH_M - 0.14))
        self._gate_quad = _box(-self._mouth / 2 - 0.1, -0.08, self._mouth / 2 + 0.1, 0.08)
        self._wall(self._gate, self._gate_quad)
        self._open = 0.0
        self._fill(generator)
        self._events = dict.fromkeys(self.event_names, False)
        self._happened = set()
        for _ in range(_SETTLE_FRAMES):
            self._advance(0.0, 0.0)
        height = np.array([grain.position.y for grain in self._grains])
        self._is_upper = height > np.median(height)
        self._since_flow = 0

    def _wall(self, body: Any, corners: np.ndarray) -> None:
        shape = b2PolygonShape(vertices=[(float(x), float(y)) for x, y in corners])
        body.CreateFixture(shape=shape, friction=float(self._attributes["friction"]), restitution=0.0)

    def _fill(self, generator: np.random.Generator) -> None:
        """Grains on a lattice inside the hopper, each a little off its place."""
        r, square = self._radius, self._attributes["grain_shape"] == "square"
        count = round(_SAND_M2 / (math.pi * r * r))
        side = r * math.sqrt(math.pi) / 2  # half a side of a square as large as the disc
        shape = b2PolygonShape(box=(side, side)) if square else b2CircleShape(radius=r)
        fixture = b2FixtureDef(
            shape=shape, density=1.0, friction=float(self._attributes["friction"]), restitution=float(self._attributes["restitution"])
        )
        self._grains = []
        pitch = 2.12 * r if not square else 2.6 * r  # a square turned by an eighth reaches further
        y = 0.3 + pitch
        while len(self._grains) < count:
            half = self._half_width(y) - _WALL_M - 1.3 * r
            for x in np.arange(-half, half + 1e-9, pitch) if half > 0 else ():
                if len(self._grains) == count:
                    break
                place = (self._hopper.position.x + float(x + generator.uniform(-0.02, 0.02)), MOUTH_M + y)
                angle = float(generator.uniform(-0.3, 0.3))
                self._grains.append(self._world.CreateDynamicBody(position=place, angle=angle, fixtures=fixture))
            y += pitch

    def _half_width(self, height: float) -> float:
        """Of the hopper, that many metres above its mouth."""
        top, slope, _ = _FUNNEL_M
        return self._mouth / 2 + (top - self._mouth / 2) * min(1.0, height / slope)

    def _advance(self, velocity: float, opening: float) -> None:
        """One frame under a velocity of the hopper, with the gate on its way to `opening`."""
        x = self._hopper.position.x
        low, high = _reach()
        velocity = min(max(velocity, (low - x) * self.rate_hz), (high - x) * self.rate_hz)
        change = min(max(opening - self._open, -_GATE_PER_FRAME), _GATE_PER_FRAME)
        self._open += change
        self._hopper.linearVelocity = (velocity, 0)
        self._gate.linearVelocity = (velocity + change * (self._mouth + 0.2) * self.rate_hz, 0)
        for _ in range(_STEPS_PER_FRAME):
            self._world.Step(1 / self.rate_hz / _STEPS_PER_FRAME, 8, 4)

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        assert action is not None
        before = dict(zip(self.state_names, self.state()))
        self._advance(float(action[0]), min(max(float(action[1]), 0.0), 1.0))
        now = dict(zip(self.state_names, self.state()))
        flows = now["in_hopper"] < before["in_hopper"]
        waits = not flows and self._open > 0.9 and now["in_hopper"] > 0.05 * now["num_grains"]
        self._since_flow = self._since_flow + 1 if waits else 0
        self._events = {
            "flows": flows,
            "jam": self._since_flow >= JAM_FRAMES,
            "left_bin_fills": now["in_left_bin"] > FILLED_SHARE * now["num_grains"],
            "right_bin_fills": now["in_right_bin"] > FILLED_SHARE * now["num_grains"],
            "spill": now["on_floor"] > before["on_floor"],
            "hopper_empty": now["in_hopper"] == 0,
        }
        self._happened |= {name for name, happened in self._events.items() if happened}

    def state(self) -> np.ndarray:
        """See `Simulator.state`. Grains are counted where they are; a heap's top is 0 for an empty bin."""
        x, y = np.array([grain.position for grain in self._grains]).T
        speed = np.linalg.norm([grain.linearVelocity for grain in self._grains], axis=1)
        left, middle, right = BIN_WALLS_M
        in_hopper = y > MOUTH_M
        in_left, in_right = ((y < BIN_TOP_M) & (x > low) & (x < high) for low, high in ((left, middle), (middle, right)))
        on_floor = (y < BIN_TOP_M) & ((x <= left) | (x >= right))
        counts = [some.sum() for some in (in_hopper, in_left, in_right, on_floor)]
        tops = [float(y[some].max()) if some.any() else 0.0 for some in (in_left, in_right)]
        whole = len(self._grains)
        means = y.mean(), speed.mean()
        return np.array([self._hopper.position.x, self._open, whole, *counts, whole - sum(counts), *tops, *means], np.float64)

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`."""
        side = size * _OVERSAMPLING
        scale = side / VIEW_M
        picture = np.full((side, side, 3), COLORS[str(self._attributes["background_color"])], np.uint8)
        picture[round((VIEW_M - FLOOR_M) * scale) :] = COLORS["dark gray"]

        def at(points: np.ndarray) -> np.ndarray:
            """Metres (..., 2) to fractions of pixels."""
            return np.rint(np.stack([points[..., 0], VIEW_M - points[..., 1]], -1) * scale * 2**_SHIFT).astype(np.int32)

        for box in _bins()[1:]:
            self._cv2.fillConvexPoly(picture, at(box), COLORS["light gray"], self._cv2.LINE_AA, _SHIFT)
        places = np.array([grain.position for grain in self._grains])
        colors = [COLORS[str(self._attributes[name])] for name in ("lower_color", "upper_color")]
        radius = round(self._radius * scale * 2**_SHIFT)
        for grain, place, upper in zip(self._grains, at(places), self._is_upper, strict=True):
            if self._attributes["grain_shape"] == "round":
                self._cv2.circle(picture, place.tolist(), radius, colors[int(upper)], self._cv2.FILLED, self._cv2.LINE_AA, _SHIFT)
            else:
                corners = np.array([grain.GetWorldPoint(corner) for corner in grain.fixtures[0].shape.vertices])
                self._cv2.fillConvexPoly(picture, at(corners), colors[int(upper)], self._cv2.LINE_AA, _SHIFT)
        for body, quads, color in (
            (self._hopper, self._hopper_walls, COLORS[str(self._attributes["hopper_color"])]),
            (self._gate, [self._gate_quad], COLORS["light gray"]),
        ):
            for quad in quads:
                self._cv2.fillConvexPoly(picture, at(quad + np.array(body.position)), color, self._cv2.LINE_AA, _SHIFT)
        return self._cv2.resize(picture, (size, size), interpolation=self._cv2.INTER_AREA)

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`. `jam`: the gate is open, the hopper is not empty, and nothing has come out for `JAM_FRAMES` frames."""
        return self._events

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`fill` goes over a bin, opens the gate and may go over to the other; `sway` swings to and fro, `random` does not know of bins."""
        assert self.action_spec is not None
        if name == "random":
            return hold_random(self.action_spec, generator, shortest=4, longest=16)
        if name not in self.policy_names:
            raise ValueError(f"{self.name} has no policy {name!r}; choose one of {', '.join(self.policy_names)}")
        opens, changes, frame = int(generator.integers(2, 12)), int(generator.integers(24, 60)), 0
        closes = generator.random() < 0.3
        first = int(generator.integers(2))
        places = generator.uniform([2.0, 6.8], [5.2, 10.0])[[first, 1 - first]]
        swing, period = float(generator.uniform(1.5, 3.0)), float(generator.uniform(16, 30))

        def choose() -> np.ndarray:
            nonlocal frame
            frame += 1
            goal = VIEW_M / 2 + swing * math.sin(2 * math.pi * frame / period) if name == "sway" else places[int(frame >= changes)]
            gate = float(frame >= opens and not (closes and name == "fill" and changes - 4 <= frame < changes + 6))
            return np.array([4 * (goal - self._hopper.position.x), gate])

        return choose

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        values = self._attributes
        lower, upper, hopper = (str(values[f"{what}_color"]) for what in ("lower", "upper", "hopper"))
        if "jam" in self._happened:
            outcomes = ["jams in the mouth", "gets stuck above the open gate", "arches over the mouth and stops"]
        elif "flows" not in self._happened:
            outcomes = ["stays in the hopper", "waits behind the closed gate", "does not run out"]
        else:
            filled = [side for side in ("left", "right") if f"{side}_bin_fills" in self._happened]
            where = {0: "into the bins", 1: f"into the {filled[0] if filled else ''} bin", 2: "into both bins"}[len(filled)]
            rest = " until the hopper is empty" if "hopper_empty" in self._happened else ""
            rest += " and some is spilled" if "spill" in self._happened else ""
            outcomes = [f"runs {where}{rest}", f"flows {where}{rest}", f"trickles {where} and heaps up{rest}"]
        grains = "angular" if values["grain_shape"] == "square" else "round"
        subjects = (
            f"{upper} on {lower} sand in {article(hopper)} hopper",
            f"{lower} and {upper} sand",
            f"coarse sand of {grains} grains, {lower} below and {upper} above,",
            f"in front of {article(str(values['background_color']))} background, sand from {article(hopper)} funnel",
        )
        return [sentence(f"{subject} {outcome}") for subject in subjects for outcome in outcomes]


def _box(left: float, bottom: float, right: float, top: float) -> np.ndarray:
    """Corners (4, 2)."""
    return np.array([[left, bottom], [right, bottom], [right, top], [left, top]])


def _bins() -> list[np.ndarray]:
    """Corners of the floor and of the three walls of the bins."""
    walls = [_box(x - _WALL_M / 2, FLOOR_M - 0.1, x + _WALL_M / 2, BIN_TOP_M) for x in BIN_WALLS_M]
    return [_box(-20.0, FLOOR_M - 1.0, VIEW_M + 20.0, FLOOR_M), *walls]


def _hopper(mouth: float) -> list[np.ndarray]:
    """Corners of the hopper's walls, from the middle of its mouth: on each side a slope and an upright."""
    top, slope, height = _FUNNEL_M
    walls = []
    for side in (-1.0, 1.0):
        inner, outer = side * mouth / 2, side * (mouth / 2 + _WALL_M)
        walls.append(np.array([[inner, 0.0], [outer, 0.0], [side * (top + _WALL_M), slope], [side * top, slope]]))
        walls.append(_box(min(side * top, side * (top + _WALL_M)), slope, max(side * top, side * (top + _WALL_M)), height))
    return walls


def _reach() -> tuple[float, float]:
    """Where the hopper's middle may be: wholly in view."""
    margin = _FUNNEL_M[0] + _WALL_M + 0.05
    return margin - 0.8, VIEW_M - margin + 0.8
