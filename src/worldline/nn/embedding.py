"""Features that let a linear layer read numbers sharply: Fourier features, and rotary positions in time.

May import: torch. Refuses to know: what the numbers mean.
"""

import torch
from torch import Tensor, nn


class FourierFeatures(nn.Module):
    """x -> [x, sin(2^k pi x / 2), cos(2^k pi x / 2)] for k = 0 ... num_octaves - 1 (Tancik et al., 2020).

    A linear layer on a raw coordinate learns where something is only slowly; on these features it learns it in minutes.
    Input (..., A) scaled to about [-1, 1], output (..., A * (1 + 2 * num_octaves)).
    """

    octaves: Tensor

    def __init__(self, dim: int, num_octaves: int):
        super().__init__()
        self.out_dim = dim * (1 + 2 * num_octaves)
        self.register_buffer("octaves", torch.pi / 2 * 2.0 ** torch.arange(num_octaves), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of x (..., A)."""
        angles = (x.unsqueeze(-1) * self.octaves.to(x.dtype)).flatten(-2)
        return torch.cat([x, angles.sin(), angles.cos()], dim=-1)


def rotation(positions_T: Tensor, head_dim: int, base: float = 1000.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, D/2) of the rotary angles of integer positions (Su et al., 2021)."""
    frequencies = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions_T.device) / head_dim)
    angles = positions_T.float()[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos_sin_TF: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate feature pairs of x (..., T, D) by angles with these cosines and sines (T, D/2)."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = (value.to(x.dtype) for value in cos_sin_TF)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
