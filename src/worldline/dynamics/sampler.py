"""How a frame is drawn: K denoising steps over a cached past.

A frame that was drawn still has to be written into the cache, clean, before the next one can look back at it. The next frame's first step
does that on the way: it runs both frames at once, so a frame costs K passes and not K + 1 (in a small batch, where a pass costs what
reading the weights costs). Whoever wants to know what the heads say of the newest frame pays for the writing at once.

Everything is a differentiable function of (state, action, noise); the caller decides whether to record gradients.

May import: torch, nn, dynamics.network, interfaces. Refuses to know: pixels, where noise comes from, losses.

Shapes: B batch, T frames, S latent tokens per frame, C latent channels, A action.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True)
class Unwritten:
    """What writing the newest frame takes: the frame before it (B, S, C), and the normalised action (B, A) that led to it, if known."""

    previous: Tensor
    action: Tensor | None


@dataclass(frozen=True, slots=True)
class Memory:
    """`State.memory`: the cache of the past, and what is needed to write the newest frame into it as long as it is not there."""

    cache: Cache
    unwritten: Unwritten | None = None

    def num_bytes(self) -> int:
        """Memory behind the cache; storage that segments share is counted once."""
        return self.cache.num_bytes()


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
    """The state after known frames, written into the cache: a prompt, or more of it.

    Args:
        dynamics: the network.
        config: told to the network as the quality of the past.
        state: what came before; None at the start.
        latents_BTSC: the frames.
        action_BTA: the normalised action that led to each of them; None for null actions. At the start of a sequence the first one's
            action is unknown and ignored.
    """
    if state is not None:
        state = written(dynamics, config, state)
    batch, frames = latents_BTSC.shape[:2]
    cache = state.memory.cache if state is not None else Cache.empty(dynamics.config.transformer.num_time_layers)
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
        cache=cache.gathered() if state is not None else None,
        position=position,
    )
    segments = tuple(segment.first(frames) for segment in prediction.segments)
    return State(
        latent=latents_BTSC[:, -1],
        position=position + frames,
        memory=Memory(cache.append(segments, window=dynamics.config.context_frames - 1)),
        heads={name: value[:, -1] for name, value in prediction.heads.items()},
        text=state.text if state is not None else None,
    )


def written(dynamics: Dynamics, config: SamplerConfig, state: State) -> State:
    """The same state with its newest frame in the cache and the heads' readings of it: forks of it share that work."""
    unwritten = state.memory.unwritten
    if unwritten is None:
        return state
    before = replace(state, latent=unwritten.previous, position=state.position - 1, memory=Memory(state.memory.cache))
    action = None if unwritten.action is None else unwritten.action.unsqueeze(1)
    return absorb(dynamics, config, before, state.latent.unsqueeze(1), action)


def advance(
    dynamics: Dynamics, config: SamplerConfig, state: State, action_BA: Tensor | None, noise_BSC: Tensor
) -> tuple[State, Mapping[str, Tensor]]:
    """The state one frame on, from noise (B, S, C) in K steps of size 1 / K.

    Returns:
        The new state, whose frame is still unwritten; and the heads' readings of the frame before, which this call wrote (none if it was
        written already).
    """
    size = 1 / config.num_steps
    latent = noise_BSC.unsqueeze(1)
    cache, heads = state.memory.cache, {}
    action = None if action_BA is None else action_BA.unsqueeze(1)
    clean = None
    if state.memory.unwritten is not None:
        clean, cache, heads = _write_and_guess(dynamics, config, state, action_BA, latent)
    gathered = cache.gathered()
    step = latent.new_full(latent.shape[:2], size)
    for index in range(config.num_steps):
        level = index * size
        if index or clean is None:
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
        latent = latent + (clean.to(latent.dtype) - latent) * (size / (1 - level))
    memory = Memory(cache, Unwritten(state.latent, action_BA))
    new = State(latent=latent.squeeze(1), position=state.position + 1, memory=memory, text=state.text)
    return replace(new, heads=HeadsOnDemand(lambda: written(dynamics, config, new).heads)), heads


def _write_and_guess(
    dynamics: Dynamics, config: SamplerConfig, state: State, action_BA: Tensor | None, noise_BTSC: Tensor
) -> tuple[Tensor, Cache, dict[str, Tensor]]:
    """One pass over the newest frame, clean, and the next, pure noise: a first guess of that, the new cache, the newest one's heads."""
    unwritten = state.memory.unwritten
    frames = torch.cat([state.latent.unsqueeze(1), noise_BTSC], dim=1)
    signal = frames.new_zeros(frames.shape[:2])
    signal[:, 0] = config.context_signal
    step = torch.full_like(signal, 1 / config.num_steps)
    step[:, 0] = 1 / dynamics.config.max_steps
    action, known = _two_actions(unwritten.action, action_BA)
    prediction = dynamics(
        frames,
        signal,
        step,
        action,
        known_BT=known,
        previous_BSC=unwritten.previous,
        previous_signal=config.context_signal,
        cache=state.memory.cache.gathered(),
        position=state.position - 1,
    )
    segments = tuple(segment.first(1) for segment in prediction.segments)
    cache = state.memory.cache.append(segments, window=dynamics.config.context_frames - 1)
    return prediction.clean[:, 1:], cache, {name: value[:, 0] for name, value in prediction.heads.items()}


def _two_actions(first_BA: Tensor | None, second_BA: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Actions of two frames side by side (B, 2, A), and where they are known (B, 2); None if neither is, or both are."""
    given = first_BA if first_BA is not None else second_BA
    if given is None:
        return None, None
    actions = torch.stack([torch.zeros_like(given) if action is None else action for action in (first_BA, second_BA)], dim=1)
    if first_BA is not None and second_BA is not None:
        return actions, None
    known = torch.tensor([first_BA is not None, second_BA is not None], device=given.device)
    return actions, known.expand(len(given), 2)
