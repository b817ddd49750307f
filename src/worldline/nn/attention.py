"""Attention within a frame, and attention from a frame to its past.

Both normalise queries and keys (QK-norm), which keeps bf16 and large learning rates stable.

May import: torch, nn.cache, nn.embedding. Refuses to know: what a token stands for.

Shapes: B batch, T frames, N tokens per frame, E model width, H heads, D head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldline.nn.cache import Segment
from worldline.nn.embedding import rotate


class SpaceAttention(nn.Module):
    """Every token attends to the tokens of its own frame that it may see."""

    def __init__(self, width: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTNE: Tensor, allowed: Tensor | None = None) -> Tensor:
        """(B, T, N, E) -> (B, T, N, E); `allowed` (N, N) says who sees whom (`visibility`), None that everyone sees everyone."""
        batch, frames, tokens, width = x_BTNE.shape
        qkv = self.qkv(x_BTNE).view(batch * frames, tokens, 3, -1, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key = _normalize(qkv[:2])
        y = attend(query, key, qkv[2], allowed)
        return self.out(y.transpose(1, 2).reshape(batch, frames, tokens, width))


class TimeAttention(nn.Module):
    """Every token attends to itself at its own and at earlier frames, at most `window` frames in all.

    With a past, the frames given are the ones that follow it; the result is the one that the whole sequence would have given.
    """

    def __init__(self, width: int, head_dim: int, window: int):
        super().__init__()
        self.head_dim = head_dim
        self.window = window
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTNE: Tensor, cos_sin_TF: tuple[Tensor, Tensor], past: tuple[Segment, ...] = ()) -> tuple[Tensor, Segment]:
        """(B, T, N, E) frames with the `rotation` of their positions -> (B, T, N, E), and the segment to append to the past."""
        batch, frames, tokens, width = x_BTNE.shape
        qkv = self.qkv(x_BTNE).view(batch, frames, tokens, 3, -1, self.head_dim).permute(3, 0, 2, 4, 1, 5)
        query, key = rotate(_normalize(qkv[:2]), cos_sin_TF)
        value = qkv[2]
        new = Segment(key, value)
        if past:
            num_keys = frames + sum(segment.num_frames for segment in past)
            limited = frames > 1 or num_keys > self.window
            y = _attend_with_past(query, past, new, _band(frames, num_keys, self.window, x_BTNE.device) if limited else None)
        else:
            allowed = _band(frames, frames, self.window, x_BTNE.device) if frames > 1 else None
            y = attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), allowed)
        y = y.reshape(batch, tokens, -1, frames, self.head_dim).permute(0, 3, 1, 2, 4)
        return self.out(y.reshape(batch, frames, tokens, width)), new


def attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
    """softmax(query key^T / sqrt(D)) value for (X, H, Q, D) and (X, H, K, D); `allowed` (Q, K) is True where a query may look.

    Frames have few tokens. For such short sequences the CPU's fused kernel is five times slower in bf16 than these three products
    (docs/log.md), and it has no second derivative; on other devices the fused kernel is used.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if allowed is not None:
        logits = logits.masked_fill(~allowed, float("-inf"))
    return logits.softmax(dim=-1).to(value.dtype) @ value


def visibility(tokens: int, num_private: int, device: torch.device) -> Tensor:
    """(N, N) bool: everyone sees the public tokens; the last `num_private` see everything, and nobody else sees them."""
    token = torch.arange(tokens, device=device)
    first_private = tokens - num_private
    return (token[None] < first_private) | (token[:, None] >= first_private)


def _normalize(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])


def _band(num_queries: int, num_keys: int, window: int, device: torch.device) -> Tensor:
    """(Q, K) bool: query i, the newest being last, may see its own frame and the `window` - 1 before."""
    query = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    key = torch.arange(num_keys, device=device)[None]
    return (key <= query) & (key > query - window)


def _attend_with_past(query: Tensor, past: tuple[Segment, ...], new: Segment, allowed: Tensor | None) -> Tensor:
    """Exact attention over shared and own keys. Segments of a smaller batch are read in place, never copied per row."""
    scale = query.shape[-1] ** -0.5
    segments = [*past, new]
    logits = torch.cat([_grouped_matmul(query, s.keys.transpose(-1, -2)) for s in segments], dim=-1) * scale
    if allowed is not None:
        logits = logits.masked_fill(~allowed, float("-inf"))
    weights = logits.softmax(dim=-1).to(query.dtype)
    parts = weights.split([s.num_frames for s in segments], dim=-1)
    out = _grouped_matmul(parts[0], segments[0].values)
    for part, segment in zip(parts[1:], segments[1:], strict=True):
        out = out + _grouped_matmul(part, segment.values)
    return out


def _grouped_matmul(rows: Tensor, shared: Tensor) -> Tensor:
    """rows (B, N, H, Q, X) @ shared (b, N, H, X, Y), where each of the b serves B / b consecutive rows."""
    batch, groups = rows.shape[0], shared.shape[0]
    if batch == groups:
        return rows @ shared
    if batch % groups:
        raise ValueError(f"a state of batch {batch} cannot share a past of batch {groups}")
    tokens, heads, queries, inner = rows.shape[1:]
    folded = rows.view(groups, -1, tokens, heads, queries, inner).permute(0, 2, 3, 1, 4, 5).reshape(groups, tokens, heads, -1, inner)
    out = folded @ shared
    out = out.view(groups, tokens, heads, batch // groups, queries, -1).permute(0, 3, 1, 2, 4, 5)
    return out.reshape(batch, tokens, heads, queries, -1)
