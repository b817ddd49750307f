"""Pong of the Atari 2600 (the Arcade Learning Environment, GPL; the game comes with ale-py), with its colours exchanged.

May import: interfaces, envs.simulator, envs.colors, envs.phrases, numpy, cv2 and ale-py (extra `sim-games`). Refuses to know: clips, files.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from worldline.envs.colors import COLORS
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.interfaces import ActionSpec

_FRAMES_PER_STEP = 4  # of the console's 60 a second
_NOTHING, _UP, _DOWN = 0, 3, 4  # the paddle of the console was a dial: right is up
_FIELD, _PLAYER, _ENEMY, _BALL = (144, 72, 17), (92, 186, 92), (213, 130, 74), (236, 236, 236)
# Where the game keeps things in the console's 128 bytes (Anand et al. 2019, Unsupervised State Representation Learning in Atari).
_PLAYER_Y, _ENEMY_Y, _BALL_X, _BALL_Y, _ENEMY_SCORE, _PLAYER_SCORE = 51, 50, 49, 54, 13, 14
_LEFT, _RIGHT = 68, 188
"""Positions of the paddles, in the console's own horizontal units."""


class Pong(Simulator):
    """See `Simulator`. The action moves the right-hand paddle: above 1/3 up, below -1/3 down. Positions in the console's own units."""

    name = "pong"
    extra = "sim-games"
    rate_hz = 15.0
    action_spec = ActionSpec(low=(-1.0,), high=(1.0,), names=("up",))
    state_names = ("player_y", "enemy_y", "ball_x", "ball_y", "player_score", "enemy_score", "ball_in_play")
    event_names = ("player_hit", "enemy_hit", "player_scored", "enemy_scored")
    policy_names = ("follow", "wander", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        # The ball is nearly white, and a light field would hide it.
        Attribute(name="field_color", kind="appearance", usual=("brown", "navy", "black"), unusual=("dark gray", "crimson")),
        Attribute(name="player_color", kind="appearance", usual=("lime", "cyan", "yellow"), unusual=("magenta", "teal")),
        Attribute(name="enemy_color", kind="appearance", usual=("orange", "pink", "white"), unusual=("green", "purple")),
        Attribute(name="mode", kind="physics", usual=(0,), unusual=(1,)),
        Attribute(name="enemy_difficulty", kind="physics", usual=(0, 1), unusual=(2, 3)),
    )

    def __init__(self) -> None:
        import ale_py.roms  # noqa: PLC0415

        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._actions = {number: ale_py.Action(number) for number in (_NOTHING, _UP, _DOWN)}
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._rom = str(ale_py.roms.get_rom_path("pong"))
        self._attributes: dict[str, Value] = {}
        self._velocity = 0.0
        self._events: dict[str, bool] = {}
        self._happened: set[str] = set()

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`. The seed says how long the paddles idle before the first frame: the console has no other randomness."""
        self._attributes = dict(attributes)
        generator = np.random.default_rng(seed)
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(self._rom)
        self._ale.setMode(int(attributes["mode"]) if int(attributes["mode"]) in self._ale.getAvailableModes() else 0)
        self._ale.setDifficulty(int(attributes["enemy_difficulty"]))
        self._ale.reset_game()
        for _ in range(60 + int(generator.integers(120))):  # until the first ball, and a little on
            self._ale.act(self._actions[int(generator.choice([_NOTHING, _UP, _DOWN]))])
        self._velocity = 0.0
        self._events = dict.fromkeys(self.event_names, False)
        self._happened = set()

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        up = float(np.asarray(action)[0])
        press = self._actions[_UP if up > 1 / 3 else _DOWN if up < -1 / 3 else _NOTHING]
        self._events = dict.fromkeys(self.event_names, False)
        for _ in range(_FRAMES_PER_STEP):
            before = self.state()
            self._ale.act(press)
            self._look(before, self.state())
        self._happened |= {name for name, happened in self._events.items() if happened}

    def _look(self, before: np.ndarray, after: np.ndarray) -> None:
        """A hit is a ball that turns round before a paddle."""
        if before[6] and after[6]:
            velocity = after[2] - before[2]
            if velocity * self._velocity < 0:
                self._events["player_hit" if velocity < 0 else "enemy_hit"] = True
            self._velocity = velocity if velocity else self._velocity
        else:
            self._velocity = 0.0
        self._events["player_scored"] |= bool(after[4] > before[4])
        self._events["enemy_scored"] |= bool(after[5] > before[5])

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`: the playing field with its score, repainted, averaged over area."""
        import cv2  # noqa: PLC0415

        picture = self._ale.getScreenRGB()
        repainted = picture.copy()
        for old, name in ((_FIELD, "field_color"), (_PLAYER, "player_color"), (_ENEMY, "enemy_color")):
            repainted[(picture == old).all(-1)] = COLORS[str(self._attributes[name])]
        return cv2.resize(repainted, (size, size), interpolation=cv2.INTER_AREA)

    def state(self) -> np.ndarray:
        """See `Simulator.state`."""
        memory = self._ale.getRAM().astype(np.float64)
        player, enemy, x, y = memory[[_PLAYER_Y, _ENEMY_Y, _BALL_X, _BALL_Y]]
        return np.array([player, enemy, x, y, memory[_PLAYER_SCORE], memory[_ENEMY_SCORE], float(x > 0 and y > 0)])

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`."""
        return self._events

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`follow` keeps the paddle before the ball, not always exactly; `wander` moves for a while at a time, `random` jitters."""
        if name == "random":
            return lambda: generator.uniform(-1, 1, 1)
        direction, frames_left, aim = 0.0, 0, 0.0

        def choose() -> np.ndarray:
            nonlocal direction, frames_left, aim
            frames_left -= 1
            if frames_left < 0:
                frames_left = int(generator.integers(4, 12))
                direction = float(generator.choice([-1.0, 0.0, 1.0]))
                aim = float(generator.normal(0, 5))
            player, _, _, ball, *_, in_play = self.state()
            if name == "follow" and in_play:
                error = ball + aim - player
                return np.array([0.0 if abs(error) < 5 else -np.sign(error)])
            return np.array([direction])

        return choose

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        field, player, enemy = (str(self._attributes[f"{what}_color"]) for what in ("field", "player", "enemy"))
        if "player_scored" in self._happened:
            outcomes = (
                f"the {player} paddle scores",
                f"the {enemy} paddle misses the ball",
                f"a point for the {player} player on the right",
            )
        elif "enemy_scored" in self._happened:
            outcomes = (f"the {enemy} paddle scores", f"the {player} paddle misses the ball", f"a point for the {enemy} player on the left")
        elif "player_hit" in self._happened:
            outcomes = (
                f"the {player} paddle returns the ball",
                "the ball goes back and forth",
                f"the {player} paddle on the right hits the ball",
            )
        else:
            outcomes = ("the ball is on its way", f"the {player} paddle does not touch the ball", "nobody has scored yet")
        subjects = (
            "a game of Pong:",
            f"Pong on {article(field)} field:",
            f"{article(player)} and {article(enemy)} paddle play,",
            "in an old video game of table tennis,",
        )
        return [sentence(f"{subject} {outcome}") for subject in subjects for outcome in outcomes]
