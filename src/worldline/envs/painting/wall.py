"""A robot paints a wall: strokes of libmypaint's brushes, and whatever lands where it should not.

Paint is laid by libmypaint alone (`mypaint`); ours are the room (`room`), the painters, the robot's picture and the words.

May import: interfaces, numpy, cv2 (on demand), `mypaint`, `room`. Refuses to know: clips, files.
"""

import colorsys
import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from worldline.envs.colors import share_of_full
from worldline.envs.opencv import import_opencv
from worldline.envs.painting.mypaint import Brush, Surface, load_library
from worldline.envs.painting.painters import careful, scribble, sloppy
from worldline.envs.painting.room import PARTS, SIZE, furnish
from worldline.envs.phrases import listed, sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.envs.wander import hold_random
from worldline.interfaces import ActionSpec

EXTRA = "sim-paint"
PRESETS = {
    "round brush": ("ramon/wet_round", 1.0),
    "bristle brush": ("tanda/acrylic-03-paint", 1.4),
    "marker": ("ramon/100%_Opaque", 1.05),
    "dry brush": ("classic/dry_brush", 2.2),
    "spray can": ("deevad/spray", 3.0),
}
"""What a tool is called, its preset, and how far its paint reaches in multiples of its radius."""
RADIUS_PIXELS = (4.0, 26.0)
NUM_POINTS = 8
"""Points of a stroke per frame."""
PAINTED_OPACITY = 0.5
COVERED_SHARE = 0.9
SPOILED_SHARE = 0.01


class PaintedRoom(Simulator):
    """Seen from the front: a wall to be painted, a skirting board, a floor with a rug that should stay clean, and the robot's arm."""

    name: ClassVar[str] = "painting"
    extra: ClassVar[str] = EXTRA
    rate_hz: ClassVar[float] = 10.0
    action_spec: ClassVar[ActionSpec | None] = ActionSpec(
        low=(0.0, 0.0, 0.0, -0.5, 0.0), high=(1.0, 1.0, 1.0, 0.5, 1.0), names=("x", "y", "pressure", "hue_shift", "radius")
    )
    state_names: ClassVar[tuple[str, ...]] = (
        "brush_x", "brush_y", "pressure", "hue_shift", "radius_pixels", *(f"{part}_painted" for part in PARTS), "wall_bottom",
    )  # fmt: skip
    event_names: ClassVar[tuple[str, ...]] = (
        "paint_outside_wall", "paint_on_skirting", "paint_on_rug", "paint_on_floor", "paint_on_fixture", "wall_covered",
    )  # fmt: skip
    policy_names: ClassVar[tuple[str, ...]] = ("careful", "sloppy", "scribble", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="fixture", kind="scene", usual=("none", "window"), unusual=("door",)),
        Attribute(name="rug_shape", kind="scene", usual=("oblong", "oval")),
        Attribute(name="brush", kind="physics", usual=("round brush", "bristle brush", "marker"), unusual=("dry brush", "spray can")),
        Attribute(name="paint_opacity", kind="physics", usual=(0.85, 1.0), unusual=(0.15, 0.5)),
        Attribute(name="paint_color", kind="appearance", usual=("red", "blue", "green", "yellow", "orange"), unusual=("pink", "purple")),
        Attribute(name="wall_color", kind="appearance", usual=("white", "cream", "gray"), unusual=("mint", "lilac")),
        Attribute(name="skirting_color", kind="appearance", usual=("white", "brown"), unusual=("black",)),
        Attribute(name="floor_color", kind="appearance", usual=("brown", "gray"), unusual=("navy",)),
        Attribute(name="rug_color", kind="appearance", usual=("red", "teal", "blue", "cream"), unusual=("yellow", "black")),
    )
    determinism: ClassVar[str] = "Bit-exact: a brush's random numbers start at the same place in every episode."

    def __init__(self) -> None:
        self._cv2 = import_opencv(EXTRA)
        load_library()
        self._surface: Surface | None = None
        self._brush: Brush | None = None

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """A clean room and a full bucket; `attributes` as in the class."""
        self.close()
        self._attributes = dict(attributes)
        self._room = furnish(np.random.default_rng(seed), attributes, extra=EXTRA)
        self._surface = Surface(SIZE)
        self._brush = Brush(PRESETS[str(attributes["brush"])][0])
        self._brush.set("opaque", self._brush.get("opaque") * float(attributes["paint_opacity"]))
        red, green, blue = (float(share) for share in share_of_full(attributes["paint_color"]))
        self._paint = colorsys.rgb_to_hsv(red, green, blue)
        self._tool = np.array([0.5, 0.35, 0.0, 0.0, 0.5])
        self._brush.stroke(self._surface, self._points(self._tool, self._tool)[-1:], 1.0)
        self._seen: set[str] = set()
        self._hues = {0.0}
        self._events = dict.fromkeys(self.event_names, False)
        self._measure()

    def step(self, action: np.ndarray | None) -> None:
        """Move the brush straight to (x, y) from where it is, at one pressure all the way."""
        assert action is not None
        assert self.action_spec is not None
        assert self._surface is not None
        assert self._brush is not None
        tool = np.clip(np.asarray(action, dtype=np.float64), self.action_spec.low, self.action_spec.high)
        hue, saturation, value = self._paint
        self._brush.set("color_h", (hue + tool[3]) % 1.0)
        self._brush.set("color_s", saturation)
        self._brush.set("color_v", value)
        self._brush.set("radius_logarithmic", math.log(_radius(tool)))
        self._brush.stroke(self._surface, self._points(self._tool, tool), 1 / (self.rate_hz * NUM_POINTS))
        self._tool = tool
        if tool[2] > 0:
            self._hues.add(round(float(tool[3]), 2))
        self._measure()
        self._events = events_of(self._value)
        self._seen |= {event for event, happened in self._events.items() if happened}

    def _points(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Way points (N, 3) in pixels from the top left, and pressure."""
        share = np.linspace(0, 1, NUM_POINTS + 1)[1:, None]
        place = old[:2] + share * (new[:2] - old[:2])
        return np.stack([place[:, 0] * SIZE, (1 - place[:, 1]) * SIZE, np.full(NUM_POINTS, new[2])], 1)

    def state(self) -> np.ndarray:
        """The tool, and the painted share of every part of the room."""
        return self._state.copy()

    def canvas(self, size: int) -> np.ndarray:
        """The paint alone, without room and arm: (size, size, 4), red, green, blue times opacity, and opacity, means over areas."""
        return self._pixels.reshape(size, SIZE // size, size, SIZE // size, 4).mean((1, 3))

    def events(self) -> Mapping[str, bool]:
        """What is spoiled or finished by now; paint stays where it is."""
        return dict(self._events)

    def _value(self, name: str) -> float:
        return float(self._state[self.state_names.index(name)])

    def _measure(self) -> None:
        assert self._surface is not None
        self._pixels = self._surface.pixels()
        painted = self._pixels[..., 3] > PAINTED_OPACITY
        shares = [float(painted[mask].mean()) if mask.any() else 0.0 for mask in self._room.masks.values()]
        x, y, pressure, shift, _ = self._tool
        self._state = np.array([x, y, pressure, shift, _radius(self._tool), *shares, 1 - self._room.wall_bottom / SIZE])

    def render(self, size: int) -> np.ndarray:
        """The room with its paint, and the robot's arm with the brush in front."""
        paint, opacity = self._pixels[..., :3].astype(np.float64), self._pixels[..., 3:].astype(np.float64)
        shade = self._room.picture.mean(-1, keepdims=True) / max(self._room.picture.mean(), 1)
        picture = 255 * paint * np.clip(0.85 + 0.15 * shade, 0, 1) + self._room.picture * (1 - opacity)
        self._draw_robot(picture)
        small = self._cv2.resize(picture, (size, size), interpolation=self._cv2.INTER_AREA)
        return np.clip(np.rint(small), 0, 255).astype(np.uint8)

    def _draw_robot(self, picture: np.ndarray) -> None:
        cv2, (x, y, pressure, shift, _) = self._cv2, self._tool
        tip = np.array([x, 1 - y]) * SIZE
        base = np.array([(0.3 + 0.4 * x) * SIZE, SIZE - 6])
        foot = np.array([14.0, 6.0])
        elbow = (base + tip) / 2 + np.array([22.0 if x < 0.5 else -22.0, 8.0])
        for start, end, width, tone in ((base, elbow, 7, 70.0), (elbow, tip, 5, 95.0)):
            cv2.line(picture, _pixel(start), _pixel(end), (tone, tone + 3, tone + 12), width, cv2.LINE_AA)
        cv2.circle(picture, _pixel(elbow), 5, (235.0, 150.0, 40.0), -1, cv2.LINE_AA)
        cv2.rectangle(picture, _pixel(base - foot), _pixel(base + foot), (60.0, 62.0, 70.0), -1)
        hue, saturation, value = self._paint
        tone = [255 * channel for channel in colorsys.hsv_to_rgb((hue + shift) % 1.0, saturation, value)]
        radius = max(3, round(0.7 * _radius(self._tool)))
        cv2.circle(picture, _pixel(tip), radius, tone if pressure > 0 else (225.0, 225.0, 225.0), -1, cv2.LINE_AA)
        cv2.circle(picture, _pixel(tip), radius, (40.0, 40.0, 45.0), 2, cv2.LINE_AA)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`careful` stays on the wall, `sloppy` runs over its edges, `scribble` goes anywhere in any colour, `random` is uniform."""
        assert self.action_spec is not None
        if name == "random":
            return hold_random(self.action_spec, generator, shortest=1, longest=4)
        painters: dict[str, Callable[..., Act]] = {"careful": careful, "sloppy": sloppy, "scribble": scribble}
        if name not in painters:
            raise ValueError(f"{self.name} has no policy {name!r}; choose one of {', '.join(self.policy_names)}")
        return painters[name](generator, self._room, RADIUS_PIXELS, reach=PRESETS[str(self._attributes["brush"])][1])

    def captions(self) -> Sequence[str]:
        """Phrasings that name the paint, the wall and what was spoiled."""
        names = self._attributes
        paint = f"{names['paint_color']} paint" if len(self._hues) < 4 else "paint of many colours"
        wall, brush = f"{names['wall_color']} wall", str(names["brush"])
        rug, skirting = f"{names['rug_color']} {names['rug_shape']} rug", f"{names['skirting_color']} skirting board"
        fixture = f" with a {names['fixture']}" if names["fixture"] != "none" else ""
        spoiled = [
            words
            for event, words in (
                ("paint_on_skirting", f"the {skirting}"),
                ("paint_on_rug", f"the {rug}"),
                ("paint_on_floor", f"the {names['floor_color']} floor"),
                ("paint_on_fixture", f"the {names['fixture']}"),
            )
            if event in self._seen
        ]
        covered = self._value("wall_painted")
        how_much = "all of" if covered >= COVERED_SHARE else "most of" if covered >= 0.6 else "half of" if covered >= 0.35 else "a part of"
        result = f"paint lands on {listed(spoiled)}" if spoiled else f"the {skirting} and the {rug} stay clean"
        manner = "carelessly" if spoiled else "neatly"
        return [
            sentence(f"a robot arm paints {how_much} a {wall} with {paint} and a {brush}; {result}"),
            sentence(f"the robot paints the room: {paint} on the {wall}{fixture}, and {result}"),
            sentence(f"{how_much} the {wall}{fixture} is {manner} covered in {paint}"),
            sentence(f"{paint} goes onto a {wall} above a {skirting}; {result}"),
            sentence(f"a {brush} leaves {paint} on the {wall}{fixture}"),
            sentence(f"a room with a {wall}, a {skirting}, a {names['floor_color']} floor and a {rug} is painted; {result}"),
            sentence(f"someone has a robot repaint the {wall}; it works {manner} and {result}"),
            sentence(f"decorating: {how_much} the {wall} turns {names['paint_color'] if len(self._hues) < 4 else 'colourful'}"),
            sentence(f"the arm moves a {brush} dipped in {paint} across the {wall}{fixture}; {result}"),
            sentence(f"painting a {wall}, seen from the front, with a {rug} on the floor below; {result}"),
            sentence(f"{result} while a robot paints the {wall} with {paint}"),
            sentence(f"strokes of {paint} cover {how_much} the {wall}"),
        ]

    def close(self) -> None:
        """Free libmypaint's memory."""
        for thing in (self._surface, self._brush):
            if thing is not None:
                thing.close()
        self._surface = self._brush = None


def events_of(value: Callable[[str], float]) -> dict[str, bool]:
    """The events that hold in a state; `value` looks a component up by its name."""
    spoiled = {f"paint_on_{part}": value(f"{part}_painted") > SPOILED_SHARE for part in ("skirting", "rug", "floor", "fixture")}
    return {"paint_outside_wall": any(spoiled.values()), **spoiled, "wall_covered": value("wall_painted") >= COVERED_SHARE}


def _radius(tool: np.ndarray) -> float:
    low, high = RADIUS_PIXELS
    return low + float(tool[4]) * (high - low)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
