"""What a simulated domain is: a third-party simulator that can be started, pushed, looked at and asked what is true.

Each domain is one class in a file or folder beside this one. `envs.record` turns any of them into clips, `envs.zoo` lists them.

May import: interfaces, numpy, torch. Refuses to know: any simulator. Physics is the simulator's, never ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from worldline.interfaces import ActionSpec

Value = float | int | str | bool
Act = Callable[[], np.ndarray | None]
"""Chooses the next action (A,) from what the simulator knows; None in a domain without actions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribute:
    """Something that differs between episodes, and how it is drawn.

    Attributes:
        name: as it is recorded, with its unit where it has one (`friction`, `gravity_m_s2`, `block_color`).
        kind: `appearance` changes the picture only, `physics` what happens, `scene` what there is.
        usual: values in training and validation episodes: (low, high) of a uniform draw, or a sequence of choices.
        unusual: values in out-of-distribution episodes, none of them usual; None if the attribute has no such values.
    """

    name: str
    kind: Literal["appearance", "physics", "scene"]
    usual: tuple[float, float] | Sequence[str] | Sequence[int]
    unusual: tuple[float, float] | Sequence[str] | Sequence[int] | None = None

    def draw(self, generator: np.random.Generator, *, unusual: bool = False) -> Value:
        """One value."""
        values = self.unusual if unusual and self.unusual is not None else self.usual
        if isinstance(values, tuple) and len(values) == 2 and all(isinstance(value, float) for value in values):
            return float(generator.uniform(float(values[0]), float(values[1])))
        return list(values)[int(generator.integers(len(values)))]


class Simulator(ABC):
    """One running simulation. An episode is a function of (seed, attributes, actions), bit for bit unless `determinism` says otherwise.

    Class attributes:
        name: of the domain, as in `worldline collect NAME`.
        extra: the optional dependency that it needs, as in `pip install "worldline[extra]"`.
        rate_hz: frames per second of simulated time; one `step` is one frame.
        action_spec: bounds and names of an action; None for a domain without actions.
        state_names: components of `state()`.
        event_names: events that `events()` reports.
        policy_names: policies that `policy()` makes, the most interesting one first, "random" among them where there are actions.
        attributes: what differs between episodes.
        determinism: what is promised, in one sentence.
        restores: whether `save` and `load` go back within an episode: "exactly", so that what follows is the same bit for bit; "nearly",
            which a test holds to a tolerance; or "no", and an episode has to be run again from its seed.
    """

    name: ClassVar[str]
    extra: ClassVar[str]
    rate_hz: ClassVar[float]
    action_spec: ClassVar[ActionSpec | None]
    state_names: ClassVar[tuple[str, ...]]
    event_names: ClassVar[tuple[str, ...]]
    policy_names: ClassVar[tuple[str, ...]]
    attributes: ClassVar[tuple[Attribute, ...]]
    determinism: ClassVar[str] = "The same seed, attributes and actions give the same episode, bit for bit."
    restores: ClassVar[Literal["exactly", "nearly", "no"]] = "no"

    @abstractmethod
    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode. `attributes` has a value for every attribute; everything else that is random follows from `seed` alone."""

    @abstractmethod
    def step(self, action: np.ndarray | None) -> None:
        """Go on by one frame, 1 / `rate_hz` seconds, under `action` (A,), environment units."""

    def advance(self, action: np.ndarray | None) -> None:
        """Go on as `step` does, to the last bit, where only `state` and `render` are asked: `events` and `captions` may not know of it.

        For planners, which imagine thousands of frames of which nobody asks more. A domain overrides it where that is quicker.
        """
        self.step(action)

    @abstractmethod
    def render(self, size: int) -> np.ndarray:
        """The present picture, (size, size, 3) uint8, RGB. Does not change the simulation."""

    @abstractmethod
    def state(self) -> np.ndarray:
        """Ground truth (D,) float64, as `state_names` says."""

    @abstractmethod
    def events(self) -> Mapping[str, bool]:
        """For every event, whether it happened in the last step (or holds, for events that last); all False right after `reset`."""

    @abstractmethod
    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """A policy for the episode that was just reset, which draws from `generator` only."""

    @abstractmethod
    def captions(self) -> Sequence[str]:
        """Many phrasings of what this episode shows: objects, colours, materials, and what happens. Called after the last step."""

    def save(self) -> object:
        """All that the rest of the episode depends on, for `load`; only where `restores` says so.

        Raises:
            ValueError: if this domain cannot be restored.
        """
        raise ValueError(f"{self.name} cannot be restored; run the episode again from its seed")

    def load(self, saved: object) -> None:
        """Go back, in the same episode (seed and attributes), to where `save` was called. `saved` stays as it is, for any number of calls.

        Raises:
            ValueError: if this domain cannot be restored.
        """
        raise ValueError(f"{self.name} cannot be restored; run the episode again from its seed")

    def close(self) -> None:  # noqa: B027  (most simulators have nothing to release)
        """Release the simulator."""
