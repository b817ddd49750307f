"""The `gym-pusht` simulator as a gymnasium environment whose observations are clean small pictures.

`gym-pusht` shrinks its 512 px drawing by bilinear interpolation, which at 64 px skips most of it (edges flicker, the disc changes
shape as it moves), and its `render` draws a cursor over the scene. Here the same drawing is averaged over area instead.

May import: interfaces, gymnasium, numpy, gym-pusht. Refuses to know: policies, clips, models.
"""

import os
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from worldline.interfaces import ActionSpec

if TYPE_CHECKING:
    from gym_pusht.envs.pusht import PushTEnv

ARENA_SIZE = 512.0
"""Side of the table in environment units: positions and actions lie in [0, 512], x to the right and y down."""

GOAL_POSE = (256.0, 256.0, np.pi / 4)
"""Where the block should be: x, y, angle in radians."""

STATE_NAMES = ("agent_x", "agent_y", "block_x", "block_y", "block_angle", "agent_velocity_x", "agent_velocity_y")
"""Components of a state: environment units, radians (not wrapped), environment units per second."""

RATE_HZ = 10.0


_APART = (50.0, 50.0, 300.0, 300.0, 0.0)
"""A scene in which nothing touches."""


def pusht_action_spec() -> ActionSpec:
    """Bounds of a Push-T action: the absolute point, in environment units, that the agent is drawn to."""
    return ActionSpec(low=(0.0, 0.0), high=(ARENA_SIZE, ARENA_SIZE), names=("target_x", "target_y"))


def make_pusht(size: int = 64, *, frame_skip: int = 1) -> "PushT":
    """Push-T with observations (size, size, 3) and `frame_skip` simulator steps of 0.1 s per action; see `PushT`."""
    return PushT(size=size, frame_skip=frame_skip)


class PushT(gymnasium.Env[np.ndarray, np.ndarray]):
    """Push-T seen from above.

    Observation: (size, size, 3) uint8, RGB. Action: (2,) float32 target of the agent, environment units in [0, 512].
    Reward: coverage of the goal by the block, in [0, 1]. Terminates at 95 % coverage; never truncates.
    `info` holds `state` ((7,) float64, see `STATE_NAMES`), `coverage` and `is_success`.

    `reset(seed=...)` draws a start that the seed determines. `reset(options={"state": state})` starts from a given state of five
    or seven components; the simulator's contact cache is not part of a state, so a replay from the seed is bit-exact and a replay
    from a state only close to it.

    Raises:
        ImportError: if `gym-pusht` is not installed.
        ValueError: if `size` or `frame_skip` is not positive, an action is not a finite point, or a state to start
            from has the wrong length.
    """

    def __init__(self, *, size: int = 64, frame_skip: int = 1) -> None:
        if size < 1 or frame_skip < 1:
            raise ValueError(f"size and frame_skip must be at least 1, got size={size}, frame_skip={frame_skip}")
        self.size = size
        self.frame_skip = frame_skip
        self.render_mode = "rgb_array"
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": RATE_HZ / frame_skip}
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(0.0, ARENA_SIZE, (2,), np.float32)
        self._simulator = make_simulator()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; returns the first picture and `info`."""
        super().reset(seed=seed)
        if options is not None and "state" in options:
            # The simulator runs a step when it resets. From a random scene, which it would draw, that step may push the block.
            self._simulator.reset(seed=seed, options={"reset_to_state": _APART})
            self._set_state(np.asarray(options["state"], dtype=np.float64))
        else:
            self._simulator.reset(seed=seed)
        return self.render(), self._info(self._simulator._get_coverage())

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold `action` for `frame_skip` simulator steps; returns picture, coverage, terminated, truncated and `info`."""
        info = self.advance(action)
        return self.render(), info["coverage"], info["is_success"], False, info

    def advance(self, action: np.ndarray) -> dict[str, Any]:
        """As `step`, without drawing; returns `info`."""
        target = np.asarray(action, dtype=np.float64)
        if target.shape != (2,) or not np.isfinite(target).all():
            raise ValueError(f"a Push-T action is a finite target (x, y), got {action}")
        for _ in range(self.frame_skip):
            *_, simulator_info = self._simulator.step(target)
        return self._info(simulator_info["coverage"])

    def render(self) -> np.ndarray:
        """The scene as (size, size, 3) uint8: the simulator's own drawing, averaged over the area of each pixel."""
        return draw_scene(self._simulator, self.size)

    def close(self) -> None:
        """Release the simulator."""
        self._simulator.close()

    def _info(self, coverage: float) -> dict[str, Any]:
        agent, block = self._simulator.agent, self._simulator.block
        return {
            "state": np.array([*agent.position, *block.position, block.angle, *agent.velocity]),
            "coverage": float(coverage),
            "is_success": bool(coverage > self._simulator.success_threshold),
        }

    def _set_state(self, state: np.ndarray) -> None:
        if state.shape not in {(5,), (7,)}:
            raise ValueError(f"a Push-T state has 5 or 7 components {STATE_NAMES}, got shape {state.shape}")
        agent, block = self._simulator.agent, self._simulator.block
        agent.position = tuple(state[:2])
        agent.velocity = tuple(state[5:]) if len(state) == 7 else (0.0, 0.0)
        # Turning the block moves its origin (it turns about its centre of mass), so the angle comes first.
        block.angle = state[4]
        block.position = tuple(state[2:4])
        self._simulator.space.reindex_shapes_for_body(agent)
        self._simulator.space.reindex_shapes_for_body(block)


def make_simulator() -> "PushTEnv":
    """A `gym-pusht` environment, imported only now and without a display."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        from gym_pusht.envs.pusht import PushTEnv  # noqa: PLC0415
    except ImportError as error:
        raise ImportError('Push-T needs the gym-pusht simulator; install it with: pip install "worldline[pusht]"') from error
    return PushTEnv(obs_type="state")


def draw_scene(simulator: "PushTEnv", size: int, table_color: tuple[int, int, int] | None = None) -> np.ndarray:
    """The simulator's own drawing, averaged over area to (size, size, 3) uint8; its white table in `table_color`, RGB, if given."""
    import cv2  # noqa: PLC0415  (comes with gym-pusht)

    drawing = simulator._draw()
    width, height = drawing.get_size()
    # The drawing's bytes are blue, green, red, unused: averaging them in place is four times as fast as unpacking first.
    pixels = np.frombuffer(drawing.get_view("0"), dtype=np.uint8).reshape(height, width, 4)
    if table_color is not None:
        pixels = pixels.copy()
        words = pixels.view(np.uint32)[..., 0]
        words[(words & 0xFFFFFF) == 0xFFFFFF] = int.from_bytes(bytes(table_color), "big")
    small = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[..., 2::-1])
