"""Averaged weights with statistics of their own: those of what they see, whatever the running ones had come to."""

from dataclasses import replace

import pytest
import torch

from worldline.interfaces import Batch
from worldline.tokenizer import Tokenizer, TokenizerConfig, settled

CONFIG = TokenizerConfig(image_size=16, grid=4, latent_dim=6, width=32, num_layers=2, head_dim=16, window=1, max_mask=0.0)


def batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(3)
    return [Batch(frames=torch.rand(8, 2, 3, 16, 16, generator=generator)) for _ in range(count)]


def test_latents_have_no_mean_and_unit_variance_over_what_was_seen() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(CONFIG).eval()
    with torch.no_grad():
        tokenizer.get_buffer("normalize.running_mean").add_(3)  # as after weights that wandered
    seen = batches(6)
    twin = settled(tokenizer, seen)
    with torch.no_grad():
        latents = torch.cat([twin.encode(batch.frames) for batch in seen if batch.frames is not None]).flatten(0, 2)
        before = torch.cat([tokenizer.encode(batch.frames) for batch in seen if batch.frames is not None]).flatten(0, 2)
    assert before.mean(0).abs().min() > 0.5
    assert latents.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(latents.std(0), torch.ones(6), rtol=0.02, atol=0)


def test_nothing_else_changes_and_masks_do_not_disturb_the_caller() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(replace(CONFIG, max_mask=0.9)).eval()
    mean = tokenizer.get_buffer("normalize.running_mean").clone()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = settled(tokenizer, batches(3), seed=1), settled(tokenizer, batches(3), seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert not first.training
    assert first.normalize.momentum == tokenizer.normalize.momentum
    assert torch.equal(tokenizer.get_buffer("normalize.running_mean"), mean)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
        if not name.startswith("normalize."):
            assert torch.equal(value, tokenizer.state_dict()[name]), name


def test_statistics_of_nothing() -> None:
    with pytest.raises(ValueError, match="no batches"):
        settled(Tokenizer(CONFIG), [])
