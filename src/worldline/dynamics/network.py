"""The dynamics network: what the next frame is, given the past, an action and a noisy guess.

Per frame, in this order: [action | levels and step size | latents | registers | head tokens]. Action `a[t-1]` sits in the frame
`t` that it leads to. Head tokens are private: they see everything, nothing in the world attends to them.

A frame's tokens carry the clean frame *before* it beside its own noisy self. So a frame that is still pure noise already holds the whole
past in its keys and values, and one pass both draws a frame and leaves what later frames look back at: training needs one pass over a
window where plain diffusion forcing (Chen et al., 2024) sees a clean past only by chance, and sampling a frame in K steps takes K passes.

May import: torch, nn. Refuses to know: how noise levels are drawn, losses, how many steps a sampler takes, pixels.

Shapes: B batch, T frames, S latent tokens per frame, C latent channels, P packed tokens per frame, A action, E model width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldline.nn import Cache, FourierFeatures, Segment, Transformer, TransformerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicsConfig:
    """Shape of a dynamics network.

    Attributes:
        num_tokens: S, latent tokens per frame.
        latent_dim: C, channels per latent token.
        action_dim: A; 0 for a world without actions.
        width: E, width of the transformer.
        num_layers: transformer blocks.
        head_dim: width of an attention head.
        time_every: every how many blocks look back in time.
        context_frames: frames that the past reaches, the newest included.
        num_registers: scratch tokens per frame.
        max_steps: k_max, the finest number of sampling steps, a power of two.
        action_octaves: octaves of the Fourier features of an action component.
        packing: latent tokens of `packing` x `packing` neighbouring patches are one token inside the network: with 2, a quarter of the
            tokens, so about a quarter of the cost of a frame (Dreamer 4 packs its latents likewise).

    Raises:
        ValueError: if a number is out of range, or the tokens are no square grid that `packing` divides.
    """

    num_tokens: int
    latent_dim: int
    action_dim: int
    width: int
    num_layers: int
    head_dim: int = 64
    time_every: int = 2
    context_frames: int = 16
    num_registers: int = 2
    max_steps: int = 8
    action_octaves: int = 5
    packing: int = 1

    def __post_init__(self) -> None:
        for name in ("num_tokens", "latent_dim", "width", "num_layers", "head_dim", "time_every", "context_frames", "packing"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.max_steps < 1 or self.max_steps & (self.max_steps - 1):
            raise ValueError(f"max_steps must be a power of two, got {self.max_steps}")
        grid = math.isqrt(self.num_tokens)
        if self.packing > 1 and (grid**2 != self.num_tokens or grid % self.packing):
            raise ValueError(f"packing is {self.packing} for {self.num_tokens} tokens; they must be a square grid whose side it divides")

    @property
    def num_packed(self) -> int:
        """P, latent tokens per frame inside the network."""
        return self.num_tokens // self.packing**2

    @property
    def packed_dim(self) -> int:
        """Channels of a packed token."""
        return self.latent_dim * self.packing**2

    @property
    def transformer(self) -> TransformerConfig:
        """Shape of the transformer inside."""
        return TransformerConfig(
            width=self.width,
            num_layers=self.num_layers,
            head_dim=self.head_dim,
            time_every=self.time_every,
            window=self.context_frames,
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one pass of the network returns: the clean latents it believes in (B, T, S, C), head readings, and the cache segments."""

    clean: Tensor
    heads: dict[str, Tensor]
    segments: tuple[Segment, ...]


class Dynamics(nn.Module):
    """Predicts clean latents from noisy ones (x-prediction), with the past in a cache or in the same call."""

    def __init__(self, config: DynamicsConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.latent_in = _edge(nn.Linear(config.packed_dim, width))
        self.previous_in = _edge(nn.Linear(config.packed_dim, width, bias=False))
        self.position = nn.Parameter(torch.randn(config.num_packed, width) * 0.5)
        self.registers = nn.Parameter(torch.randn(config.num_registers, width) * 0.02)
        self.head_tokens = nn.Parameter(torch.randn(2, width) * 0.02)
        self.level_features = FourierFeatures(3, 6)
        self.level_in = _edge(nn.Linear(self.level_features.out_dim, width))
        self.level_add = _edge(nn.Linear(self.level_features.out_dim, width))
        self.null_action = nn.Parameter(torch.randn(width) * 0.02)
        if config.action_dim:
            self.action_features = FourierFeatures(config.action_dim, config.action_octaves)
            self.action_in = _edge(nn.Linear(self.action_features.out_dim, width))
        self.transformer = Transformer(config.transformer)
        self.latent_out = _edge(nn.Linear(width, config.packed_dim))
        self.reward_out = _edge(nn.Linear(width, 1))
        self.inverse_out = _edge(nn.Linear(width, max(config.action_dim, 1)))
        for layer in (self.latent_out, self.reward_out, self.inverse_out):
            nn.init.zeros_(layer.weight)

    def forward(
        self,
        noisy_BTSC: Tensor,
        signal_BT: Tensor,
        step_BT: Tensor,
        action_BTA: Tensor | None,
        *,
        previous_BTSC: Tensor,
        previous_signal_BT: Tensor | None = None,
        known_BT: Tensor | None = None,
        cache: Cache | None = None,
        position: int = 0,
        with_heads: bool = True,
    ) -> Prediction:
        """One pass over consecutive frames.

        Args:
            noisy_BTSC: latents at signal level tau: (1 - tau) noise + tau clean.
            signal_BT: tau in [0, 1]; 1 is clean.
            step_BT: step size d in (0, 1] that the caller will take.
            action_BTA: the action that led to each frame, normalised to [-1, 1]; None for the null action everywhere.
            previous_BTSC: the latents of the frame before each; zero where there is none (`frames_before`).
            previous_signal_BT: signal level of these; None if all are clean.
            known_BT: bool, False where the action is unknown and the null action stands in; None if all are known.
            cache: the past.
            position: index of the first frame.
            with_heads: also run the head tokens; without them nothing else changes.
        """
        config = self.config
        batch, frames = noisy_BTSC.shape[:2]
        if previous_signal_BT is None:
            previous_signal_BT = torch.ones_like(signal_BT)
        step = step_BT.log2() / math.log2(config.max_steps * 2) * 2 + 1
        level = self.level_features(torch.stack([signal_BT * 2 - 1, step, previous_signal_BT * 2 - 1], dim=-1))
        action = self._action_token(noisy_BTSC, action_BTA, known_BT)
        latent = self.latent_in(self._pack(noisy_BTSC)) + self.previous_in(self._pack(previous_BTSC))
        latent = latent + self.position + (self.level_add(level) + action).unsqueeze(2)
        parts = [action.unsqueeze(2), self.level_in(level).unsqueeze(2), latent, self._repeat(self.registers, batch, frames)]
        num_private = len(self.head_tokens) if with_heads else 0
        if with_heads:
            parts.append(self._repeat(self.head_tokens, batch, frames))
        dtype = latent.dtype
        tokens = torch.cat([part.to(dtype) for part in parts], dim=2)
        tokens, segments = self.transformer(tokens, cache=cache, position=position, num_private=num_private)
        tokens = F.rms_norm(tokens, tokens.shape[-1:])
        change = self._unpack(self.latent_out(tokens[:, :, 2 : 2 + config.num_packed]))
        clean = change + _guess(noisy_BTSC, signal_BT, previous_BTSC, previous_signal_BT)
        heads = {}
        if with_heads:
            heads["reward"] = self.reward_out(tokens[:, :, -2]).squeeze(-1)
            if config.action_dim:
                heads["inverse_action"] = self.inverse_out(tokens[:, :, -1])
        return Prediction(clean, heads, segments)

    def _pack(self, latent_BTSC: Tensor) -> Tensor:
        """(B, T, S, C) -> (B, T, P, C packing^2): the channels of neighbouring patches side by side."""
        side = self.config.packing
        if side == 1:
            return latent_BTSC
        batch, frames, tokens, channels = latent_BTSC.shape
        grid = math.isqrt(tokens) // side
        x = latent_BTSC.reshape(batch, frames, grid, side, grid, side, channels)
        return x.transpose(3, 4).reshape(batch, frames, grid**2, side**2 * channels)

    def _unpack(self, packed: Tensor) -> Tensor:
        """The inverse of `_pack`."""
        side = self.config.packing
        if side == 1:
            return packed
        batch, frames, tokens, _ = packed.shape
        grid = math.isqrt(tokens)
        x = packed.reshape(batch, frames, grid, grid, side, side, self.config.latent_dim)
        return x.transpose(3, 4).reshape(batch, frames, self.config.num_tokens, self.config.latent_dim)

    def _action_token(self, like_BTSC: Tensor, action_BTA: Tensor | None, known_BT: Tensor | None) -> Tensor:
        null = self.null_action.expand(*like_BTSC.shape[:2], -1)
        if action_BTA is None or not self.config.action_dim:
            return null
        token = self.action_in(self.action_features(action_BTA))
        if known_BT is None:
            return token
        return torch.where(known_BT.unsqueeze(-1), token, null.to(token.dtype))

    @staticmethod
    def _repeat(tokens_NE: Tensor, batch: int, frames: int) -> Tensor:
        return tokens_NE.expand(batch, frames, -1, -1)


def _guess(noisy_BTSC: Tensor, signal_BT: Tensor, previous_BTSC: Tensor, previous_level_BT: Tensor) -> Tensor:
    """What to believe before looking closer: the frame before, and the more its own signal shows, the frame itself.

    Each is taken at its linear least-squares estimate for clean latents of unit variance (Wiener, 1949), so the network learns only what
    changes, and a fresh network already copies its last frame.
    """

    def estimate(latent: Tensor, level: Tensor) -> Tensor:
        return latent * (level / (level**2 + (1 - level) ** 2))[..., None, None]

    own = signal_BT[..., None, None]
    return (1 - own) * estimate(previous_BTSC, previous_level_BT) + own * estimate(noisy_BTSC, signal_BT)


def frames_before(values: Tensor, first: Tensor | None = None) -> Tensor:
    """Values (B, T, ...) of one frame earlier: `first` (B, ...), or zero if that is None, and all but the last."""
    start = torch.zeros_like(values[:, 0]) if first is None else first.to(values.dtype)
    return torch.cat([start.unsqueeze(1), values[:, :-1]], dim=1)


def _edge(layer: nn.Linear) -> nn.Linear:
    """Mark an input or output layer: the optimiser for hidden matrices leaves it alone."""
    layer.adamw = True  # ty: ignore[invalid-assignment]
    return layer
