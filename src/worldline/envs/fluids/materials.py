"""Liquid, jelly and snow in a tank seen from the side: taichi's material point method (its shipped example `simulation.mpm128`).

Kernels and constitutive laws are the example's, reached through `taichi_examples`; ours are only the starting shapes, the hand that
pulls and tilts, the picture and the words. The solver has no viscosity, so a liquid here is never thick; what varies is gravity,
stiffness (of all three at once) and how hard the snow is packed.

Units are the solver's: the tank is 1 wide and high, gravity 1 is 30 tank widths per second squared, as 9.8 m/s2 in a tank 0.33 m wide.

May import: interfaces, numpy, taichi and cv2 (on demand). Refuses to know: clips, files.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import ClassVar

import numpy as np

from worldline.envs.colors import color
from worldline.envs.fluids.materials_scene import JELLY, LIQUID, SNOW, place, slosh, stir, tell
from worldline.envs.fluids.taichi_examples import EXTRA, load_example, start_taichi
from worldline.envs.opencv import import_opencv
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.envs.wander import hold_random
from worldline.interfaces import ActionSpec

MATERIALS = ("liquid", "jelly", "snow")
NUM_PARTICLES = 3000
NUM_CELLS = 64
FRAME_SECONDS = 0.008
CONTACT_GAP = 1.5 / NUM_CELLS
SPILLED_SHARE = 0.05
BROKEN_STRAIN = 0.05


class LiquidJellySnow(Simulator):
    """Three materials fall, slosh, bounce and break; a hand pulls or pushes them, and the tank can be tilted."""

    name: ClassVar[str] = "liquid_jelly_snow"
    extra: ClassVar[str] = EXTRA
    rate_hz: ClassVar[float] = 1 / FRAME_SECONDS
    action_spec: ClassVar[ActionSpec | None] = ActionSpec(
        low=(-1.0, 0.0, 0.0, -0.6), high=(1.0, 1.0, 1.0, 0.6), names=("tilt", "hand_x", "hand_y", "hand_pull")
    )
    state_names: ClassVar[tuple[str, ...]] = (
        *(
            f"{material}_{value}"
            for material in MATERIALS
            for value in ("x", "y", "spread_x", "spread_y", "velocity_x", "velocity_y", "energy")
        ),
        "liquid_top",
        "liquid_beyond_edge",
        "snow_broken",
        "liquid_jelly_gap",
        "liquid_snow_gap",
        "jelly_snow_gap",
        "tilt",
        "hand_x",
        "hand_y",
        "hand_pull",
    )
    event_names: ClassVar[tuple[str, ...]] = (
        "liquid_touches_jelly", "liquid_touches_snow", "jelly_touches_snow", "spill", "splash", "snow_breaks",
    )  # fmt: skip
    policy_names: ClassVar[tuple[str, ...]] = ("stir", "tilt", "still", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="arrangement", kind="scene", usual=("dam", "drop", "pile")),
        Attribute(name="wall_material", kind="scene", usual=("jelly", "snow")),
        Attribute(name="jelly_shape", kind="scene", usual=("block", "disc"), unusual=("triangle", "ring")),
        Attribute(name="gravity", kind="physics", usual=(0.7, 1.3), unusual=(0.15, 0.5)),
        Attribute(name="stiffness", kind="physics", usual=(3500, 5000, 7000), unusual=(1200, 12000)),
        Attribute(name="snow_hardness", kind="physics", usual=(0.7, 1.4), unusual=(2.5, 4.5)),
        Attribute(name="liquid_color", kind="appearance", usual=("blue", "teal", "orange"), unusual=("purple", "yellow")),
        Attribute(name="jelly_color", kind="appearance", usual=("red", "green", "pink"), unusual=("brown", "mint")),
        Attribute(name="background", kind="appearance", usual=("navy", "black", "gray"), unusual=("cream", "lilac")),
    )
    determinism: ClassVar[str] = "Bit-exact on one kind of processor: the solver runs on one thread with particles placed by the seed."

    def __init__(self) -> None:
        self._cv2 = import_opencv(EXTRA)
        start_taichi()
        self._solvers: dict[int, ModuleType] = {}

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Place the three bodies; `attributes` as in the class."""
        self._attributes = dict(attributes)
        stiffness = int(attributes["stiffness"])
        # The time step shrinks as sound gets faster, at the ratio of the example's own constants on this grid.
        self._num_substeps = math.ceil(40 * math.sqrt(max(stiffness, 5000) / 5000))
        if stiffness not in self._solvers:
            self._solvers[stiffness] = load_example(
                "simulation.mpm128",
                {"n_particles": NUM_PARTICLES, "n_grid": NUM_CELLS, "dt": FRAME_SECONDS / self._num_substeps, "E": float(stiffness)},
                main_loop="print(",
            )
        solver = self._solver = self._solvers[stiffness]
        generator = np.random.default_rng(seed)
        positions, self._material, self._edge = place(generator, self._attributes, NUM_PARTICLES)
        velocities = np.zeros_like(positions)
        if attributes["arrangement"] == "pile":
            velocities[:] = generator.uniform(-1.5, 1.5, (3, 2))[self._material]
        hardening = np.where(self._material == SNOW, 1 - math.log(float(attributes["snow_hardness"])) / 10, 1.0)
        solver.x.from_numpy(positions.astype(np.float32))
        solver.v.from_numpy(velocities.astype(np.float32))
        solver.material.from_numpy(self._material.astype(np.int32))
        solver.Jp.from_numpy(hardening.astype(np.float32))
        solver.F.from_numpy(np.tile(np.eye(2, dtype=np.float32), (NUM_PARTICLES, 1, 1)))
        solver.C.fill(0)
        self._hand = np.array([0.0, 0.5, 0.5, 0.0])
        self._first_hardening = hardening
        self._seen: set[str] = set()
        self._used = [False] * 4
        self._events = dict.fromkeys(self.event_names, False)
        self._measure()
        self._first = self._state.copy()

    def step(self, action: np.ndarray | None) -> None:
        """Tilt gravity and pull towards the hand for one frame."""
        assert action is not None
        assert self.action_spec is not None
        self._hand = np.clip(np.asarray(action, dtype=np.float64), self.action_spec.low, self.action_spec.high)
        self._used = [used or abs(value) > 0.05 for used, value in zip(self._used, self._hand, strict=True)]
        tilt, x, y, pull = self._hand
        solver, gravity = self._solver, float(self._attributes["gravity"])
        solver.gravity[None] = [gravity * float(tilt), -gravity]
        solver.attractor_pos[None] = [float(x), float(y)]
        solver.attractor_strength[None] = float(pull)
        for _ in range(self._num_substeps):
            solver.substep()
        self._measure()
        self._events = events_of(self._value, self._first[self.state_names.index("liquid_top")])
        self._seen |= {event for event, happened in self._events.items() if happened}

    def state(self) -> np.ndarray:
        """Summaries of the particles, as `state_names` says."""
        return self._state.copy()

    def events(self) -> Mapping[str, bool]:
        """Contacts and the rest, each of which lasts as long as it holds."""
        return dict(self._events)

    def _value(self, name: str) -> float:
        return float(self._state[self.state_names.index(name)])

    def _measure(self) -> None:
        self._positions = self._solver.x.to_numpy().astype(np.float64)
        velocities = self._solver.v.to_numpy().astype(np.float64)
        values: list[float] = []
        for material in range(3):
            points, speeds = self._positions[self._material == material], velocities[self._material == material]
            values += [*points.mean(0), *points.std(0), *speeds.mean(0), 0.5 * float((speeds**2).sum(1).mean())]
        liquid = self._positions[self._material == LIQUID]
        strain = np.abs(self._solver.Jp.to_numpy() - self._first_hardening)[self._material == SNOW]
        values += [
            float(np.quantile(liquid[:, 1], 0.98)),
            float((liquid[:, 0] > self._edge).mean()),
            float((strain > BROKEN_STRAIN).mean()),
        ]
        values += [self._gap(LIQUID, JELLY), self._gap(LIQUID, SNOW), self._gap(JELLY, SNOW)]
        self._state = np.array([*values, *self._hand])

    def _gap(self, one: int, other: int) -> float:
        """Distance between two materials, to a cell's width."""
        cells = np.clip((self._positions * NUM_CELLS).astype(int), 0, NUM_CELLS - 1)
        free = np.ones((NUM_CELLS, NUM_CELLS), np.uint8)
        free[tuple(cells[self._material == one].T)] = 0
        distance = self._cv2.distanceTransform(free, self._cv2.DIST_L2, 5)
        return float(distance[tuple(cells[self._material == other].T)].min()) / NUM_CELLS

    def render(self, size: int) -> np.ndarray:
        """The tank from the side; the hand is a ring, bright when it pulls and dark when it pushes."""
        scale = 4 if size <= 128 else 2
        fine = size * scale
        picture = np.empty((fine, fine, 3))
        background = color(self._attributes["background"])
        picture[:] = background * np.linspace(1.08, 0.85, fine)[:, None, None]
        self._draw_tank(picture, background)
        for material, paint, edge in (
            (LIQUID, color(self._attributes["liquid_color"]), 1.35),
            (JELLY, color(self._attributes["jelly_color"]), 0.55),
            (SNOW, color("white"), 0.85),
        ):
            cover = self._cover(material, fine)
            rim = np.clip(4 * cover * (1 - cover), 0, 1)
            shade = np.clip(paint * (1 + (edge - 1) * rim[..., None]), 0, 255)
            opacity = (0.85 if material == LIQUID else 1.0) * cover[..., None]
            picture += opacity * (shade - picture)
        _, x, y, pull = self._hand
        if abs(pull) > 0.02:
            tone = (255.0, 250.0, 160.0) if pull > 0 else (10.0, 10.0, 10.0)
            center = (round(x * fine), round((1 - y) * fine))
            self._cv2.circle(picture, center, round(0.035 * fine), tone, max(1, round(0.018 * fine * (0.4 + 0.6 * abs(pull)))))
        small = self._cv2.resize(picture, (size, size), interpolation=self._cv2.INTER_AREA)
        return np.clip(np.rint(small), 0, 255).astype(np.uint8)

    def _draw_tank(self, picture: np.ndarray, background: np.ndarray) -> None:
        edge = round(0.045 * len(picture))
        glass = 0.6 * background + 0.4 * color("gray")
        picture[-edge:] = picture[:, :edge] = picture[:, -edge:] = glass

    def _cover(self, material: int, fine: int) -> np.ndarray:
        """How much of each pixel a material covers (fine, fine), from its particles smoothed over their own spacing."""
        points = self._positions[self._material == material] * fine
        columns, rows = np.clip(points[:, 0].astype(int), 0, fine - 1), np.clip(fine - 1 - points[:, 1].astype(int), 0, fine - 1)
        density = np.bincount(rows * fine + columns, minlength=fine * fine).reshape(fine, fine).astype(np.float64)
        spacing = 0.5 / NUM_CELLS * fine
        density = self._cv2.GaussianBlur(density, (0, 0), spacing * 1.1) * spacing**2
        return np.clip((density - 0.12) / 0.2, 0, 1)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`stir` lifts and drops with the hand, `tilt` sloshes, `still` only lets things fall, `random` is uniform for some frames each."""
        if name == "still":
            return lambda: np.array([0.0, 0.5, 0.5, 0.0])
        if name == "tilt":
            return slosh(generator)
        if name == "stir":
            return stir(generator)
        if name == "random":
            assert self.action_spec is not None
            return hold_random(self.action_spec, generator)
        raise ValueError(f"{self.name} has no policy {name!r}; choose one of {', '.join(self.policy_names)}")

    def captions(self) -> Sequence[str]:
        """Phrasings that name the three materials, their colours, and what they did."""
        return tell(self._attributes, self._seen, hand=self._used[3], tilted=self._used[0])


def events_of(value: Callable[[str], float], first_liquid_top: float) -> dict[str, bool]:
    """The events that hold in a state; `value` looks a component up by its name."""
    return {
        "liquid_touches_jelly": value("liquid_jelly_gap") <= CONTACT_GAP,
        "liquid_touches_snow": value("liquid_snow_gap") <= CONTACT_GAP,
        "jelly_touches_snow": value("jelly_snow_gap") <= CONTACT_GAP,
        "spill": value("liquid_beyond_edge") >= SPILLED_SHARE,
        "splash": value("liquid_top") >= first_liquid_top + 0.08,
        "snow_breaks": value("snow_broken") >= 0.25,
    }
