"""How a tokenizer is trained: masked reconstruction, with more weight on what moves.

Small moving things are a handful of pixels of a frame; under a plain mean squared error they are the last thing to be learnt.

May import: torch, tokenizer.network, interfaces. Refuses to know: optimisers, data sets.
"""

import torch
from torch import Tensor, nn

from worldline.interfaces import Batch
from worldline.tokenizer.network import Tokenizer


class TokenizerObjective(nn.Module):
    """Trainable wrapper of a tokenizer: `loss(batch)` on `batch.frames`."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted mean squared error of the reconstruction of randomly masked frames.

        Raises:
            ValueError: if the batch has latents instead of frames.
        """
        if batch.frames is None:
            raise ValueError("a tokenizer trains on frames; this batch holds latents")
        frames = batch.frames
        drawn = self.tokenizer.reconstruct(frames, self._mask(frames))
        error = (drawn - frames).square()
        weight = 1 + self.tokenizer.config.motion_weight * moving(frames)
        return {"reconstruction": (error * weight).sum() / weight.sum() / frames.shape[2]}

    def _mask(self, frames: Tensor) -> Tensor | None:
        config = self.tokenizer.config
        if config.max_mask == 0:
            return None
        rate = torch.rand(frames.shape[:2], device=frames.device) * config.max_mask
        rate = rate * (torch.rand_like(rate) < 0.5)
        return torch.rand(*frames.shape[:2], config.num_tokens, device=frames.device) < rate.unsqueeze(-1)


def moving(frames: Tensor, threshold: float = 0.06) -> Tensor:
    """(B, T, 1, H, W) in {0, 1}: pixels of frames (B, T, 3, H, W) that differ from the clip's mean picture by more than `threshold`."""
    return ((frames - frames.mean(1, keepdim=True)).abs().amax(2, keepdim=True) > threshold).to(frames.dtype)
