"""How a frame is drawn: K denoising steps over a cached past, then one pass that writes the frame into the cache.

Everything is a differentiable function of (state, action, noise); the caller decides whether to record gradients.

May import: torch, nn, dynamics.network, interfaces. Refuses to know: pixels, where noise comes from, losses.

Shapes: B batch, T frames, S latent tokens per frame, C latent channels, A action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.dynamics.network import Dynamics
from worldline.interfaces import State
from worldline.nn import Cache


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How frames are drawn.

    Attributes:
        num_steps: K, denoising steps per frame: a power of two, at most the network's `max_steps`.
        context_signal: signal level that the network is told past frames have. No noise is added to them, so 1 is the truth; told less, it
            scales the frame before up as if noise had shrunk it, frame after frame.
    """

    num_steps: int = 4
    context_signal: float = 1.0

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_steps & (self.num_steps - 1):
            raise ValueError(f"num_steps must be a power of two, got {self.num_steps}")
        if not 0 <= self.context_signal <= 1:
            raise ValueError(f"context_signal must be in [0, 1], got {self.context_signal}")


def absorb(dynamics: Dynamics, config: SamplerConfig, state: State | None, latents_BTSC: Tensor, action_BTA: Tensor | None) -> State:
    """The state after known frames: the prompt, or the frame just drawn.

    Args:
        dynamics: the network.
        config: told to the network as the quality of the past.
        state: what came before; None at the start.
        latents_BTSC: the frames.
        action_BTA: the normalised action that led to each of them; None for null actions. At the start of a sequence the first one's
            action is unknown and ignored.
    """
    batch, frames = latents_BTSC.shape[:2]
    cache = state.memory if state is not None else Cache.empty(dynamics.config.transformer.num_time_layers)
    position = state.position if state is not None else 0
    signal = latents_BTSC.new_full((batch, frames), config.context_signal)
    known = torch.ones(batch, frames, dtype=torch.bool, device=latents_BTSC.device)
    known[:, 0] = state is not None
    prediction = dynamics(
        latents_BTSC,
        signal,
        torch.full_like(signal, 1 / dynamics.config.max_steps),
        action_BTA,
        known_BT=known,
        previous_BSC=None if state is None else state.latent,
        previous_signal=config.context_signal,
        cache=cache if state is not None else None,
        position=position,
    )
    return State(
        latent=latents_BTSC[:, -1],
        position=position + frames,
        memory=cache.append(prediction.segments, window=dynamics.config.context_frames - 1),
        heads={name: value[:, -1] for name, value in prediction.heads.items()},
        text=state.text if state is not None else None,
    )


def draw(dynamics: Dynamics, config: SamplerConfig, state: State, action_BA: Tensor | None, noise_BSC: Tensor) -> Tensor:
    """The next frame's latents (B, S, C), from noise (B, S, C) in K steps of size 1 / K."""
    gathered: Cache = state.memory.gathered()
    action = None if action_BA is None else action_BA.unsqueeze(1)
    size = 1 / config.num_steps
    latent = noise_BSC.unsqueeze(1)
    step = latent.new_full(latent.shape[:2], size)
    for index in range(config.num_steps):
        level = index * size
        clean = dynamics(
            latent,
            torch.full_like(step, level),
            step,
            action,
            previous_BSC=state.latent,
            previous_signal=config.context_signal,
            cache=gathered,
            position=state.position,
            with_heads=False,
        ).clean
        clean = clean.to(latent.dtype)
        latent = latent + (clean - latent) * (size / (1 - level))
    return latent.squeeze(1)


def advance(dynamics: Dynamics, config: SamplerConfig, state: State, action_BA: Tensor | None, noise_BSC: Tensor) -> State:
    """The state one frame on: draw it, then write it into the cache."""
    latent = draw(dynamics, config, state, action_BA, noise_BSC)
    action = None if action_BA is None else action_BA.unsqueeze(1)
    return absorb(dynamics, config, state, latent.unsqueeze(1), action)
