"""Smoke that rises from a vent: phiflow's incompressible flow on NumPy.

Advection, buoyancy's force on the faces, diffusion and the pressure solve are phiflow's; ours are the vent, the picture and the words. The
box is closed at the sides and the floor and open at the top (a closed one has no solution while smoke pours in). The solve reads no
random numbers. One episode at a time is slow, because phiflow spends its time in Python and not in arithmetic: see docs/simulators.md.

Lengths are shares of the box's side; x goes right, y goes up.

May import: interfaces, numpy, phiflow and cv2 (on demand). Refuses to know: clips, files.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from worldline.envs.colors import color
from worldline.envs.fluids.taichi_examples import EXTRA
from worldline.envs.opencv import import_opencv
from worldline.envs.phrases import sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.envs.wander import hold_random, visit
from worldline.interfaces import ActionSpec

NUM_CELLS = 32
STEP_SECONDS = 0.1
VENT_RADIUS = 0.07
VENT_HEIGHT = 0.1
TOP = 0.9
ARRIVED_SHARE = 0.04


def import_phiflow() -> ModuleType:
    """`phi.flow` on its NumPy backend."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its own experimental parts at import
            from phi import flow  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(f'smoke runs on phiflow, which is not installed: pip install "worldline[{EXTRA}]"') from error
    return flow


class Smoke(Simulator):
    """A vent in the floor, which can be moved and opened, lets out smoke that rises through a box with an open top."""

    name: ClassVar[str] = "smoke"
    extra: ClassVar[str] = EXTRA
    rate_hz: ClassVar[float] = 1 / STEP_SECONDS
    action_spec: ClassVar[ActionSpec | None] = ActionSpec(low=(0.1, 0.0), high=(0.9, 1.0), names=("vent_x", "inflow"))
    state_names: ClassVar[tuple[str, ...]] = (
        "amount", "x", "y", "spread_x", "spread_y", "front_height", "share_at_top", "share_at_sides", "energy", "vent_x", "inflow",
    )  # fmt: skip
    event_names: ClassVar[tuple[str, ...]] = ("vent_open", "smoke_at_top", "smoke_at_side")
    policy_names: ClassVar[tuple[str, ...]] = ("plume", "puffs", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="buoyancy", kind="physics", usual=(0.6, 1.4), unusual=(2.2, 3.5)),
        Attribute(name="viscosity", kind="physics", usual=(0.0002, 0.0008), unusual=(0.0016, 0.0022)),
        Attribute(name="wind", kind="physics", usual=(-0.08, 0.08), unusual=(0.25, 0.4)),
        Attribute(name="smoke_color", kind="appearance", usual=("white", "orange", "pink"), unusual=("green", "yellow")),
        Attribute(name="background", kind="appearance", usual=("black", "navy"), unusual=("brown", "purple")),
    )
    determinism: ClassVar[str] = "Bit-exact on one kind of processor and one NumPy build."

    def __init__(self) -> None:
        self._cv2 = import_opencv(EXTRA)
        self._flow = import_phiflow()

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Clear air, slightly stirred; `attributes` as in the class."""
        flow = self._flow
        self._attributes = dict(attributes)
        generator = np.random.default_rng(seed)
        box = flow.Box(x=1, y=1)
        edges = {"x": 0, "y-": 0, "y+": flow.extrapolation.ZERO_GRADIENT}
        centers, mean = generator.uniform(0.1, 0.9, (3, 2)), generator.uniform(-0.25, 0.25, 3)

        def stirred(x: Any, y: Any) -> Any:
            # Curl of Gaussian bumps: a stirring without sources, so that no two episodes rise alike.
            across = up = 0.0
            for (a, b), strength in zip(centers, mean, strict=True):
                bump = strength * flow.math.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.03)
                across, up = across - bump * (y - b) / 0.15, up + bump * (x - a) / 0.15
            return flow.stack({"x": across, "y": up}, flow.channel("vector"))

        with _quiet():
            self._velocity = flow.StaggeredGrid(lambda x: stirred(*x.vector), edges, x=NUM_CELLS, y=NUM_CELLS, bounds=box)
            self._smoke = flow.CenteredGrid(0, flow.extrapolation.ZERO_GRADIENT, x=NUM_CELLS, y=NUM_CELLS, bounds=box)
        self._pressure: Any = None
        self._vent = np.array([0.5, 0.0])
        self._seen: set[str] = set()
        self._events = dict.fromkeys(self.event_names, False)
        self._measure()

    def step(self, action: np.ndarray | None) -> None:
        """Let smoke in at the vent, then move air and smoke on by one frame."""
        assert action is not None
        assert self.action_spec is not None
        flow, values = self._flow, self._attributes
        self._vent = np.clip(np.asarray(action, dtype=np.float64), self.action_spec.low, self.action_spec.high)
        x, inflow = (float(value) for value in self._vent)
        with _quiet():
            smoke = flow.advect.mac_cormack(self._smoke, self._velocity, STEP_SECONDS)
            vent = flow.Sphere(x=x, y=VENT_HEIGHT, radius=VENT_RADIUS)
            self._smoke = smoke + 4.0 * inflow * STEP_SECONDS * flow.resample(vent, to=smoke, soft=True)
            push = flow.resample(self._smoke * (float(values["wind"]), float(values["buoyancy"])), to=self._velocity)
            velocity = flow.advect.semi_lagrangian(self._velocity, self._velocity, STEP_SECONDS) + push * STEP_SECONDS
            velocity = flow.diffuse.explicit(velocity, float(values["viscosity"]), STEP_SECONDS)
            solve = flow.Solve("CG", 1e-3, 1e-3, x0=self._pressure, max_iterations=400, rank_deficiency=0)
            self._velocity, self._pressure = flow.fluid.make_incompressible(velocity, (), solve)
        self._measure()
        self._events = events_of(self._value)
        self._seen |= {event for event, happened in self._events.items() if happened}

    def state(self) -> np.ndarray:
        """Where the smoke is, how fast the air moves, and the vent."""
        return self._state.copy()

    def events(self) -> Mapping[str, bool]:
        """Each lasts as long as it holds."""
        return dict(self._events)

    def _value(self, name: str) -> float:
        return float(self._state[self.state_names.index(name)])

    def _measure(self) -> None:
        self._density = np.maximum(self._smoke.values.numpy("y,x").astype(np.float64), 0)
        speed = self._velocity.at(self._smoke).values.numpy("y,x,vector").astype(np.float64)
        grid = (np.arange(NUM_CELLS) + 0.5) / NUM_CELLS
        total = float(self._density.sum())
        across, up = (self._density.sum(axis) / max(total, 1e-9) for axis in (0, 1))
        x, y = (float((share * grid).sum()) for share in (across, up))
        spread = [float(np.sqrt(max((share * (grid - mean) ** 2).sum(), 0))) for share, mean in ((across, x), (up, y))]
        full = np.flatnonzero(self._density.max(1) > 0.1)
        sides = float(across[(grid < 0.08) | (grid > 0.92)].sum())
        front = float(grid[full[-1]]) if len(full) else 0.0
        energy = 0.5 * float((speed**2).sum(-1).mean())
        self._state = np.array([total / NUM_CELLS**2, x, y, *spread, front, float(up[grid > TOP].sum()), sides, energy, *self._vent])

    def render(self, size: int) -> np.ndarray:
        """The box from the side, its vent a bar in the floor that glows while it is open."""
        fine = size * (2 if size <= 128 else 1)
        background = color(self._attributes["background"])
        density = self._cv2.resize(self._density[::-1].copy(), (fine, fine), interpolation=self._cv2.INTER_CUBIC)
        opacity = (1 - np.exp(-1.6 * np.clip(density, 0, None)))[..., None]
        picture = background * np.linspace(0.9, 1.3, fine)[:, None, None] * np.ones((1, fine, 1))
        picture = np.ascontiguousarray(picture + opacity * (color(self._attributes["smoke_color"]) - picture))
        x, inflow = self._vent
        floor = round(0.96 * fine)
        picture[floor:] = (85, 85, 92)
        glow = (90.0 + 165.0 * inflow, 90.0 + 60.0 * inflow, 90.0 - 60.0 * inflow)
        corners = (round((x - VENT_RADIUS) * fine), floor), (round((x + VENT_RADIUS) * fine), fine - 1)
        self._cv2.rectangle(picture, *corners, glow, -1)
        small = self._cv2.resize(picture, (size, size), interpolation=self._cv2.INTER_AREA)
        return np.clip(np.rint(small), 0, 255).astype(np.uint8)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`plume` moves an open vent slowly, `puffs` opens it now and then at another place, `random` holds uniform actions."""
        assert self.action_spec is not None
        if name == "random":
            return hold_random(self.action_spec, generator)
        if name in ("plume", "puffs"):
            source = _plume(generator) if name == "plume" else _puffs(generator)
            return lambda: next(source)
        raise ValueError(f"{self.name} has no policy {name!r}; choose one of {', '.join(self.policy_names)}")

    def captions(self) -> Sequence[str]:
        """Phrasings that name the smoke and what it does."""
        smoke, dark = f"{self._attributes['smoke_color']} smoke", f"a {self._attributes['background']} background"
        wind = float(self._attributes["wind"])
        lean = "drifts to the right" if wind > 0.04 else "drifts to the left" if wind < -0.04 else "goes straight up"
        end = "escapes through the open top" if "smoke_at_top" in self._seen else "has not reached the top yet"
        thick = "thick, slow" if float(self._attributes["viscosity"]) > 0.001 else "thin, lively"
        wall = "touches the wall" if "smoke_at_side" in self._seen else "keeps clear of the walls"
        return [
            sentence(f"{smoke} rises from a vent in the floor and {end}"),
            sentence(f"a plume of {smoke} {lean} in front of {dark}"),
            sentence(f"hot {smoke} curls upwards in {thick} air; it {end}"),
            sentence(f"a moving vent lets out {smoke}, which {wall}"),
            sentence(f"{smoke} in a box with an open top {end} and {wall}"),
            sentence(f"side view of {smoke} that {lean}"),
            sentence(f"from the glowing vent comes {smoke}; the smoke {end}"),
            sentence(f"puffs of {smoke} rise, turn over and {lean.replace('drifts', 'drift').replace('goes', 'go')}"),
            sentence(f"watch {smoke} billow over {dark}; it {wall}"),
            sentence(f"buoyant {smoke} {lean} and {end}"),
            sentence(f"{smoke} fills the box from a slit in the floor"),
            sentence(f"in {thick} air {smoke} {lean}"),
        ]


def events_of(value: Callable[[str], float]) -> dict[str, bool]:
    """The events that hold in a state; `value` looks a component up by its name."""
    return {
        "vent_open": value("inflow") > 0.1,
        "smoke_at_top": value("share_at_top") >= ARRIVED_SHARE,
        "smoke_at_side": value("share_at_sides") >= ARRIVED_SHARE,
    }


def _quiet() -> warnings.catch_warnings:
    return warnings.catch_warnings(action="ignore")


def _plume(generator: np.random.Generator) -> Iterator[np.ndarray]:
    places = (generator.uniform(0.2, 0.8, 1) for _ in range(1 << 30))
    for place in visit(places, generator.uniform(0.25, 0.75, 1), speed=0.012):
        yield np.array([place[0], 1.0])


def _puffs(generator: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        x = generator.uniform(0.15, 0.85)
        for _ in range(int(generator.integers(6, 13))):
            yield np.array([x, generator.uniform(0.8, 1.0)])
        for _ in range(int(generator.integers(4, 10))):
            yield np.array([x, 0.0])
