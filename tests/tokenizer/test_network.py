"""Pixels to latents and back: patches, causality in time, masks, and frames drawn one by one."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from worldline.tokenizer import Tokenizer, TokenizerConfig
from worldline.tokenizer.network import _patches, _unpatches, cosine_basis

CONFIG = TokenizerConfig(image_size=16, grid=4, latent_dim=6, width=32, num_layers=2, head_dim=16, window=3)
LINEAR = replace(CONFIG, linear_path=True)


def randomized(config: TokenizerConfig = CONFIG) -> Tokenizer:
    """In evaluation mode, every weight random: a fresh network's branches are zero."""
    tokenizer = Tokenizer(config).double().eval()
    for parameter in tokenizer.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return tokenizer


def video(batch: int = 1, frames: int = 7) -> torch.Tensor:
    return torch.rand(batch, frames, 3, 16, 16, dtype=torch.float64)


def test_patches_are_squares_of_the_picture_and_go_back():
    frames = torch.rand(2, 3, 3, 8, 8)
    patches = _patches(frames, 4)
    assert patches.shape == (2, 3, 4, 48)
    torch.testing.assert_close(patches[1, 2, 1], frames[1, 2, :, :4, 4:].flatten())
    torch.testing.assert_close(patches[1, 2, 2], frames[1, 2, :, 4:, :4].flatten())
    assert torch.equal(_unpatches(patches.flatten(0, 1), 4).unflatten(0, (2, 3)), frames)


@torch.no_grad()
def test_latents_see_their_window_of_the_past_and_never_the_future():
    tokenizer, frames = randomized(), video()
    other = frames.clone()
    other[:, 3] = 1 - other[:, 3]
    changed = (tokenizer.encode(frames) - tokenizer.encode(other)).abs().amax((0, 2, 3)) > 1e-12
    assert changed.tolist() == [False, False, False, True, True, True, False]


@torch.no_grad()
def test_frames_are_drawn_from_their_own_latents_alone():
    tokenizer = randomized()
    latents = torch.randn(2, 5, 16, 6, dtype=torch.float64)
    frames = tokenizer.decode(latents)
    assert frames.shape == (2, 5, 3, 16, 16)
    assert ((frames >= 0) & (frames <= 1)).all()
    torch.testing.assert_close(tokenizer.decode(latents[1, 3]), frames[1, 3])
    torch.testing.assert_close(tokenizer.decode(latents[None, :, :2]), frames[None, :, :2])


@torch.no_grad()
@pytest.mark.parametrize("config", [CONFIG, LINEAR], ids=["transformers", "linear path"])
def test_what_a_mask_hides_is_not_seen(config):
    tokenizer, frames = randomized(config), video(frames=2)
    mask = torch.zeros(1, 2, 16, dtype=torch.bool)
    mask[0, 1, 5] = True  # second row, second column: pixels 4 to 7 each way
    hidden = frames.clone()
    hidden[0, 1, :, 4:8, 4:8] = 0.5
    assert torch.equal(tokenizer.encode(hidden, mask), tokenizer.encode(frames, mask))
    assert not torch.allclose(tokenizer.encode(frames, mask), tokenizer.encode(frames))
    hidden[0, 1, :, 4:8, 8] = 0.0
    assert not torch.allclose(tokenizer.encode(hidden, mask), tokenizer.encode(frames, mask))


def test_latents_have_unit_scale_over_the_training_set():
    tokenizer = randomized().train()
    latents = tokenizer.encode(video(8))
    torch.testing.assert_close(latents.mean((0, 1, 2)), torch.zeros(6, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(latents.var((0, 1, 2), correction=0), torch.ones(6, dtype=torch.float64), atol=1e-2, rtol=0)


def test_cosine_basis_is_orthonormal_and_starts_with_the_mean_brightness():
    basis, scale = cosine_basis(4, 48)
    torch.testing.assert_close(basis @ basis.T, torch.eye(48), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis[0], torch.full((48,), 48**-0.5))
    assert scale.tolist() == sorted(scale.tolist(), reverse=True)
    with pytest.raises(ValueError, match="latent_dim is 49; with a linear path it is at most the 48 values of a patch"):
        cosine_basis(4, 49)


@torch.no_grad()
def test_the_linear_path_alone_carries_smooth_pictures():
    ramp = torch.linspace(0.3, 0.7, 16, dtype=torch.float64)
    frames = (ramp[None] * ramp[:, None]).expand(1, 1, 3, -1, -1)
    tokenizer = Tokenizer(LINEAR).double().eval()
    carried = _unpatches((tokenizer.linear_in(_patches(frames * 2 - 1, 4)) @ tokenizer.linear_in.weight).squeeze(0), 4)
    assert ((carried + 1) / 2 - frames[0]).abs().mean() < 0.02
    assert (tokenizer.decode(torch.zeros(1, 16, 6, dtype=torch.float64)) - 0.5).abs().max() < 0.1


def test_noise_is_added_while_training_only():
    tokenizer, frames = randomized(), video(2)
    assert torch.equal(tokenizer.reconstruct(frames), tokenizer.reconstruct(frames))
    tokenizer.train()
    assert not torch.allclose(tokenizer.reconstruct(frames), tokenizer.reconstruct(frames))
    exact = randomized(replace(CONFIG, latent_noise=0.0)).train()
    assert torch.equal(exact.reconstruct(frames), exact.reconstruct(frames))


def test_gradients_flow_from_pixels_to_pixels():
    frames = video(frames=3).requires_grad_()
    tokenizer = randomized()
    tokenizer.decode(tokenizer.encode(frames))[:, 2].sum().backward()
    assert frames.grad is not None
    assert frames.grad.abs().amax((0, 2, 3, 4)).gt(0).tolist() == [True, True, True]


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 3, 16, 16), (1, 2, 3, 16, 8), (1, 2, 1, 16, 16), (1, 2, 3, 32, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"reads frames \(B, T, 3, 16, 16\), got .* resize them first"):
        randomized().encode(torch.rand(shape, dtype=torch.float64))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="image_size 30 must be a multiple of grid 4"):
        TokenizerConfig(image_size=30)
    with pytest.raises(ValueError, match="window is 0; give at least 1"):
        TokenizerConfig(window=0)
