"""A world whose latents are of the last few frames, so that what acts on them sees motion.

One picture holds no speed, and neither do its latents where the tokenizer looks at one frame at a time. `RecentFrames` goes around any
world, a learned one or a simulator seen through a tokenizer, and changes nothing but what a state shows; learners, critics and policies
need not know. `read`, such as a probe, may first make something smaller of each frame's latents.

    world = RecentFrames(World.load("push"), frames=2)
    state = world.begin(inner, before)              # a real state of the world inside, and latents of the frames before it
    state = world.step(state, actor(state))         # state.latent: (B, 2 S, C), the newest frame last

May import: torch and `worldline.interfaces`. Refuses to know: how a world is learned, learners, objectives.

Shapes: B rows, M samples, T frames, W frames that are shown, S tokens and C channels of one frame, A action components.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worldline.interfaces import ActionSpec, Rollout, State, World, backward_passes, evaluations_per_frame


@dataclass(frozen=True, slots=True, eq=False)
class _Past:
    """The state inside, and what was read off each of the W newest frames, (B, W, S, C)."""

    inner: State
    seen: Tensor


class RecentFrames:
    """`World` around a world: `State.latent` is (B, W * S, C), what is read off the last W frames, oldest first.

    Everything else, noise, heads and pictures included, is that of the world inside; as differentiable as that is and `read` is.

    Args:
        world: the world inside.
        frames: W, at least 1.
        read: latents (..., S', C') of one frame -> (..., S, C); they are shown as they are if None.

    Raises:
        ValueError: if `frames` is not positive.
    """

    def __init__(self, world: World, *, frames: int = 2, read: Callable[[Tensor], Tensor] | None = None) -> None:
        if frames < 1:
            raise ValueError(f"frames is {frames}; show at least the newest")
        self.world, self._frames = world, frames
        self._read, self._reads = read or (lambda latents: latents), read is not None

    @property
    def action_spec(self) -> ActionSpec | None:
        """Of the world inside."""
        return self.world.action_spec

    @property
    def evaluations_per_frame(self) -> int:
        """Of the world inside."""
        return evaluations_per_frame(self.world)

    def backward_passes(self, num_frames: int) -> int:
        """Of the world inside."""
        return backward_passes(self.world, num_frames)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of the world inside."""
        return self.world.noise_shape

    def begin(self, inner: State, before: Tensor) -> State:
        """A state of this world from one of the world inside, and the latents (B, P, S', C') of the frames before it; P at least W - 1.

        Raises:
            ValueError: if there are too few frames, or they do not fit the state.
        """
        wanted = self._frames - 1
        if before.ndim != 4 or before.shape[1] < wanted or (len(before), *before.shape[2:]) != inner.latent.shape:
            raise ValueError(f"latents before are {tuple(before.shape)} for a state of {tuple(inner.latent.shape)}; give {wanted} frames")
        recent = torch.cat([before[:, before.shape[1] - wanted :], inner.latent[:, None]], 1)
        return self._state(inner, self._read(recent))

    def step(self, state: State, action: Tensor | None, *, noise: Tensor | None = None, seed: int | None = None) -> State:
        """See `interfaces.World.step`."""
        past = self._past(state)
        inner = self.world.step(past.inner, action, noise=noise, seed=seed)
        return self._state(inner, torch.cat([past.seen[:, 1:], self._read(inner.latent)[:, None]], 1))

    def rollout(self, state: State, actions: Tensor, *, samples: int = 1, noise: Tensor | None = None, seed: int | None = None) -> Rollout:
        """See `interfaces.World.rollout`; latents are (M, B, T, W * S, C)."""
        past = self._past(state)
        inner = self.world.rollout(past.inner, actions, samples=samples, noise=noise, seed=seed)
        read = self._read(inner.latents)
        before = past.seen[None, :, 1:].expand(*read.shape[:2], -1, -1, -1)
        recent = torch.cat([before, read], 2).unfold(2, self._frames, 1).movedim(-1, 3)  # (M, B, T, W, S, C)
        last = self._state(inner.state, recent[:, :, -1].flatten(0, 1))
        return Rollout(latents=recent.flatten(3, 4), actions=inner.actions, state=last, heads=inner.heads)

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """Pictures of the newest frame; see `interfaces.World.decode`. Those of rollouts and latents are of latents alone.

        Raises:
            ValueError: for rollouts and latents if there is a `read`: what it leaves need not be enough to draw them.
        """
        if isinstance(source, State):
            return self.world.decode(self._past(source).inner)
        if self._reads:
            raise ValueError("what was read off a frame cannot be drawn; decode a state, or latents with the world inside")
        return self.world.decode(self.newest(source.latents if isinstance(source, Rollout) else source))

    def fork(self, state: State, count: int) -> State:
        """See `interfaces.World.fork`."""
        past = self._past(state)
        shape = past.seen.shape
        seen = past.seen[:, None].expand(-1, count, *shape[1:]).flatten(0, 1)
        return self._state(self.world.fork(past.inner, count), seen)

    def newest(self, latents: Tensor) -> Tensor:
        """What was read off the newest frame, (..., S, C), of latents (..., W * S, C) of this world."""
        return latents.unflatten(-2, (self._frames, -1))[..., -1, :, :]

    def _state(self, inner: State, seen: Tensor) -> State:
        return replace(inner, latent=seen.flatten(1, 2), memory=_Past(inner, seen))

    def _past(self, state: State) -> _Past:
        if not isinstance(state.memory, _Past):
            raise ValueError("this is no state of a world of recent frames; make one with `begin`")
        return state.memory
