"""How a frame is drawn: K denoising steps over a cached past.

The last of the steps also leaves the keys and values that later frames look back at, since a frame's tokens carry the clean frame before it
(`dynamics.network`): a frame costs K passes. Whoever wants to know what the heads say of a frame pays for one more, over the frame as it
was drawn.

Everything is a differentiable function of (state, action, noise); the caller decides whether to record gradients.

May import: torch, nn, dynamics.network, interfaces. Refuses to know: pixels, where noise comes from, losses.

Shapes: B batch, T frames, S latent tokens per frame, C latent channels, A action.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.dynamics.network import Dynamics, Prediction, frames_before
from worldline.interfaces import State
from worldline.nn import Cache


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How frames are drawn.

    Attributes:
        num_steps: K, denoising steps per frame: a power of two, at most the network's `max_steps`.
        context_signal: signal level that the network is told the frame before has. No noise is added to it, so 1 is the truth; told less,
            it scales that frame up as if noise had shrunk it, frame after frame.
    """

    num_steps: int = 4
    context_signal: float = 1.0

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_steps & (self.num_steps - 1):
            raise ValueError(f"num_steps must be a power of two, got {self.num_steps}")
        if not 0 <= self.context_signal <= 1:
            raise ValueError(f"context_signal must be in [0, 1], got {self.context_signal}")


class HeadsOnDemand(Mapping[str, Tensor]):
    """Readings of the heads that are computed when the first of them is asked for.

    They are remembered apart for each gradient mode, so that a look without gradients never cuts a graph.
    """

    def __init__(self, read: Callable[[], Mapping[str, Tensor]]):
        self._read = read
        self._found: dict[tuple[bool, bool], Mapping[str, Tensor]] = {}

    def _heads(self) -> Mapping[str, Tensor]:
        mode = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        if mode not in self._found:
            self._found[mode] = self._read()
        return self._found[mode]

    def __getitem__(self, name: str) -> Tensor:
        return self._heads()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._heads())

    def __len__(self) -> int:
        return len(self._heads())


def absorb(dynamics: Dynamics, config: SamplerConfig, state: State | None, latents_BTSC: Tensor, action_BTA: Tensor | None) -> State:
    """The state after known frames: a prompt, or more of it.

    Args:
        dynamics: the network.
        config: told to the network as the quality of the past.
        state: what came before; None at the start.
        latents_BTSC: the frames.
        action_BTA: the normalised action that led to each of them; None for null actions. At the start of a sequence the first one's
            action is unknown and ignored.
    """
    frames = latents_BTSC.shape[1]
    prediction = _read(dynamics, config, state, latents_BTSC, action_BTA)
    cache = state.memory if state is not None else Cache.empty(dynamics.config.transformer.num_time_layers)
    segments = tuple(segment.first(frames) for segment in prediction.segments)
    return State(
        latent=latents_BTSC[:, -1],
        position=frames + (state.position if state is not None else 0),
        memory=cache.append(segments, window=dynamics.config.context_frames - 1),
        heads={name: value[:, -1] for name, value in prediction.heads.items()},
        text=state.text if state is not None else None,
    )


def advance(dynamics: Dynamics, config: SamplerConfig, state: State, action_BA: Tensor | None, noise_BSC: Tensor) -> State:
    """The state one frame on, from noise (B, S, C) in K steps of size 1 / K; its heads are read when they are asked for."""
    size = 1 / config.num_steps
    latent = noise_BSC.unsqueeze(1)
    cache: Cache = state.memory
    past = cache.gathered()
    action = None if action_BA is None else action_BA.unsqueeze(1)
    step = latent.new_full(latent.shape[:2], size)
    segments = ()
    for index in range(config.num_steps):
        level = index * size
        prediction = dynamics(
            latent,
            torch.full_like(step, level),
            step,
            action,
            previous_BTSC=state.latent.unsqueeze(1),
            previous_signal_BT=torch.full_like(step, config.context_signal),
            cache=past,
            position=state.position,
            with_heads=False,
        )
        segments = prediction.segments
        latent = latent + (prediction.clean.to(latent.dtype) - latent) * (size / (1 - level))
    return State(
        latent=latent.squeeze(1),
        position=state.position + 1,
        memory=cache.append(tuple(segment.first(1) for segment in segments), window=dynamics.config.context_frames - 1),
        heads=HeadsOnDemand(lambda: {name: value[:, 0] for name, value in _read(dynamics, config, state, latent, action).heads.items()}),
        text=state.text,
    )


def _read(dynamics: Dynamics, config: SamplerConfig, state: State | None, latents_BTSC: Tensor, action_BTA: Tensor | None) -> Prediction:
    """One pass over clean frames that follow `state`."""
    signal = latents_BTSC.new_ones(latents_BTSC.shape[:2])
    known = torch.ones_like(signal, dtype=torch.bool)
    known[:, 0] = state is not None
    return dynamics(
        latents_BTSC,
        signal,
        torch.full_like(signal, 1 / dynamics.config.max_steps),
        action_BTA,
        previous_BTSC=frames_before(latents_BTSC, None if state is None else state.latent),
        previous_signal_BT=config.context_signal * signal,
        known_BT=known,
        cache=None if state is None else state.memory.gathered(),
        position=0 if state is None else state.position,
    )
