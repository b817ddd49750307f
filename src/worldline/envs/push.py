"""Push: a disc shoves a T-shaped block over a table (`gym-pusht`, Apache; physics by pymunk), in many colours, sticky or slippery.

May import: interfaces, envs.simulator, envs.pusht, numpy, gym-pusht (extra `pusht`). Refuses to know: clips, files.
"""

import io
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from worldline.envs.colors import COLORS
from worldline.envs.phrases import article, sentence
from worldline.envs.pusht.policies import MARGIN, Pusher, Wanderer, distance_to_block
from worldline.envs.pusht.simulator import ARENA_SIZE, draw_scene, make_simulator, pusht_action_spec
from worldline.envs.simulator import Act, Attribute, Simulator, Value

_STEPS_PER_SECOND = 10.0  # of the simulator
_HALF_COVERED = 0.5


class Push(Simulator):
    """See `Simulator`. The action is the point that the disc is drawn to; lengths in units of which the table has 512."""

    name = "push"
    extra = "pusht"
    rate_hz = 5.0
    action_spec = pusht_action_spec()
    state_names = (
        *("agent_x", "agent_y", "block_x", "block_y", "block_angle", "agent_velocity_x", "agent_velocity_y"),
        *("block_velocity_x", "block_velocity_y", "block_angular_velocity", "coverage"),
    )
    event_names = ("contact", "block_at_wall", "goal_half_covered", "goal_reached")
    policy_names = ("push", "goal", "wander", "random")
    restores = "nearly"
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(
            name="block_color", kind="appearance", usual=("red", "orange", "blue", "purple", "gray"), unusual=("yellow", "pink", "brown")
        ),
        Attribute(name="agent_color", kind="appearance", usual=("navy", "black", "crimson", "teal"), unusual=("white", "magenta")),
        Attribute(name="table_color", kind="appearance", usual=("white", "cream", "light gray"), unusual=("dark gray", "sand")),
        Attribute(name="friction", kind="physics", usual=(0.0, 0.6), unusual=(1.0, 2.0)),
        Attribute(name="velocity_kept_per_second", kind="physics", usual=(0.0, 0.02), unusual=(0.2, 0.6)),
        Attribute(name="elasticity", kind="physics", usual=(0.0, 0.3), unusual=(0.7, 1.0)),
    )

    def __init__(self) -> None:
        self._simulator = make_simulator()
        self._attributes: dict[str, Value] = {}
        self._coverage: float | None = 0.0
        self._start = np.zeros(3)
        self._happened: set[str] = set()
        self._events: dict[str, bool] = {}

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        import pymunk  # noqa: PLC0415

        simulator = self._simulator
        simulator.reset(seed=seed)
        self._attributes = dict(attributes)
        (self._agent_shape,) = simulator.agent.shapes
        self._change(attributes)
        self._walls = [shape for shape in simulator.space.static_body.shapes if isinstance(shape, pymunk.Segment)]
        self._coverage = float(simulator._get_coverage())
        self._start = self.state()[2:5]
        self._events = dict.fromkeys(self.event_names, False)
        self._happened = set()

    def _change(self, attributes: Mapping[str, Value]) -> None:
        """Give the scene the colours and the physics of this episode."""
        from pygame import Color  # noqa: PLC0415

        space = self._simulator.space
        space.damping = float(attributes["velocity_kept_per_second"])
        self._agent_shape.color = Color(*COLORS[str(attributes["agent_color"])])
        for shape in self._simulator.block.shapes:
            shape.color = Color(*COLORS[str(attributes["block_color"])])
        for shape in space.shapes:
            shape.friction = float(attributes["friction"])
            shape.elasticity = float(attributes["elasticity"])

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        target = np.asarray(action, np.float64)
        for _ in range(round(_STEPS_PER_SECOND / self.rate_hz)):
            *_, info = self._simulator.step(target)
        self._coverage = coverage = float(info["coverage"])
        self._events = {
            "contact": self._touches_block(self._agent_shape),
            "block_at_wall": any(self._touches_block(wall) for wall in self._walls),
            "goal_half_covered": coverage > _HALF_COVERED,
            "goal_reached": coverage > self._simulator.success_threshold,
        }
        self._happened |= {name for name, happened in self._events.items() if happened}

    def advance(self, action: np.ndarray | None) -> None:
        """See `Simulator.advance`: the same forces and steps of the space.

        `state` then looks at the goal itself, and finds the coverage up to the rounding of areas.
        """
        simulator = self._simulator
        agent, space, seconds = simulator.agent, simulator.space, simulator.dt
        stiffness, damping = simulator.k_p, simulator.k_v
        target_x, target_y = np.asarray(action, np.float64).tolist()
        for _ in range(round(_STEPS_PER_SECOND / self.rate_hz) * int(1 / (seconds * simulator.control_hz))):
            (x, y), (speed_x, speed_y) = agent.position, agent.velocity
            force_x = stiffness * (target_x - x) + (0 - speed_x) * damping
            force_y = stiffness * (target_y - y) + (0 - speed_y) * damping
            agent.velocity = speed_x + force_x * seconds, speed_y + force_y * seconds
            space.step(seconds)
        self._coverage = None

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`."""
        table = self._attributes.get("table_color")
        return draw_scene(self._simulator, size, None if table is None else COLORS[str(table)])

    def state(self) -> np.ndarray:
        """See `Simulator.state`."""
        agent, block = self._simulator.agent, self._simulator.block
        moving = (*agent.velocity, *block.velocity, block.angular_velocity)
        if self._coverage is None:
            self._coverage = float(self._simulator._get_coverage())
        return np.array([*agent.position, *block.position, block.angle, *moving, self._coverage])

    def pose(self) -> np.ndarray:
        """(5,) The first components of `state`: where disc and block are. Quicker, since how much of the goal is covered takes long."""
        agent, block = self._simulator.agent, self._simulator.block
        return np.array([*agent.position, *block.position, block.angle])

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`."""
        return self._events

    def save(self) -> object:
        """See `Simulator.save`: pymunk's own copy of its space, cached contacts included, without the environment around it.

        The copy may solve its contacts in another order, which is why a push is restored nearly and not exactly.
        """
        simulator = self._simulator
        things = (simulator.space, simulator.agent, simulator.block, simulator._block_shapes, self._agent_shape, self._walls)
        written = io.BytesIO()
        _Writer(written, simulator).dump(things)
        return written.getvalue(), _centre_of_mass(simulator.block), self._coverage, self._start, self._events, frozenset(self._happened)

    def load(self, saved: object) -> None:
        """See `Simulator.load`."""
        simulator = self._simulator
        kept, centre, self._coverage, self._start, self._events, happened = cast(tuple[Any, ...], saved)
        things = _Reader(io.BytesIO(kept), simulator).load()
        simulator.space, simulator.agent, simulator.block, simulator._block_shapes, self._agent_shape, self._walls = things
        _put_centre_of_mass(simulator.block, centre)
        self._happened = set(happened)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`push` shoves the block about, `goal` shoves it to the goal, `wander` ignores it, `random` jumps."""
        if name == "random":
            return lambda: generator.uniform(MARGIN, ARENA_SIZE - MARGIN, 2)
        act = Wanderer(generator) if name == "wander" else Pusher(generator, to_goal=name == "goal")

        def choose() -> np.ndarray:
            target = act(self.state()[:7])
            return np.array([target.real, target.imag]).clip(MARGIN, ARENA_SIZE - MARGIN)

        return choose

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        agent, block, table = (str(self._attributes[f"{what}_color"]) for what in ("agent", "block", "table"))
        shift = self.state()[2:5] - self._start
        distance = float(np.hypot(*shift[:2]))
        where = _direction(shift[0], shift[1])
        surface = "slippery" if float(self._attributes["velocity_kept_per_second"]) > 0.1 else "rough"
        if "goal_reached" in self._happened:
            what, done = "onto the green goal", "it fits the goal"
        elif distance > 15:
            what, done = f"to the {where}", f"it ends up {'far' if distance > 120 else 'a little'} to the {where}"
        elif "contact" in self._happened:
            what, done = "without moving it far", "it stays about where it was"
        else:
            return [
                sentence(words)
                for words in (
                    f"{article(agent)} disc moves about and leaves the {block} T alone",
                    f"the {block} T-shaped block is not touched",
                    f"a disc wanders over {article(table)} table beside {article(block)} T",
                    f"nothing touches the {block} block",
                    f"{article(agent)} circle strolls past {article(block)} letter T",
                    f"the {agent} disc keeps away from the {block} block",
                    f"{article(block)} T lies still while {article(agent)} disc moves",
                    f"the block does not move; the {agent} disc does",
                    f"seen from above: {article(agent)} disc on {article(table)} table, and {article(block)} T at rest",
                    f"the disc never reaches the {block} T",
                )
            ]
        wall = " and against the wall" if "block_at_wall" in self._happened else ""
        return [
            sentence(words)
            for words in (
                f"{article(agent)} disc pushes {article(block)} T {what}{wall}",
                f"the {block} T-shaped block is shoved {what} by {article(agent)} disc",
                f"push the {block} T {what}",
                f"{article(agent)} circle moves {article(block)} block over {article(table)} table; {done}",
                f"on a {surface} {table} table {article(agent)} disc pushes a T; {done}",
                f"the {agent} pusher brings the {block} T {what}",
                f"seen from above: {article(block)} T is pushed {what}",
                f"shove the block in the shape of a T {what} with the {agent} disc",
                f"{article(block)} T slides {what} over a {surface} table",
                f"the disc touches the {block} T and {done}",
                f"planar pushing: {article(agent)} disc, {article(block)} T, a {surface} table{wall}",
                f"a round {agent} finger moves the {block} letter T {what}",
            )
        ]

    def close(self) -> None:
        """See `Simulator.close`."""
        self._simulator.close()

    def _touches_block(self, shape: object) -> bool:
        return any(bool(part.shapes_collide(shape).points) for part in self._simulator.block.shapes)


class PlainPush(Push):
    """Push-T as `gym-pusht` draws and simulates it, at its own 10 Hz: what `envs.pusht.PushT` shows. It has no attributes."""

    name = "pusht"
    rate_hz = _STEPS_PER_SECOND
    attributes: ClassVar[tuple[Attribute, ...]] = ()

    def _change(self, attributes: Mapping[str, Value]) -> None:
        """Nothing is changed."""

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        return ["A blue disc pushes a gray T-shaped block."]


def clearance(state: np.ndarray) -> float:
    """Distance of the disc's centre from the block's outline, from a state."""
    agent, origin = complex(state[0], state[1]), complex(state[2], state[3])
    return float(distance_to_block(np.array((agent - origin) * np.exp(-1j * state[4]))))


class _Writer(pickle.Pickler):
    """Pickles parts of a simulator, but not the simulator that they are parts of: four times as quick as a deep copy of them."""

    def __init__(self, file: io.BytesIO, simulator: object) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.simulator = simulator

    def persistent_id(self, obj: object) -> str | None:
        """See `pickle.Pickler`."""
        return "simulator" if obj is self.simulator else None


class _Reader(pickle.Unpickler):
    """Reads what `_Writer` wrote."""

    def __init__(self, file: io.BytesIO, simulator: object) -> None:
        super().__init__(file)
        self.simulator = simulator

    def persistent_load(self, pid: str) -> object:
        """See `pickle.Unpickler`."""
        return self.simulator


def _centre_of_mass(body: Any) -> tuple[float, float]:
    """Where pymunk keeps a body to the last bit: the place of its centre of mass."""
    offset = body.center_of_gravity
    body.center_of_gravity = (0.0, 0.0)
    body.angle = body.angle  # recomputes the place of the origin
    place = tuple(body.position)
    body.center_of_gravity = offset
    body.angle = body.angle
    return place


def _put_centre_of_mass(body: Any, place: tuple[float, float]) -> None:
    """Set what `_centre_of_mass` read. pymunk's copy sets the origin before the offset, which would move the centre by it."""
    offset = body.center_of_gravity
    body.center_of_gravity = (0.0, 0.0)
    body.position = place
    body.center_of_gravity = offset
    body.angle = body.angle


def _direction(x: float, y: float) -> str:
    """Where (x, y) points, y down: one of eight directions in words."""
    names = ("right", "lower right", "bottom", "lower left", "left", "upper left", "top", "upper right")
    return names[round(float(np.arctan2(y, x)) / (np.pi / 4)) % 8]
