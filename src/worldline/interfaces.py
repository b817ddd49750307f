"""Records and protocols: the words that every room shares.

A planner, a reward, a policy or an agent knows only this file. Any backend that implements `World` plugs in: the learned
model, a point mass with a closed-form answer, a pretrained video model or a true simulator.

May import: torch. Refuses to know: how any of it is computed, stored or drawn.

Shapes: B batch, M samples (futures of one row), T frames, S tokens per frame, C latent channels, A action dimensions,
H height, W width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSpec:
    """What one action vector means: its bounds, and optionally the name of each component.

    Worlds, planners and policies speak in the units of the environment; a learned world maps them to [-1, 1] inside.

    Raises:
        ValueError: if `low` and `high` differ in length, are not finite, or leave no room between them.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high):
            raise ValueError(f"low has {len(self.low)} components and high has {len(self.high)}; give one bound each per action component")
        for index, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not (-float("inf") < low < high < float("inf")):
                raise ValueError(f"action component {index} has bounds [{low}, {high}]; give finite bounds with low < high")
        if self.names and len(self.names) != len(self.low):
            raise ValueError(f"{len(self.names)} names for {len(self.low)} action components; give one name per component or none")

    @property
    def dim(self) -> int:
        """Number of action components, A."""
        return len(self.low)

    def normalize(self, actions: Tensor) -> Tensor:
        """Map actions (..., A) in environment units to [-1, 1]; differentiable, does not clip."""
        low, high = self._bounds(actions)
        return (actions - low) / (high - low) * 2 - 1

    def denormalize(self, actions: Tensor) -> Tensor:
        """Map actions (..., A) in [-1, 1] to environment units; differentiable, does not clip."""
        low, high = self._bounds(actions)
        return (actions + 1) / 2 * (high - low) + low

    def clamp(self, actions: Tensor) -> Tensor:
        """Clip actions (..., A), in environment units, to the bounds."""
        low, high = self._bounds(actions)
        return torch.minimum(torch.maximum(actions, low), high)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if like.shape[-1] != self.dim:
            raise ValueError(f"actions have {like.shape[-1]} components in their last dimension, this world has {self.dim}")
        return like.new_tensor(self.low), like.new_tensor(self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A recorded stretch of video with what is known about it.

    `actions[t]` is applied at frame `t` and leads to frame `t + 1` (gymnasium's and LeRobot's convention).

    Attributes:
        frames: (T, 3, H, W) uint8, RGB.
        rate_hz: frames per second.
        source: what the clip was cut from (an episode, a site); train and held-out sets are split by it.
        actions: (T, A) float, environment units; None when the video carries no labels.
        states: (T, D) float, ground truth where a simulator knows it.
        rewards: (T,) float; `rewards[t]` is what arriving at frame `t` earned.
        text: caption or task in words.
        labels: further values of each frame by name, each (T,) or (T, D): event flags, scores.
        facts: values of the whole clip by name: a seed, a friction, a colour, a score.
    """

    frames: Tensor
    rate_hz: float
    source: str
    actions: Tensor | None = None
    states: Tensor | None = None
    rewards: Tensor | None = None
    text: str | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, float | int | str | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.frames.ndim != 4 or self.frames.shape[1] != 3:
            raise ValueError(f"frames must be (T, 3, H, W) uint8, got {tuple(self.frames.shape)} {self.frames.dtype}")
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz must be positive, got {self.rate_hz}")
        for name in ("actions", "states", "rewards"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.frames):
                raise ValueError(f"{name} has {len(value)} rows for {len(self.frames)} frames; give one row per frame")
        for name, value in self.labels.items():
            if len(value) != len(self.frames):
                raise ValueError(f"label {name} has {len(value)} rows for {len(self.frames)} frames; give one row per frame")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one training step sees. Masks say which labels exist, so labelled and unlabelled video mix freely.

    Attributes:
        frames: (B, T, 3, H, W) float in [0, 1]; None when `latents` are cached.
        latents: (B, T, S, C) float; None when training on pixels.
        actions: (B, T, A) float, environment units, zero where unknown; None when nothing in the batch is labelled.
        action_mask: (B, T) bool, True where the action is known.
        rewards: (B, T) float, of arriving at each frame, zero where unknown.
        reward_mask: (B, T) bool.
        dataset: which data set of a mixture all rows come from, and so which meaning the actions have; None where there is one.
    """

    frames: Tensor | None = None
    latents: Tensor | None = None
    actions: Tensor | None = None
    action_mask: Tensor | None = None
    rewards: Tensor | None = None
    reward_mask: Tensor | None = None
    dataset: str | None = None

    def __post_init__(self) -> None:
        if (self.frames is None) == (self.latents is None):
            raise ValueError("a batch holds either frames or latents, exactly one of the two")
        video = self.frames if self.frames is not None else self.latents
        assert video is not None
        for name in ("actions", "action_mask", "rewards", "reward_mask"):
            value = getattr(self, name)
            if value is not None and value.shape[:2] != video.shape[:2]:
                raise ValueError(f"{name} is {tuple(value.shape)} beside video {tuple(video.shape)}; the first two dimensions must agree")


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Everything a world needs to go on from here. A value: no operation changes it, forks share its storage.

    Attributes:
        latent: (B, S, C), the newest frame.
        position: frames seen and imagined so far.
        memory: what the backend keeps of the past (an attention cache, a simulator snapshot); opaque to everyone else.
        heads: what the heads read at the newest frame, each (B, ...).
        text: (B, L, D) text embedding, if the world is conditioned on words.
        detail: what pictures of this state show beyond its latent, from the newest true frame; opaque. None: they are of the latent alone.
    """

    latent: Tensor
    position: int
    memory: Any = None
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    text: Tensor | None = None
    detail: Any = None

    @property
    def batch_size(self) -> int:
        """Number of rows, B."""
        return self.latent.shape[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """Imagined futures.

    Attributes:
        latents: (M, B, T, S, C); frame `t` is what follows `actions[:, t]`.
        actions: (B, T, A), environment units; None for a world rolled without actions.
        state: the state after the last frame, batch M * B, samples first.
        heads: what the heads read at each frame, each (M, B, T, ...).
    """

    latents: Tensor
    actions: Tensor | None
    state: State
    heads: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.latents.ndim != 5:
            raise ValueError(f"latents must be (M, B, T, S, C), got {tuple(self.latents.shape)}")

    @property
    def num_samples(self) -> int:
        """Number of futures per row, M."""
        return self.latents.shape[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that is about to happen: its name, the probability that it does, and when (frames from now)."""

    name: str
    probability: float
    frame: int | None = None


PlanStatus = Literal["ok", "reached", "short", "budget", "infeasible", "not finite", "no gradient"]
"""How a search ended, see `Plan.status`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a planner proposes. Whatever happened in the search, the actions are finite and inside the bounds.

    Attributes:
        actions: (T, A), environment units, inside the bounds.
        score: the objective's value of these actions, higher is better; minus infinity if they were never scored.
        trace: best score after each iteration, for plots and for tests of convergence.
        num_evaluations: candidate rollouts that were paid for.
        num_frame_evaluations: what the search cost: frames that were imagined, times the passes that one takes (K denoising steps), plus
            twice that where a gradient was taken.
        status: "ok": the search ended as it should; "reached": it ended early, at the score that was asked for; "short": it did not get to
            that score, so the goal may be out of reach; "budget": the budget did not pay for a single candidate; "infeasible": no plan
            that keeps the constraints was found; "not finite": the world or the objective gave no finite score; "no gradient": the
            scores do not depend differentiably on the actions, so a planner that needs gradients could not search.
        message: what that means for this plan, in words; empty if all is well.
        elites: (E, T, A) the best plans, best first, environment units; the next search may start from them. None if only one was kept.
    """

    actions: Tensor
    score: float
    trace: tuple[float, ...] = ()
    num_evaluations: int = 0
    num_frame_evaluations: int = 0
    status: PlanStatus = "ok"
    message: str = ""
    elites: Tensor | None = None


@runtime_checkable
class World(Protocol):
    """A world that can be stepped, forked, rolled out and decoded. `testing.check_world` checks an implementation.

    Every method is pure: a state that was passed in stays valid. Randomness is an input: with `noise` or `seed` a call is a
    deterministic, differentiable function of (state, actions, noise). A seed draws one noise sequence per sample and shares it among
    the rows of the batch (common random numbers), so a row's result does not depend on its neighbours. With neither, fresh
    independent noise is drawn from torch's global generator. No method wraps itself in `no_grad` or detaches.
    """

    @property
    def action_spec(self) -> ActionSpec | None:
        """Bounds of the actions; None for a world that was trained without actions."""
        ...

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise behind one frame, usually (S, C)."""
        ...

    def step(self, state: State, action: Tensor | None, *, noise: Tensor | None = None, seed: int | None = None) -> State:
        """The next state. `action` is (B, A) or None (the learned null action); `noise` is (B or 1, *noise_shape)."""
        ...

    def rollout(
        self,
        state: State,
        actions: Tensor,
        *,
        samples: int = 1,
        noise: Tensor | None = None,
        seed: int | None = None,
    ) -> Rollout:
        """Futures of `state` under `actions` (B, T, A).

        A state of batch 1 is shared by all B rows of actions without being copied. Actions are float32 or wider also where the world
        imagines in half precision; it rounds them itself, once they are in its units. `noise` is (M, B or 1, T, *noise_shape)
        and, where given, says how many samples there are. A world without actions takes actions of shape (B, T, 0), which only
        say how many rows and frames are wanted.
        """
        ...

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """Pixels in [0, 1]: (B, 3, H, W) of a state, (M, B, T, 3, H, W) of a rollout, (..., 3, H, W) of latents (..., S, C).

        Those of a state and of a rollout may show more than their latents do (`State.detail`).
        """
        ...

    def fork(self, state: State, count: int) -> State:
        """`count` copies of each row, consecutive, batch B * count, sharing the storage of the past."""
        ...


@runtime_checkable
class SelectableWorld(World, Protocol):
    """A world whose states can be picked row by row, so that the branches of a tree go on from shared states; see `World`."""

    def select(self, state: State, rows: Tensor) -> State:
        """The state of rows (N,), integers that may repeat, of `state`; batch N. Differentiable; what all rows share stays shared."""
        ...


@runtime_checkable
class RestartableWorld(World, Protocol):
    """A world that can go on from latents alone, which planning with lifted states needs; see `World`."""

    def restart(self, latents: Tensor) -> State:
        """The state at latents (B, S, C) with no past before them; differentiable in the latents."""
        ...


def evaluations_per_frame(world: World) -> int:
    """Passes that one imagined frame takes: a world's `evaluations_per_frame` (K denoising steps), 1 for worlds that do not say."""
    return int(getattr(world, "evaluations_per_frame", 1))


def backward_passes(world: World, num_frames: int) -> int:
    """Rollouts that going back through one of `num_frames` frames takes: what a world's `backward_passes` says; 2 for those that do not."""
    said = getattr(world, "backward_passes", None)
    return 2 if said is None else int(said(num_frames))


@runtime_checkable
class Objective(Protocol):
    """Scores rollouts; higher is better. Any function of a rollout will do."""

    def __call__(self, rollout: Rollout, /) -> Tensor:
        """(B,) scores of a rollout, averaged over its samples; differentiable where the objective is."""
        ...


@runtime_checkable
class Planner(Protocol):
    """Turns a state into a plan."""

    def plan(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> Plan:
        """Plan from `state`, which has batch 1; `initial` (T, A) is where the search starts, such as the last plan moved on.

        A world that gives no number, a goal out of reach or a budget that is too small make no exception but a plan that says so in
        its status; only input that no search can use (wrong shapes) raises ValueError.
        """
        ...


@runtime_checkable
class Policy(Protocol):
    """Acts from a state."""

    def __call__(self, state: State) -> Tensor:
        """(B, A) actions in environment units."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """Anything that the training loop can train: a `torch.nn.Module` with a loss."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms, which the loop balances and adds. Randomness comes from torch's global generator."""
        ...


@runtime_checkable
class BatchSource(Protocol):
    """An endless stream of batches whose position can be saved; the stream after a restore is the one that would have come."""

    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]:
        """The position, JSON-serialisable."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position that `state_dict` returned."""
        ...
