"""Two rooms: a dot goes through a door to a target in the other room (stable-worldmodel's TwoRoom, MIT).

stable-worldmodel is installed without its dependencies, which would replace torch; only its environment is imported here, past the
front door of the package, which asks for them all.

May import: interfaces, envs.simulator, envs.colors, envs.phrases, numpy, torch, stable-worldmodel (extra `sim-2d` and
`pip install --no-deps stable-worldmodel==0.1.1`). Refuses to know: clips, files.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch.nn import functional

from worldline.envs.colors import COLORS
from worldline.envs.phrases import article, plural, sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.interfaces import ActionSpec

SIDE = 224.0
"""Side of the picture in the environment's own units, pixels."""

REACHED = 16.0
"""The distance from the target at which the environment says that it is reached, its own pixels."""

MIDDLE = 112.0
_DOOR_PLACES = 42, 183  # of a door's middle along the wall
_BETWEEN_DOORS = 46  # at least, from middle to middle: a door is 40 wide, and doors that overlap would be one


def _import_two_room() -> Any:
    """The environment's class, without running the `__init__` of the packages that it is in."""
    root = importlib.util.find_spec("stable_worldmodel") if "stable_worldmodel" not in sys.modules else None
    if root is not None and root.submodule_search_locations is not None:
        for package in ("", ".envs", ".envs.two_room"):
            module = ModuleType(f"stable_worldmodel{package}")
            module.__path__ = [str(Path(root.submodule_search_locations[0], *package.split(".")))]
            sys.modules[module.__name__] = module
    try:
        return importlib.import_module("stable_worldmodel.envs.two_room.env").TwoRoomEnv
    except ImportError as error:
        how = 'pip install "worldline[sim-2d]" and pip install --no-deps stable-worldmodel==0.1.1'
        raise ImportError(f"two_room needs stable-worldmodel ({error}): {how}") from error


class TwoRoom(Simulator):
    """See `Simulator`. The action is a velocity in units of the dot's speed; lengths in pixels of a picture of 224."""

    name = "two_room"
    extra = "sim-2d"
    rate_hz = 10.0
    action_spec = ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0), names=("velocity_x", "velocity_y"))
    state_names = ("agent_x", "agent_y", "target_x", "target_y", "num_doors", *(f"door_{index}_position" for index in range(3)))
    event_names = ("goal_reached", "wall_contact", "door_passed")
    policy_names = ("expert", "tour", "random", "broad")
    restores = "exactly"
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="agent_color", kind="appearance", usual=("red", "blue", "purple"), unusual=("magenta", "teal")),
        Attribute(name="target_color", kind="appearance", usual=("green", "orange"), unusual=("cyan", "brown")),
        Attribute(name="wall_color", kind="appearance", usual=("black", "dark gray"), unusual=("navy", "crimson")),
        Attribute(name="floor_color", kind="appearance", usual=("white", "cream", "light gray"), unusual=("sand", "pink")),
        Attribute(name="wall", kind="scene", usual=("vertical", "horizontal")),
        Attribute(name="num_doors", kind="scene", usual=(1, 2), unusual=(3,)),
        Attribute(name="wall_thickness", kind="scene", usual=(8, 12, 16), unusual=(26, 34)),
        Attribute(name="agent_radius", kind="scene", usual=(7.0, 10.0), unusual=(11.0, 13.0)),
        Attribute(name="agent_speed", kind="physics", usual=(3.5, 7.0), unusual=(8.0, 10.5)),
    )

    def __init__(self) -> None:
        self._env = _import_two_room()(render_target=True)
        self._attributes: dict[str, Value] = {}
        self._events: dict[str, bool] = {}
        self._happened: set[str] = set()

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        generator = np.random.default_rng(seed)
        self._attributes = dict(attributes)
        axis = int(attributes["wall"] == "vertical")
        doors = generator.integers(*_DOOR_PLACES, 3)
        while np.diff(np.sort(doors)).min() < _BETWEEN_DOORS:
            doors = generator.integers(*_DOOR_PLACES, 3)
        sides = generator.permutation([[30.0, 80.0], [144.0, 194.0]])
        places = [[generator.uniform(*side), generator.uniform(30.0, 194.0)] for side in sides]
        agent, target = (np.array(place if axis else place[::-1], np.float32) for place in places)
        radius = np.array([float(attributes["agent_radius"])], np.float32)
        values = {
            "agent.color": _rgb(attributes["agent_color"]),
            "agent.radius": radius,
            "agent.speed": np.array([float(attributes["agent_speed"])], np.float32),
            "target.color": _rgb(attributes["target_color"]),
            "target.radius": radius,
            "wall.color": _rgb(attributes["wall_color"]),
            "wall.border_color": _rgb(attributes["wall_color"]),
            "wall.thickness": int(attributes["wall_thickness"]),
            "wall.axis": axis,
            "door.color": _rgb(attributes["floor_color"]),
            "door.number": int(attributes["num_doors"]),
            "door.size": np.array([20, 20, 20]),
            "door.position": doors,
            "background.color": _rgb(attributes["floor_color"]),
            "rendering.render_target": 1,
        }
        # Values and positions are set after the reset: its own draw depends on the radius and the wall, which may be what is changed.
        self._env.reset(seed=seed, options={"variation": ()})
        for path, value in values.items():
            group, _, name = path.partition(".")
            self._env.variation_space[group][name].set_value(value)
        self._env.agent_position, self._env.target_position = torch.from_numpy(agent), torch.from_numpy(target)
        self._env._cache_params()
        self._events = dict.fromkeys(self.event_names, False)
        self._happened = set()

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        before = self._agent()
        wanted = before + np.clip(np.asarray(action, np.float64), -1, 1) * float(self._attributes["agent_speed"])
        self._env.step(np.asarray(action, np.float32))
        after = self._agent()
        across = 0 if self._attributes["wall"] == "vertical" else 1
        self._events = {
            "goal_reached": bool(np.linalg.norm(after - self.state()[2:4]) < REACHED),
            "wall_contact": bool(np.abs(after - wanted).max() > 0.01),
            "door_passed": bool((before[across] > MIDDLE) != (after[across] > MIDDLE)),
        }
        self._happened |= {name for name, happened in self._events.items() if happened}

    def advance(self, action: np.ndarray | None) -> None:
        """See `Simulator.advance`."""
        self._env.step(np.asarray(action, np.float32))

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`: the environment's own picture, averaged over area."""
        picture = torch.from_numpy(self._env.render().copy()).permute(2, 0, 1).float()
        small = functional.interpolate(picture[None], (size, size), mode="area")[0]
        return small.round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()

    def state(self) -> np.ndarray:
        """See `Simulator.state`."""
        doors = self._env.variation_space["door"]
        return np.array([*self._agent(), *self._env.target_position.tolist(), doors["number"].value, *doors["position"].value], np.float64)

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`."""
        return self._events

    def save(self) -> object:
        """See `Simulator.save`: only the dot moves."""
        return self._env.agent_position.clone(), self._events, frozenset(self._happened)

    def load(self, saved: object) -> None:
        """See `Simulator.load`."""
        position, self._events, happened = cast(tuple[torch.Tensor, dict[str, bool], set[str]], saved)
        self._env.agent_position, self._happened = position.clone(), set(happened)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`expert` goes through a door to the target and then on a tour, `tour` goes from one place to another, `random` jitters.

        `broad` is an expert that keeps being sent off straight, into walls too, as planners try it: nobody else ever leans on one.
        """
        if name == "random":
            return lambda: generator.uniform(-1, 1, 2)
        if name == "broad":
            return _sent_off(self.policy("expert", generator), generator)
        goal = self.state()[2:4] if name == "expert" else generator.uniform(35, 189, 2)

        def choose() -> np.ndarray:
            nonlocal goal
            agent = self._agent()
            if np.linalg.norm(goal - agent) < float(self._attributes["agent_speed"]):
                goal = generator.uniform(35, 189, 2)
            offset = self._waypoint(agent, goal) - agent
            noise = generator.normal(0, 0.15, 2)
            return np.clip(offset / max(float(self._attributes["agent_speed"]), float(np.linalg.norm(offset))) + noise, -1, 1)

        return choose

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        agent, target, wall = (str(self._attributes[f"{what}_color"]) for what in ("agent", "target", "wall"))
        doors = plural(int(self._attributes["num_doors"]), "door")
        if "goal_reached" in self._happened:
            outcomes = (
                f"goes to the {target} target",
                f"reaches the {target} spot in the other room",
                f"finds its way to the {target} goal",
            )
        elif "door_passed" in self._happened:
            outcomes = ("goes through a door into the other room", "passes the doorway", "changes rooms and misses the target")
        else:
            outcomes = ("stays in its room", f"does not reach the {target} target", "never goes through a door")
        bump = " after bumping into a wall" if "wall_contact" in self._happened else ""
        subjects = (
            f"{article(agent)} dot",
            f"in a flat with two rooms and {doors}, {article(agent)} dot",
            f"between {wall} walls {article(agent)} point",
            f"the {agent} agent",
        )
        return [sentence(f"{subject} {outcome}{bump}") for subject in subjects for outcome in outcomes]

    def _agent(self) -> np.ndarray:
        return np.array(self._env.agent_position.tolist())

    def _waypoint(self, agent: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Where to head: the goal, or a nearby door if the wall is between. First to its front, so that no corner is cut."""
        across = 0 if self._attributes["wall"] == "vertical" else 1
        if (agent[across] > MIDDLE) == (goal[across] > MIDDLE):
            return goal
        state = self.state()
        doors = state[5 : 5 + int(state[4])]
        door = doors[np.argmin(np.abs(doors - agent[1 - across]))]
        depth = float(self._attributes["wall_thickness"]) / 2 + float(self._attributes["agent_radius"]) + 4
        aligned = abs(agent[1 - across] - door) < 6
        beyond = np.sign(goal[across] - MIDDLE) * (depth if aligned else -depth)
        waypoint = np.empty(2)
        waypoint[across], waypoint[1 - across] = MIDDLE + beyond, door
        return waypoint


def _sent_off(expert: Act, generator: np.random.Generator) -> Act:
    """The expert's actions and straight ways in turn, a few frames to two seconds each."""
    straight, left, velocity = bool(generator.integers(2)), 0, np.zeros(2)

    def choose() -> np.ndarray:
        nonlocal straight, left, velocity
        if left == 0:
            straight, left = not straight, int(generator.integers(4, 21))
            velocity = np.clip(generator.uniform(-1.4, 1.4, 2), -1, 1)
        left -= 1
        action = velocity + generator.normal(0, 0.15, 2) if straight else expert()
        assert action is not None
        return np.clip(action, -1, 1)

    return choose


def _rgb(name: Value) -> np.ndarray:
    return np.array(COLORS[str(name)], np.uint8)
