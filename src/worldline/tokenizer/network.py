"""Pixels <-> latents: patches in, the shared transformer, patches out.

The encoder's transformer looks at a frame and at the frames before it (never after), and a narrow normalised bottleneck keeps S tokens of C
numbers. The decoder sees one frame's tokens alone, so any latent can be drawn without its past.

May import: torch, nn. Refuses to know: losses, masks' distribution, data sets.

Shapes: B batch, T frames, S tokens per frame, C latent channels, E model width, G grid side, P patch side in pixels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldline.nn import Transformer, TransformerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerConfig:
    """Shape of a tokenizer.

    Attributes:
        image_size: side of the square frames, pixels.
        grid: G; a frame becomes S = G * G tokens, each for a patch of `image_size / grid` pixels.
        latent_dim: C, channels per token.
        width: E, width of the transformers.
        num_layers: transformer blocks in the encoder, and in the decoder.
        head_dim: width of an attention head.
        window: frames that the encoder sees, its own included.
        latent_noise: standard deviation of the noise that the decoder learns to bear, in units of a latent's own; it smooths the latent
            space, so that a small error of the dynamics stays a small error of the picture.
        max_mask: patches are dropped with a rate drawn from U(0, max_mask) in half of the training frames.
        motion_weight: how much more a moving pixel counts than a still one.
        linear_path: also a linear way from patches to latents and back, beside the transformers. It starts as a cosine transform and
            carries pictures of scenes that the transformers never saw; worth it for varied video, and for C of 64 or more.
    """

    image_size: int = 64
    grid: int = 4
    latent_dim: int = 32
    width: int = 256
    num_layers: int = 2
    head_dim: int = 64
    window: int = 4
    latent_noise: float = 0.1
    max_mask: float = 0.3
    motion_weight: float = 4.0
    linear_path: bool = False

    def __post_init__(self) -> None:
        for name in ("image_size", "grid", "latent_dim", "width", "num_layers", "head_dim", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.image_size % self.grid:
            raise ValueError(f"image_size {self.image_size} must be a multiple of grid {self.grid}")

    @property
    def num_tokens(self) -> int:
        """Tokens per frame, S."""
        return self.grid**2

    @property
    def patch(self) -> int:
        """Side of a patch, P, pixels."""
        return self.image_size // self.grid

    def transformer(self, *, window: int) -> TransformerConfig:
        """Shape of the encoder's (`window` > 1) or the decoder's transformer."""
        time_every = self.num_layers if window > 1 else self.num_layers + 1
        return TransformerConfig(width=self.width, num_layers=self.num_layers, head_dim=self.head_dim, time_every=time_every, window=window)


class Tokenizer(nn.Module):
    """Encode frames to normalised latents, decode latents to frames."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config = config
        values = 3 * config.patch**2
        self.patch_in = _edge(nn.Linear(values, config.width))
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.encoder_position = nn.Parameter(torch.randn(config.num_tokens, config.width) * 0.5)
        self.encoder = Transformer(config.transformer(window=config.window))
        self.to_latent = _edge(nn.Linear(config.width, config.latent_dim))
        self.normalize = nn.BatchNorm1d(config.latent_dim, affine=False, momentum=0.02)
        self.from_latent = _edge(nn.Linear(config.latent_dim, config.width))
        self.decoder_position = nn.Parameter(torch.randn(config.num_tokens, config.width) * 0.5)
        self.decoder = Transformer(config.transformer(window=1))
        self.patch_out = _edge(nn.Linear(config.width, values))
        if config.linear_path:
            self.linear_in = _edge(nn.Linear(values, config.latent_dim, bias=False))
            self.linear_out = _edge(nn.Linear(config.latent_dim, values, bias=False))
            basis, scale = cosine_basis(config.patch, config.latent_dim)
            with torch.no_grad():
                self.linear_in.weight.copy_(basis)
                self.linear_out.weight.copy_((basis * scale[:, None]).T)
            for layer in (self.to_latent, self.patch_out):
                nn.init.zeros_(layer.weight)  # the transformers add what the linear path lacks

    def encode(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Latents of a video.

        Args:
            frames: (B, T, 3, H, W) in [0, 1], H = W = `image_size`.
            mask: (B, T, S) bool, True for patches to hide.

        Returns:
            (B, T, S, C) with zero mean and unit variance per channel over the training set.

        Raises:
            ValueError: if the frames have another size.
        """
        size = self.config.image_size
        if frames.ndim != 5 or frames.shape[2:] != (3, size, size):
            raise ValueError(f"this tokenizer reads frames (B, T, 3, {size}, {size}), got {tuple(frames.shape)}; resize them first")
        patches = _patches(frames.to(self.encoder_position) * 2 - 1, self.config.patch)
        x = self.patch_in(patches)
        if mask is not None:
            x = torch.where(mask.unsqueeze(-1), self.mask_token.to(x.dtype), x)
        x, _ = self.encoder(x + self.encoder_position)
        x = self.to_latent(F.rms_norm(x, x.shape[-1:]))
        if self.config.linear_path:
            x = x + self.linear_in(patches if mask is None else patches * ~mask.unsqueeze(-1))
        return self.normalize(x.flatten(0, 2).to(self.encoder_position)).view(x.shape)  # what autocast rounds is float32 again

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (..., 3, H, W) in [0, 1] of latents (..., S, C). Differentiable everywhere: values are squashed, not clipped."""
        latents_NTSC = latents.to(self.decoder_position).reshape(-1, 1, *latents.shape[-2:])
        x, _ = self.decoder(self.from_latent(latents_NTSC) + self.decoder_position)
        x = self.patch_out(F.rms_norm(x, x.shape[-1:]))
        if self.config.linear_path:
            x = x + self.linear_out(latents_NTSC)
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # two digits are too few for a picture
        frames = torch.sigmoid(_unpatches(x.squeeze(1), self.config.patch))
        return frames.reshape(*latents.shape[:-2], *frames.shape[1:])

    def reconstruct(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames (B, T, 3, H, W) through the bottleneck and back, with noise on the latents while training."""
        latents = self.encode(frames, mask)
        if self.training and self.config.latent_noise:
            latents = latents + self.config.latent_noise * torch.randn_like(latents)
        return self.decode(latents)


def cosine_basis(side: int, count: int) -> tuple[Tensor, Tensor]:
    """The `count` rows (count, 3 P P) of the discrete cosine transform of a patch that carry most of a natural picture, orthonormal.

    Brightness and two colour differences are transformed apart (Ahmed et al., 1974; JPEG). What a row carries is taken to fall with the
    square of its frequency (Field, 1987), colour at a tenth of brightness; the second value, (count,), is the standard deviation that
    follows.

    Raises:
        ValueError: if `count` exceeds the 3 P P values of a patch.
    """
    if count > 3 * side**2:
        raise ValueError(f"latent_dim is {count}; with a linear path it is at most the {3 * side**2} values of a patch")
    frequency = torch.arange(side)
    waves = torch.cos(torch.pi * (frequency[None] + 0.5) * frequency[:, None] / side) * (2 / side) ** 0.5
    waves[0] /= 2**0.5
    planes = torch.einsum("uh,vw->uvhw", waves, waves).reshape(side**2, side**2)
    colors = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    colors = colors / colors.norm(dim=1, keepdim=True)
    rows = torch.einsum("ac,ks->akcs", colors, planes).reshape(3 * side**2, 3 * side**2)
    power = 1 / (1 + frequency[:, None] ** 2 + frequency[None] ** 2).reshape(-1)
    variance = (torch.tensor([1.0, 0.1, 0.1])[:, None] * power).reshape(-1)
    strongest = variance.argsort(descending=True, stable=True)[:count]
    return rows[strongest], side * variance[strongest].sqrt()


def _patches(frames: Tensor, side: int) -> Tensor:
    """(..., 3, H, W) -> (..., S, 3 P P)."""
    *lead, channels, height, width = frames.shape
    x = frames.reshape(*lead, channels, height // side, side, width // side, side)
    axes = list(range(len(lead)))
    offset = len(lead)
    return x.permute(*axes, offset + 1, offset + 3, offset, offset + 2, offset + 4).reshape(*lead, -1, channels * side * side)


def _unpatches(patches: Tensor, side: int) -> Tensor:
    """(N, S, 3 P P) -> (N, 3, H, W), the inverse of `_patches` for square frames."""
    count, tokens, values = patches.shape
    grid = round(tokens**0.5)
    x = patches.reshape(count, grid, grid, values // side**2, side, side)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(count, -1, grid * side, grid * side)


def _edge(layer: nn.Linear) -> nn.Linear:
    """Mark an input or output layer: the optimiser for hidden matrices leaves it alone."""
    layer.adamw = True  # ty: ignore[invalid-assignment]
    return layer
