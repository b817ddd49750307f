"""Two inks in a tank of water: taichi's stable fluids (its shipped example `simulation.stable_fluid`).

Advection, pressure, and the weight that pulls ink down are the example's, reached through `taichi_examples`; ours are the nozzle's path,
the first drops, the picture and the words. The example carries a dye of three channels, of which the first two are our two inks. Its water
has no viscosity of its own; what varies is how heavy an ink is, how hard the nozzle blows, and how fast everything comes to rest.

Lengths are shares of the tank's side; x goes right, y goes up.

May import: interfaces, numpy, taichi and cv2 (on demand). Refuses to know: clips, files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import ClassVar

import numpy as np

from worldline.envs.colors import color
from worldline.envs.fluids.taichi_examples import EXTRA, load_example, start_taichi
from worldline.envs.opencv import import_opencv
from worldline.envs.phrases import sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.envs.wander import hold_random, visit
from worldline.interfaces import ActionSpec

NUM_CELLS = 96
PRESSURE_ITERATIONS = 40
STEP_SECONDS = 0.03
PUSH = 1000.0
"""The example's `f_strength`, for a grid this much coarser than its own."""
REST_SECONDS = {"slowly": 4.0, "soon": 2.0, "at once": 0.5}
"""How long water keeps moving, and ink keeps its colour: the example's `time_c`."""
FLOOR = 0.1
ARRIVED_SHARE = 0.1
MIXED_SHARE = 0.15


class Ink(Simulator):
    """A nozzle blows one ink or the other into clear water, where it sinks, curls and mixes."""

    name: ClassVar[str] = "ink"
    extra: ClassVar[str] = EXTRA
    rate_hz: ClassVar[float] = 1 / STEP_SECONDS
    action_spec: ClassVar[ActionSpec | None] = ActionSpec(
        low=(0.05, 0.05, -1.0, -1.0, 0.0), high=(0.95, 0.95, 1.0, 1.0, 1.0), names=("nozzle_x", "nozzle_y", "jet_x", "jet_y", "second_ink")
    )
    state_names: ClassVar[tuple[str, ...]] = (
        *(f"{ink}_{value}" for ink in ("first", "second") for value in ("amount", "x", "y", "spread_x", "spread_y")),
        "share_on_floor",
        "share_mixed",
        "energy",
        "nozzle_x",
        "nozzle_y",
        "jet_x",
        "jet_y",
        "second_ink",
    )
    event_names: ClassVar[tuple[str, ...]] = ("jet", "ink_on_floor", "inks_mix")
    policy_names: ClassVar[tuple[str, ...]] = ("swirl", "drip", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="num_drops", kind="scene", usual=(0, 1, 2, 3), unusual=(5, 6)),
        Attribute(name="ink_weight", kind="physics", usual=(0.03, 0.15), unusual=(0.35, 0.7)),
        Attribute(name="jet_strength", kind="physics", usual=(0.1, 0.6), unusual=(1.0, 1.6)),
        Attribute(name="comes_to_rest", kind="physics", usual=("slowly", "soon"), unusual=("at once",)),
        Attribute(name="first_color", kind="appearance", usual=("blue", "black", "red"), unusual=("brown", "pink")),
        Attribute(name="second_color", kind="appearance", usual=("orange", "green", "purple"), unusual=("yellow", "teal")),
        Attribute(name="water_color", kind="appearance", usual=("white", "cream", "mint"), unusual=("lilac", "gray")),
    )
    determinism: ClassVar[str] = "Bit-exact on one kind of processor: the solver runs on one thread and draws no random numbers."

    def __init__(self) -> None:
        self._cv2 = import_opencv(EXTRA)
        start_taichi()
        self._solvers: dict[str, ModuleType] = {}

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Still water, with some drops of ink; `attributes` as in the class."""
        self._attributes = dict(attributes)
        rest = str(attributes["comes_to_rest"])
        if rest not in self._solvers:
            constants = {
                "res": NUM_CELLS,
                "p_jacobi_iters": PRESSURE_ITERATIONS,
                "dt": STEP_SECONDS,
                "time_c": REST_SECONDS[rest],
                "f_strength": PUSH,
            }
            self._solvers[rest] = load_example("simulation.stable_fluid", constants, main_loop="class MouseDataGen")
        solver = self._solver = self._solvers[rest]
        self._weight = float(attributes["ink_weight"])
        generator = np.random.default_rng(seed)
        grid = (np.arange(NUM_CELLS) + 0.5) / NUM_CELLS
        dye = np.zeros((NUM_CELLS, NUM_CELLS, 3), np.float32)
        for _ in range(int(attributes["num_drops"])):
            x, y, radius, ink = (
                generator.uniform(0.15, 0.85),
                generator.uniform(0.45, 0.9),
                generator.uniform(0.04, 0.09),
                generator.integers(2),
            )
            squares = (grid[:, None] - x) ** 2 + (grid[None] - y) ** 2
            dye[..., ink] = np.maximum(dye[..., ink], 1 / (1 + np.exp((np.sqrt(squares) - radius) / 0.008)))
        solver.velocities_pair.cur.fill(0)
        solver.pressures_pair.cur.fill(0)
        solver.dyes_pair.cur.from_numpy(dye * np.float32(self._weight))
        self._tool = np.array([0.5, 0.8, 0.0, 0.0, 0.0])
        self._used: set[int] = set(np.flatnonzero(dye.sum((0, 1)) > 0))
        self._seen: set[str] = set()
        self._events = dict.fromkeys(self.event_names, False)
        self._measure()

    def step(self, action: np.ndarray | None) -> None:
        """Blow from the nozzle for one frame; a jet shorter than a tenth of the longest is off."""
        assert action is not None
        assert self.action_spec is not None
        self._tool = np.clip(np.asarray(action, dtype=np.float64), self.action_spec.low, self.action_spec.high)
        x, y, *jet, second = self._tool
        data = np.zeros(8, np.float32)
        if self._is_on():
            # The example lets dye out of jets longer than a half only, which is what it gets from its mouse.
            length = float(np.linalg.norm(jet))
            data[:2] = np.array(jet) / length * (0.51 + float(self._attributes["jet_strength"]) * length)
            data[2:4] = x * NUM_CELLS, y * NUM_CELLS
            data[4 + round(second)] = self._weight * 0.5
            self._used.add(round(second))
        self._solver.step(data)
        self._measure()
        self._events = events_of(self._value)
        self._seen |= {event for event, happened in self._events.items() if happened}

    def _is_on(self) -> bool:
        return float(np.linalg.norm(self._tool[2:4])) > 0.1

    def state(self) -> np.ndarray:
        """Where the inks are, how much of them has met the floor or the other ink, and the nozzle."""
        return self._state.copy()

    def events(self) -> Mapping[str, bool]:
        """Each lasts as long as it holds."""
        return dict(self._events)

    def _value(self, name: str) -> float:
        return float(self._state[self.state_names.index(name)])

    def _measure(self) -> None:
        self._inks = self._solver.dyes_pair.cur.to_numpy()[..., :2].astype(np.float64) / self._weight
        velocity = self._solver.velocities_pair.cur.to_numpy().astype(np.float64) / NUM_CELLS
        grid = (np.arange(NUM_CELLS) + 0.5) / NUM_CELLS
        values: list[float] = []
        for ink in range(2):
            amount = float(self._inks[..., ink].sum())
            across, up = (self._inks[..., ink].sum(axis) / max(amount, 1e-9) for axis in (1, 0))
            x, y = (float((share * grid).sum()) for share in (across, up))
            spread = (float(np.sqrt(max((share * (grid - mean) ** 2).sum(), 0))) for share, mean in ((across, x), (up, y)))
            values += [amount / NUM_CELLS**2, x, y, *spread]
        total = max(float(self._inks.sum()), 1e-9)
        on_floor = float(self._inks[:, grid < FLOOR].sum()) / total
        mixed = 2 * float(self._inks.min(-1).sum()) / total
        self._state = np.array([*values, on_floor, mixed, 0.5 * float((velocity**2).sum(-1).mean()), *self._tool])

    def render(self, size: int) -> np.ndarray:
        """The tank from the side: ink dims the water behind it; the nozzle is a small pen in the colour of its ink."""
        inks = self._inks.transpose(1, 0, 2)[::-1]
        fine = size * (4 if size <= 128 else 2)
        picture = np.ones((NUM_CELLS, NUM_CELLS, 3)) * color(self._attributes["water_color"])
        names = ("first_color", "second_color")
        paints = np.stack([color(self._attributes[name]) for name in names])
        thickness = inks.sum(-1, keepdims=True)
        mixed = (inks @ paints) / np.maximum(thickness, 1e-6)
        picture += (1 - np.exp(-2.2 * np.maximum(thickness, 0))) * (mixed - picture)
        picture = self._cv2.resize(picture, (fine, fine), interpolation=self._cv2.INTER_LINEAR)
        x, y, jet_x, jet_y, second = self._tool
        tip = np.array([x, 1 - y]) * fine
        back = np.array([-jet_x, jet_y]) if self._is_on() else np.array([0.0, -1.0])
        tail = tip + back / np.linalg.norm(back) * 0.1 * fine
        width = max(2, round(0.035 * fine))
        ends = [(round(float(point[0])), round(float(point[1]))) for point in (tip, tail)]
        self._cv2.line(picture, *ends, (70.0, 70.0, 76.0), width, self._cv2.LINE_AA)
        self._cv2.circle(picture, ends[0], round(width * 0.7), tuple(paints[round(second)]), -1, self._cv2.LINE_AA)
        small = self._cv2.resize(picture, (size, size), interpolation=self._cv2.INTER_AREA)
        return np.clip(np.rint(small), 0, 255).astype(np.uint8)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`swirl` draws with both inks, `drip` lets drops fall from the top, `random` holds uniform actions for some frames."""
        assert self.action_spec is not None
        if name == "random":
            return hold_random(self.action_spec, generator)
        if name in ("swirl", "drip"):
            source = _swirl(generator) if name == "swirl" else _drip(generator)
            return lambda: next(source)
        raise ValueError(f"{self.name} has no policy {name!r}; choose one of {', '.join(self.policy_names)}")

    def captions(self) -> Sequence[str]:
        """Phrasings that name the inks and what they do."""
        first, second, water = (str(self._attributes[name]) for name in ("first_color", "second_color", "water_color"))
        named = [f"{ink} ink" for index, ink in enumerate((first, second)) if index in self._used]
        inks = " and ".join(named) if named else "no ink"
        fate = "sinks to the floor" if "ink_on_floor" in self._seen else "stays afloat"
        mixing = "the two inks mix" if "inks_mix" in self._seen else "the inks stay apart" if len(named) > 1 else "it spreads in curls"
        source = "from a moving nozzle" if "jet" in self._seen else "without any push"
        weight = "heavy" if self._weight > 0.25 else "light"
        return [
            sentence(f"{inks} swirl through {water} water; {mixing}"),
            sentence(f"a nozzle blows {inks} into a tank of {water} water, and {mixing}"),
            sentence(f"{weight} {inks} in still water {fate}"),
            sentence(f"in a glass tank, {inks} curl and spread {source}"),
            sentence(f"ink in water: {inks}, {source}; {mixing}"),
            sentence(f"clouds of {inks} drift in {water} water, and the ink {fate}"),
            sentence(f"side view of a tank in which {inks} flow {source}"),
            sentence(f"{mixing} while the ink {fate}"),
            sentence(f"watch {inks} form vortices in {water} water"),
            sentence(f"jets of {inks} stir the water; it comes to rest {self._attributes['comes_to_rest']}"),
            sentence(f"the pen leaves {inks} in the water, where it {fate}"),
            sentence(f"{inks} on a {water} background, moved by the water; {mixing}"),
        ]


def events_of(value: Callable[[str], float]) -> dict[str, bool]:
    """The events that hold in a state; `value` looks a component up by its name."""
    return {
        "jet": bool(np.hypot(value("jet_x"), value("jet_y")) > 0.1),
        "ink_on_floor": value("share_on_floor") >= ARRIVED_SHARE,
        "inks_mix": value("share_mixed") >= MIXED_SHARE,
    }


def _swirl(generator: np.random.Generator) -> Iterator[np.ndarray]:
    path = visit((generator.uniform((0.2, 0.3), (0.8, 0.9)) for _ in range(1 << 30)), generator.uniform(0.3, 0.7, 2), speed=0.025)
    here, turn = next(path), generator.uniform(-1.2, 1.2)
    while True:
        second = float(generator.integers(2))
        for _ in range(int(generator.integers(8, 18))):
            there = next(path)
            angle = np.arctan2(there[1] - here[1], there[0] - here[0]) + turn
            here = there
            yield np.array([*here, np.cos(angle), np.sin(angle), second])
        for _ in range(int(generator.integers(2, 8))):
            here = next(path)
            yield np.array([*here, 0.0, 0.0, second])


def _drip(generator: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        x, second = generator.uniform(0.15, 0.85), float(generator.integers(2))
        for _ in range(int(generator.integers(3, 7))):
            yield np.array([x, 0.88, generator.uniform(-0.1, 0.1), -0.4, second])
        for _ in range(int(generator.integers(6, 14))):
            yield np.array([x, 0.88, 0.0, 0.0, second])
