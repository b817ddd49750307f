"""Block-causal transformer: space attention within a frame, causal time attention every few layers, gated MLPs.

Pre-normalised residual blocks; every branch starts at zero, so a fresh network is the identity.

May import: torch, nn. Refuses to know: what goes in and out.

Shapes: B batch, T frames, N tokens per frame, E model width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldline.nn.attention import SpaceAttention, TimeAttention, visibility
from worldline.nn.cache import Cache, Segment
from worldline.nn.embedding import rotation


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """Shape of a transformer.

    Attributes:
        width: E, a multiple of `head_dim`.
        num_layers: blocks of space attention and MLP.
        head_dim: width of one attention head.
        time_every: a block attends to the past if its number, counted from 1, is a multiple of this.
        window: frames, the newest included, that time attention reaches.
    """

    width: int
    num_layers: int
    head_dim: int = 64
    time_every: int = 2
    window: int = 16

    def __post_init__(self) -> None:
        if self.width % self.head_dim or self.head_dim % 2:
            raise ValueError(f"width {self.width} must be a multiple of head_dim {self.head_dim}, which must be even")

    @property
    def hidden(self) -> int:
        """Width of the gated MLP: 8/3 of the model width, rounded up to 32."""
        return -(-self.width * 8 // 3 // 32) * 32

    @property
    def num_time_layers(self) -> int:
        """Layers that keep a cache."""
        return self.num_layers // self.time_every


class Transformer(nn.Module):
    """(B, T, N, E) -> (B, T, N, E), causal in T."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(_Block(config, with_time=index % config.time_every == 0) for index in range(1, config.num_layers + 1))

    def forward(
        self, x_BTNE: Tensor, *, cache: Cache | None = None, position: int = 0, num_private: int = 0
    ) -> tuple[Tensor, tuple[Segment, ...]]:
        """Run frames that start at `position` and follow `cache`.

        Args:
            x_BTNE: tokens; the last `num_private` of each frame are private (see `visibility`) and look back only through the others.
            cache: the past, from `Cache.append`; None at the start of a sequence.
            position: index of the first frame given.
            num_private: private tokens per frame.

        Returns:
            The transformed tokens and one new segment per time layer, of the tokens that are not private.
        """
        frames, tokens = x_BTNE.shape[1:3]
        cos_sin = rotation(torch.arange(position, position + frames, device=x_BTNE.device), self.config.head_dim)
        allowed = visibility(tokens, num_private, x_BTNE.device) if num_private else None
        segments: list[Segment] = []
        for block in self.blocks:
            past = cache.layers[len(segments)] if cache is not None and block.time is not None else ()
            x_BTNE, segment = block(x_BTNE, past, cos_sin, allowed, num_private)
            if segment is not None:
                segments.append(segment)
        return x_BTNE, tuple(segments)


class _Block(nn.Module):
    def __init__(self, config: TransformerConfig, *, with_time: bool):
        super().__init__()
        self.space = SpaceAttention(config.width, config.head_dim)
        self.time = TimeAttention(config.width, config.head_dim, config.window) if with_time else None
        self.gate_up = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)
        for branch_end in (self.space.out, self.down, *([self.time.out] if self.time else [])):
            nn.init.zeros_(branch_end.weight)

    def forward(
        self, x: Tensor, past: tuple[Segment, ...], cos_sin: tuple[Tensor, Tensor], allowed: Tensor | None, num_private: int
    ) -> tuple[Tensor, Segment | None]:
        x = x + self.space(_norm(x), allowed)
        segment = None
        if self.time is not None:
            public = x[:, :, : x.shape[2] - num_private]
            y, segment = self.time(_norm(public), cos_sin, past)
            x = torch.cat([public + y, x[:, :, public.shape[2] :]], dim=2) if num_private else public + y
        gate, up = self.gate_up(_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up), segment


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])
