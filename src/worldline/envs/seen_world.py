"""A true simulator seen through a tokenizer: a `World` whose frames are the simulator's and whose latents are a learned world's.

What acts on a learned world's latents is trained or run here exactly as it is in imagination:

    world = World.load("push")
    real = SeenWorld([PushTScene() for _ in range(32)], world.tokenizer.encode, action_spec=world.action_spec)
    state = real.begin(starts)                      # simulators set to where recorded frames were
    state = real.step(state, actor(state))          # the simulator moves, its picture is encoded

`SimulatorWorld` is for planners, which go back; here each row is a simulator of its own that only goes forward, as in any real loop.

May import: interfaces, envs.pusht, envs.simulator, numpy, torch. Refuses to know: how a tokenizer works, objectives, learners.

Shapes: B rows, W frames that the tokenizer looks at, S tokens, C channels, D components of the ground truth, A action components.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from worldline.envs.pusht import PushT, make_pusht
from worldline.envs.simulator import Simulator, Value
from worldline.interfaces import ActionSpec, Rollout, State


class Scene(Protocol):
    """One simulator that can be set to a recorded place, stepped and looked at."""

    def begin(self, place: Any) -> None:
        """Go to a place: whatever this simulator can be set from."""
        ...

    def step(self, action: np.ndarray) -> None:
        """Go on by one frame of the world under `action` (A,), environment units."""
        ...

    def picture(self) -> np.ndarray:
        """What is seen now, (H, W, 3) uint8, RGB."""
        ...

    def truth(self) -> np.ndarray:
        """Ground truth (D,)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Start:
    """Where a row begins.

    Attributes:
        place: what `Scene.begin` takes.
        frames: (P, 3, H, W) float in [0, 1], the recorded frames up to and with that of the place; the last W of them are encoded.
    """

    place: Any
    frames: Tensor


class SeenWorld:
    """`World` that only goes forward: rows of simulators, their pictures encoded. A latent is (S, C), as in the learned world.

    `State.heads["truth"]` is the simulators' ground truth, (B, D), which an objective may score instead of latents. Deterministic: noise
    and seeds change nothing, and all samples are alike. **Not differentiable** in the actions. A new `begin` ends all states before it, and
    a step ends the state that it went on from, since simulators have moved.

    Args:
        scenes: one simulator per row, at most B.
        encode: frames (B, W, 3, H, W) in [0, 1] -> latents (B, W, S, C), such as a learned world's `tokenizer.encode`.
        action_spec: bounds of the actions.
        window: W, frames behind one latent.

    Raises:
        ValueError: if there are no scenes, or the window is not positive.
    """

    def __init__(
        self, scenes: Sequence[Scene], encode: Callable[[Tensor], Tensor], *, action_spec: ActionSpec | None, window: int = 2
    ) -> None:
        if not scenes or window < 1 or action_spec is None:
            raise ValueError(f"{len(scenes)} scenes, window {window}, action_spec {action_spec}; give scenes, a window and bounds")
        self._scenes, self._encode, self._window = list(scenes), encode, window
        self.action_spec: ActionSpec | None = action_spec
        self.noise_shape: tuple[int, ...] = (1, 1)  # of noise that changes nothing
        self._now = object()
        self.num_frames = 0  # that simulators went, over all rows

    def begin(self, starts: Sequence[Start]) -> State:
        """The state of rows at recorded places; their latents are those of the recorded frames.

        Raises:
            ValueError: if there are more rows than scenes, or fewer frames than the tokenizer looks at.
        """
        if not 0 < len(starts) <= len(self._scenes) or min(len(start.frames) for start in starts) < self._window:
            shown = [len(start.frames) for start in starts]
            raise ValueError(f"starts with {shown} frames for {len(self._scenes)} scenes and a window of {self._window}")
        for scene, start in zip(self._scenes, starts, strict=False):
            scene.begin(start.place)
        return self._seen(torch.stack([start.frames[-self._window :] for start in starts]), position=self._window)

    def step(self, state: State, action: Tensor | None, *, noise: Tensor | None = None, seed: int | None = None) -> State:
        """The next state under `action` (B, A); no action is the middle of the bounds. See `interfaces.World.step`.

        Raises:
            ValueError: if the shape does not fit, an action is not finite, or the simulators have moved on from `state`.
        """
        assert self.action_spec is not None
        if state.memory is None or state.memory[0] is not self._now:
            raise ValueError("the simulators have moved on from this state; a SeenWorld only goes forward, SimulatorWorld goes back")
        if action is None:
            action = self.action_spec.denormalize(torch.zeros(state.batch_size, self.action_spec.dim))
        if action.shape != (state.batch_size, self.action_spec.dim) or not bool(action.isfinite().all()):
            raise ValueError(f"actions are {tuple(action.shape)}; give finite {(state.batch_size, self.action_spec.dim)}")
        given = self.action_spec.clamp(action.detach()).float().cpu().numpy()
        for scene, row in zip(self._scenes, given, strict=False):
            scene.step(row)
        self.num_frames += len(given)
        frames = torch.stack([_picture(scene) for scene in self._scenes[: len(given)]])
        seen = torch.cat([state.memory[1], frames[:, None]], 1)[:, -self._window :]
        return self._seen(seen, position=state.position + 1)

    def rollout(self, state: State, actions: Tensor, *, samples: int = 1, noise: Tensor | None = None, seed: int | None = None) -> Rollout:
        """What follows under `actions` (B, T, A); see `interfaces.World.rollout`. One sample: simulators cannot be copied."""
        if samples != 1 or actions.ndim != 3:
            raise ValueError(f"samples is {samples}, actions {tuple(actions.shape)}; a SeenWorld goes once, under (B, T, A)")
        states = []
        for action in actions.unbind(1):
            state = self.step(state, action)
            states.append(state)
        latents = torch.stack([one.latent for one in states], 1)[None]
        return Rollout(
            latents=latents, actions=actions, state=state, heads={"truth": torch.stack([s.heads["truth"] for s in states], 1)[None]}
        )

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """The simulators' own pictures of a state, (B, 3, H, W) in [0, 1].

        Raises:
            ValueError: for anything but a state.
        """
        if not isinstance(source, State):
            raise ValueError("a SeenWorld draws states only; decode rollouts and latents with the learned world")
        return source.memory[1][:, -1]

    def fork(self, state: State, count: int) -> State:
        """Not possible, unless `count` is 1.

        Raises:
            ValueError: always, unless `count` is 1.
        """
        if count != 1:
            raise ValueError("simulators that only go forward cannot be copied; use SimulatorWorld")
        return state

    @torch.no_grad()
    def _seen(self, frames: Tensor, *, position: int) -> State:
        self._now = object()
        truth = torch.from_numpy(np.stack([scene.truth() for scene in self._scenes[: len(frames)]])).float()
        latents = self._encode(frames)[:, -1]
        return State(latent=latents, position=position, memory=(self._now, frames), heads={"truth": truth})


class PushTScene:
    """Push-T (`envs.pusht.PushT`) as a `Scene`; a place is a state of five or seven components, the truth all seven and the coverage.

    Args:
        size: side of the pictures, in pixels.
        frame_skip: simulator steps of 0.1 s per frame.
    """

    def __init__(self, *, size: int = 64, frame_skip: int = 4) -> None:
        self._env: PushT = make_pusht(size, frame_skip=frame_skip)
        self._seen: tuple[np.ndarray, np.ndarray] | None = None

    def begin(self, place: Any) -> None:
        """See `Scene.begin`."""
        picture, info = self._env.reset(options={"state": np.asarray(place, np.float64)})
        self._seen = picture, np.append(info["state"], info["coverage"])

    def step(self, action: np.ndarray) -> None:
        """See `Scene.step`."""
        picture, *_, info = self._env.step(action)
        self._seen = picture, np.append(info["state"], info["coverage"])

    def picture(self) -> np.ndarray:
        """See `Scene.picture`."""
        return self._now()[0]

    def truth(self) -> np.ndarray:
        """See `Scene.truth`; (8,)."""
        return self._now()[1]

    def _now(self) -> tuple[np.ndarray, np.ndarray]:
        if self._seen is None:
            raise RuntimeError("call begin before looking")
        return self._seen


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moment:
    """A moment of an episode of a zoo domain: what `SimulatorScene` begins at.

    Attributes:
        seed: that the simulator was reset with.
        attributes: of the episode.
        saved: what `Simulator.save` gave.
    """

    seed: int
    attributes: Mapping[str, Value]
    saved: object


class SimulatorScene:
    """A domain of the zoo as a `Scene`; a place is a `Moment`, the truth `Simulator.state`.

    Args:
        simulator: one that goes back exactly.
        size: side of the pictures, in pixels.
        frame_skip: frames of the simulator per frame of the world, whose action is all of theirs side by side.

    Raises:
        ValueError: if the simulator cannot go back exactly.
    """

    def __init__(self, simulator: Simulator, *, size: int = 64, frame_skip: int = 1) -> None:
        if simulator.restores != "exactly":
            raise ValueError(f"{simulator.name} cannot be set to a recorded moment exactly")
        self.simulator, self._size, self._frame_skip = simulator, size, frame_skip

    def begin(self, place: Any) -> None:
        """See `Scene.begin`."""
        assert isinstance(place, Moment)
        self.simulator.reset(place.seed, place.attributes)
        self.simulator.load(place.saved)

    def step(self, action: np.ndarray) -> None:
        """See `Scene.step`."""
        for one in action.reshape(self._frame_skip, -1):
            self.simulator.step(one)

    def picture(self) -> np.ndarray:
        """See `Scene.picture`."""
        return self.simulator.render(self._size)

    def truth(self) -> np.ndarray:
        """See `Scene.truth`."""
        return self.simulator.state()

    def moment(self, seed: int, attributes: Mapping[str, Value]) -> Moment:
        """Where the simulator is now, in the episode that it was reset to."""
        return Moment(seed=seed, attributes=attributes, saved=self.simulator.save())


class SharedScene(SimulatorScene):
    """One of many rows on one simulator, which is set to each row's moment in turn: the same bits as with a simulator of its own.

    Many simulators that draw without a GPU are slow, since changing between their graphics costs more than a picture: of 64 rows of
    `reacher`, each takes 17 ms a frame with a simulator of its own and 5 with one for all. A row is looked at when it moves.

    Args:
        simulator: one that goes back exactly; the same for all rows.
        size: see `SimulatorScene`.
        frame_skip: see `SimulatorScene`.
    """

    def __init__(self, simulator: Simulator, *, size: int = 64, frame_skip: int = 1) -> None:
        super().__init__(simulator, size=size, frame_skip=frame_skip)
        self._kept: tuple[Moment, np.ndarray, np.ndarray] | None = None

    def begin(self, place: Any) -> None:
        """See `Scene.begin`."""
        super().begin(place)
        self._keep(place)

    def step(self, action: np.ndarray) -> None:
        """See `Scene.step`."""
        last = self._row()[0]
        super().begin(last)
        super().step(action)
        self._keep(last)

    def picture(self) -> np.ndarray:
        """See `Scene.picture`."""
        return self._row()[1]

    def truth(self) -> np.ndarray:
        """See `Scene.truth`."""
        return self._row()[2]

    def _keep(self, last: Moment) -> None:
        self._kept = self.moment(last.seed, last.attributes), super().picture(), super().truth()

    def _row(self) -> tuple[Moment, np.ndarray, np.ndarray]:
        if self._kept is None:
            raise RuntimeError("call begin before looking")
        return self._kept


def _picture(scene: Scene) -> Tensor:
    return torch.from_numpy(scene.picture().copy()).permute(2, 0, 1).float() / 255
