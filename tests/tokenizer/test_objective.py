"""Masked reconstruction: the formula, the masks it draws, and that it learns a moving thing."""

from dataclasses import replace

import pytest
import torch

from worldline.interfaces import Batch
from worldline.tokenizer import Tokenizer, TokenizerConfig, TokenizerObjective
from worldline.tokenizer.objective import moving

CONFIG = TokenizerConfig(image_size=16, grid=4, latent_dim=6, width=32, num_layers=2, head_dim=16, window=2)


def dots(num_rows: int, num_frames: int = 4) -> torch.Tensor:
    """(B, T, 3, 16, 16): a bright dot that moves one pixel a frame over a grey ground."""
    frames = torch.full((num_rows, num_frames, 3, 16, 16), 0.3)
    for row, (top, left) in enumerate(torch.randint(0, 10, (num_rows, 2)).tolist()):
        for time in range(num_frames):
            frames[row, time, :, top : top + 3, left + time : left + time + 3] = 0.9
    return frames


def test_what_moves_is_found():
    mask = moving(dots(3))
    assert mask.shape == (3, 4, 1, 16, 16)
    assert mask.sum((2, 3, 4)).min() >= 6
    assert mask.sum((2, 3, 4)).max() <= 18
    assert not moving(torch.rand(2, 1, 3, 16, 16).expand(-1, 4, -1, -1, -1)).any()


def test_the_loss_is_the_weighted_mean_squared_error():
    objective = TokenizerObjective(Tokenizer(replace(CONFIG, max_mask=0.0, motion_weight=3.0)).eval())
    frames = dots(2)
    error = (objective.tokenizer.reconstruct(frames) - frames).square().mean(2, keepdim=True)
    moves = moving(frames).bool()
    expected = (error[~moves].sum() + 4 * error[moves].sum()) / ((~moves).sum() + 4 * moves.sum())
    torch.testing.assert_close(objective.loss(Batch(frames=frames))["reconstruction"], expected)


def test_masks_hide_half_of_the_frames_at_a_uniform_rate():
    mask = TokenizerObjective(Tokenizer(replace(CONFIG, max_mask=0.4)))._mask(torch.zeros(200, 20, 3, 16, 16))
    assert mask is not None
    share = mask.float().mean(-1)
    assert share.mean().item() == pytest.approx(0.5 * 0.2, abs=0.01)
    assert (share == 0).float().mean() > 0.5
    assert share.max() > 0.4


def test_latents_cannot_be_tokenised():
    with pytest.raises(ValueError, match="trains on frames"):
        TokenizerObjective(Tokenizer(CONFIG)).loss(Batch(latents=torch.zeros(1, 2, 16, 6)))


def test_a_moving_dot_is_learned():
    """A few hundred steps must reach a picture in which the dot stands out, 8 times below the mean picture's error on what moves."""
    tokenizer = Tokenizer(CONFIG)
    objective = TokenizerObjective(tokenizer)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        objective.loss(Batch(frames=dots(16)))["reconstruction"].backward()
        optimizer.step()
    tokenizer.eval()
    unseen = dots(64)
    with torch.no_grad():
        moves = moving(unseen)
        error = ((tokenizer.reconstruct(unseen) - unseen).square() * moves).sum()
        floor = ((unseen.mean((0, 1), keepdim=True) - unseen).square() * moves).sum()
    assert error < floor / 8
