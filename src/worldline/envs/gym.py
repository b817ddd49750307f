"""Any simulated domain as a gymnasium environment.

May import: interfaces, envs.simulator, envs.record, gymnasium, numpy. Refuses to know: which simulators there are.
"""

from typing import Any

import gymnasium
import numpy as np

from worldline.envs.simulator import Simulator, Value


class SimulatorEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A `Simulator` behind gymnasium's interface.

    Observation: (size, size, 3) uint8, RGB. Action: (A,) float32 within the domain's bounds; without components in a domain that cannot be
    acted in. Reward: 1 for a step in which `reward_event` happened, else 0. Never terminates; truncates after `max_steps`.
    `info` holds `state` (D,), `events` and `attributes`.

    `reset(seed=...)` draws attributes and scene from the seed. `reset(options={"attributes": {...}})` sets some attributes,
    `options={"unusual": True}` draws the others from their unusual values.

    Args:
        simulator: of which the environment becomes the owner; `close` closes it.
        size: side of the pictures, in pixels.
        reward_event: one of the domain's events, or None for no reward.
        max_steps: steps until truncation, or None for never.

    Raises:
        ValueError: if an argument is out of range, an attribute unknown, or an action not finite.
    """

    def __init__(self, simulator: Simulator, *, size: int = 64, reward_event: str | None = None, max_steps: int | None = None) -> None:
        if size < 1 or (max_steps is not None and max_steps < 1):
            raise ValueError(f"size and max_steps must be at least 1, got size={size}, max_steps={max_steps}")
        if reward_event is not None and reward_event not in simulator.event_names:
            raise ValueError(f"{simulator.name} has no event {reward_event!r}; it has {', '.join(simulator.event_names)}")
        self.simulator = simulator
        self.size = size
        self.render_mode = "rgb_array"
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": simulator.rate_hz}
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)
        spec = simulator.action_spec
        low, high = ((), ()) if spec is None else (spec.low, spec.high)
        self.action_space = gymnasium.spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)
        self._reward_event = reward_event
        self._max_steps = max_steps
        self._attributes: dict[str, Value] = {}
        self._num_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; returns the first picture and `info`."""
        super().reset(seed=seed)
        options = options or {}
        given, unusual = dict(options.get("attributes", {})), bool(options.get("unusual", False))
        attributes = {one.name: one.draw(self.np_random, unusual=unusual) for one in self.simulator.attributes}
        if unknown := sorted(given.keys() - attributes.keys()):
            raise ValueError(f"{self.simulator.name} has no attribute {', '.join(unknown)}; it has {', '.join(attributes)}")
        self._attributes = attributes | given
        self._num_steps = 0
        self.simulator.reset(int(self.np_random.integers(2**31)), self._attributes)
        return self.render(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame under `action` (A,); returns picture, reward, terminated, truncated and `info`."""
        values = np.asarray(action, np.float32)
        if values.shape != self.action_space.shape or not np.isfinite(values).all():
            raise ValueError(f"an action of {self.simulator.name} has shape {self.action_space.shape} and is finite, got {action}")
        self.simulator.step(None if self.simulator.action_spec is None else values)
        self._num_steps += 1
        info = self._info()
        reward = float(self._reward_event is not None and info["events"][self._reward_event])
        return self.render(), reward, False, self._num_steps == self._max_steps, info

    def render(self) -> np.ndarray:
        """The present picture, (size, size, 3) uint8."""
        return self.simulator.render(self.size)

    def close(self) -> None:
        """Release the simulator."""
        self.simulator.close()

    def _info(self) -> dict[str, Any]:
        return {"state": self.simulator.state(), "events": dict(self.simulator.events()), "attributes": dict(self._attributes)}
