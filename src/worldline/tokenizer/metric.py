"""How much an error in a latent shows in the picture.

Latent channels have unit variance each, but the decoder hears some directions among them ten times as loudly as others. Squared errors of
latents, weighted by this metric, are squared errors of pixels to first order, at the price of one small matrix product.

May import: torch, tokenizer.network. Refuses to know: who weighs errors with it.
"""

import torch
from torch import Tensor

from worldline.tokenizer.network import Tokenizer


def pixel_metric(tokenizer: Tokenizer, latents: Tensor, *, num_probes: int = 32, seed: int = 0) -> Tensor:
    """The pull-back of the pixels' metric to a token's channels, averaged over tokens and frames: E[J^T J] (C, C), of mean diagonal 1.

    J is the Jacobian of the decoder at a frame. Each probe is the product of J^T with Gaussian noise, whose outer product has the
    expectation J^T J (Hutchinson, 1989). What two tokens' errors do to each other is left out.

    Args:
        tokenizer: its decoder; is not changed.
        latents: (N, S, C) of frames as they occur.
        num_probes: per frame.
        seed: of the noise.
    """
    channels = latents.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    metric = torch.zeros(channels, channels, dtype=latents.dtype, device=latents.device)
    with torch.enable_grad():
        for _ in range(num_probes):
            at = latents.detach().clone().requires_grad_()
            frames = tokenizer.decode(at)
            noise = torch.randn(frames.shape, generator=generator, dtype=torch.float32).to(frames)
            (pulled,) = torch.autograd.grad((frames * noise).sum(), at)
            rows = pulled.reshape(-1, channels)
            metric += rows.T @ rows
    return metric * (channels / metric.diagonal().sum())
