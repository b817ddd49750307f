"""Crafter: a person gathers, builds and fights in a little world seen from above (Hafner 2021; the `crafter` package, MIT).

May import: interfaces, envs.simulator, envs.phrases, numpy, cv2 and crafter (extra `sim-games`). Refuses to know: clips, files.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from worldline.envs.phrases import listed, sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.interfaces import ActionSpec

_ACTIONS = (
    *("noop", "move_left", "move_right", "move_up", "move_down", "do", "sleep", "place_stone", "place_table", "place_furnace"),
    *(
        "place_plant",
        "make_wood_pickaxe",
        "make_stone_pickaxe",
        "make_iron_pickaxe",
        "make_wood_sword",
        "make_stone_sword",
        "make_iron_sword",
    ),
)
_MOVES = {(-1, 0): "move_left", (1, 0): "move_right", (0, -1): "move_up", (0, 1): "move_down"}
_STOCK = ("health", "food", "drink", "energy", "sapling", "wood", "stone", "coal", "iron", "diamond")
_GATHERED = ("sapling", "wood", "stone", "coal", "iron", "diamond")
_WORTH_GOING = ("tree", "water", "stone", "coal", "iron", "diamond", "grass")
_TINTS = {
    "noon": (1.0, 1.0, 1.0),
    "morning": (1.0, 0.92, 0.8),
    "blue": (0.75, 0.85, 1.0),
    "sepia": (1.0, 0.8, 0.55),
    "green": (0.7, 1.0, 0.7),
}


class Crafter(Simulator):
    """See `Simulator`. Of the action's components, one per thing to do, the largest is done; positions in squares of a map of 64."""

    name = "crafter"
    extra = "sim-games"
    rate_hz = 5.0
    action_spec = ActionSpec(low=(0.0,) * len(_ACTIONS), high=(1.0,) * len(_ACTIONS), names=_ACTIONS)
    state_names = ("x", "y", "facing_x", "facing_y", "daylight", "num_zombies_near", *_STOCK)
    event_names = ("moved", "collected", "placed", "made", "drank", "ate", "hurt", "slept")
    policy_names = ("gather", "wander", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="tint", kind="appearance", usual=("noon", "morning", "blue"), unusual=("sepia", "green")),
        Attribute(name="view_squares", kind="appearance", usual=(9,), unusual=(7, 13)),
        Attribute(name="wood_at_start", kind="scene", usual=(0, 1, 3), unusual=(6, 8)),
        Attribute(name="stone_at_start", kind="scene", usual=(0, 1, 3), unusual=(6, 8)),
    )

    def __init__(self) -> None:
        import crafter  # noqa: PLC0415

        self._crafter = crafter
        self._env: Any = None
        self._attributes: dict[str, Value] = {}
        self._tally: dict[str, int] = {}
        self._events: dict[str, bool] = {}
        self._happened: dict[str, None] = {}

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        self._attributes = dict(attributes)
        squares = int(attributes["view_squares"])
        self._env = self._crafter.Env(area=(64, 64), view=(squares, squares), size=(64, 64), reward=False, length=None, seed=seed)
        self._env.reset()
        self._player.inventory["wood"] = int(attributes["wood_at_start"])
        self._player.inventory["stone"] = int(attributes["stone_at_start"])
        self._events = dict.fromkeys(self.event_names, False)
        self._happened = {}

    @property
    def _player(self) -> Any:
        return self._env._player

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        before, achieved = self.state(), dict(self._player.achievements)
        chosen = int(np.argmax(np.asarray(action)))
        if self._player.health > 0:  # who has died stays where he is: an episode goes on
            self._env.step(chosen)
        done = {name for name, count in self._player.achievements.items() if count > achieved.get(name, 0)}
        health = self.state_names.index("health")
        self._events = {
            "moved": bool((self.state()[:2] != before[:2]).any()),
            "collected": any(name.startswith("collect_") and name != "collect_drink" for name in done),
            "placed": any(name.startswith("place_") for name in done),
            "made": any(name.startswith("make_") for name in done),
            "drank": "collect_drink" in done,
            "ate": any(name.startswith("eat_") for name in done),
            "hurt": bool(self.state()[health] < before[health]),
            "slept": bool(self._player.sleeping),
        }
        self._happened |= dict.fromkeys(sorted(done))

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`. Its night is noise, drawn anew for each picture: from a generator that is put back afterwards."""
        import cv2  # noqa: PLC0415

        random = self._env._world.random
        saved = random.get_state()
        picture = self._env.render((256, 256))
        random.set_state(saved)
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        return np.rint(picture * np.array(_TINTS[str(self._attributes["tint"])])).astype(np.uint8)

    def state(self) -> np.ndarray:
        """See `Simulator.state`."""
        player, world = self._player, self._env._world
        near = sum(type(one).__name__ == "Zombie" and np.abs(one.pos - player.pos).max() <= 4 for one in world.objects)
        return np.array([*player.pos, *player.facing, world.daylight, near, *(player.inventory[name] for name in _STOCK)], np.float64)

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`."""
        return self._events

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`gather` goes to what is near and takes it, and builds when it can; `wander` walks, `random` does anything."""
        if name == "random":
            return lambda: _chosen(_ACTIONS[int(generator.integers(len(_ACTIONS)))])
        move, frames_left = "noop", 0

        def wander() -> str:
            nonlocal move, frames_left
            frames_left -= 1
            if frames_left < 0:
                move, frames_left = str(generator.choice(list(_MOVES.values()))), int(generator.integers(2, 7))
            return move

        def choose() -> np.ndarray:
            if name == "wander" or generator.uniform() < 0.1:
                return _chosen(wander())
            return _chosen(self._next_thing(generator) or wander())

        return choose

    def _next_thing(self, generator: np.random.Generator) -> str | None:
        """What a gatherer does: build, take what is in front of him, or go to the nearest thing worth going to."""
        player, world = self._player, self._env._world
        stock = player.inventory
        material, _ = world[player.pos + player.facing]
        nearby, _ = world.nearby(player.pos, 1)
        builds = {
            "place_table": stock["wood"] >= 4 and "table" not in nearby and material in ("grass", "sand", "path"),
            "make_wood_pickaxe": "table" in nearby and stock["wood"] >= 1 and not stock["wood_pickaxe"],
            "make_wood_sword": "table" in nearby and stock["wood"] >= 1 and not stock["wood_sword"],
            "make_stone_pickaxe": "table" in nearby and stock["wood"] >= 1 and stock["stone"] >= 1 and not stock["stone_pickaxe"],
            "place_stone": stock["stone"] >= 3 and material in ("grass", "sand", "path", "water") and generator.uniform() < 0.3,
            "place_plant": stock["sapling"] >= 1 and material == "grass",
        }
        for build, possible in builds.items():
            if possible:
                return build
        wanted = [name for name in _WORTH_GOING if not (name in ("stone", "coal") and not stock["wood_pickaxe"])]
        wanted = [name for name in wanted if not (name in ("iron", "diamond") and not stock["stone_pickaxe"])]
        wanted = [name for name in wanted if name != "grass" and (name != "water" or stock["drink"] < 8)]
        if material in wanted:
            return "do"
        best: tuple[int, str] | None = None
        for x in range(-6, 7):
            for y in range(-6, 7):
                place = player.pos + np.array([x, y])
                if (place >= 0).all() and (place < 64).all() and world[place][0] in wanted:
                    step = (int(np.sign(x)), 0) if abs(x) >= abs(y) else (0, int(np.sign(y)))
                    best = min(best or (99, ""), (abs(x) + abs(y), _MOVES[step]))
        return best[1] if best else None

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        done = [name.replace("_", " ") for name in self._happened if name != "wake_up"]
        words = [_PAST.get(name.split()[0], name.split()[0]) + " " + " ".join(["a", *name.split()[1:]]) for name in done]
        words = [
            word.replace("collected a drink", "drank water").replace("collected a", "collected").replace("a cow", "a cow") for word in words
        ]
        what = listed(words[:4]) if words else "walked about"
        place = "at night" if self.state()[4] < 0.5 else "by day"
        subjects = ("the player", "a little person in a pixel world", "in Crafter the player", "seen from above, somebody")
        return [
            sentence(f"{subject} {what}{rest}")
            for subject in subjects
            for rest in ("", f" {place}", f" in a world of grass and trees {place}")
        ]


_PAST = {"collect": "collected", "place": "placed", "make": "made", "eat": "ate", "defeat": "defeated"}


def _chosen(name: str) -> np.ndarray:
    action = np.zeros(len(_ACTIONS))
    action[_ACTIONS.index(name)] = 1.0
    return action
