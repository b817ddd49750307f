"""What a tokenizer loses comes back where nothing changes, and nowhere else."""

from dataclasses import replace

import pytest
import torch

from worldline.world.detail import Detail


def test_a_still_scene_keeps_every_pixel_and_a_changed_one_is_the_decoders() -> None:
    true, drawn = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8) * 0.8 + 0.1
    detail = Detail.of(true, drawn, 0.1)
    torch.testing.assert_close(detail.restore(drawn[:, None])[:, 0], true, rtol=0, atol=3e-3)
    other = 1 - drawn
    other = torch.where((other - drawn).abs() < 0.4, drawn + 0.4 * (drawn < 0.5).float() - 0.4 * (drawn >= 0.5).float(), other)
    torch.testing.assert_close(detail.restore(other[:, None])[:, 0], other, rtol=0, atol=1e-3)


def test_only_what_changes_loses_its_detail() -> None:
    true, drawn = torch.rand(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.5)
    moved = drawn.clone()
    moved[:, :, :, 8:] = 0.9
    frame = Detail.of(true, drawn, 0.1).restore(moved[:, None])[0, 0]
    torch.testing.assert_close(frame[:, :, :7], true[0, :, :, :7], rtol=0, atol=3e-3)
    torch.testing.assert_close(frame[:, :, 9:], moved[0, :, :, 9:], rtol=0, atol=1e-3)


def test_small_errors_of_what_stands_still_are_mostly_not_shown_and_still_have_a_gradient() -> None:
    true, drawn = torch.rand(1, 3, 8, 8) * 0.6 + 0.2, torch.rand(1, 3, 8, 8) * 0.6 + 0.2
    detail = Detail.of(true, drawn, 0.5)
    nearly = (drawn + 0.01 * torch.randn_like(drawn)).requires_grad_()
    frame = detail.restore(nearly[:, None])[:, 0]
    assert (frame - true).abs().mean() < 0.4 * (nearly - drawn).abs().mean()
    still = drawn.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(detail.restore(still[:, None]).sum(), still)
    assert gradient.min() > 0.05


@torch.no_grad()
def test_a_prompted_state_shows_its_frame_and_shares_it_with_all_that_follows(make_world, video, actions) -> None:
    world = make_world(detail_tolerance=0.5)
    state = world.prompt(video, actions)
    torch.testing.assert_close(world.decode(state)[0], video[-1], rtol=0, atol=3e-3)
    plain = world.decode(replace(state, detail=None))
    assert (plain[0] - video[-1]).abs().mean() > 0.05
    assert torch.equal(plain, world.decode(state.latent))

    videos = torch.stack([video, 1 - video])
    several = world.prompt(videos)
    plan, noise = torch.ones(2, 3, 2), torch.randn(2, 1, 3, *world.noise_shape)
    rollout = world.rollout(several, plan, noise=noise)
    pictures = world.decode(rollout)
    for row in range(2):
        one = world.prompt(videos[row])
        alone = world.decode(world.rollout(one, plan[:1], noise=noise))
        torch.testing.assert_close(pictures[:, row : row + 1], alone, rtol=0, atol=1e-4)
        forks = world.fork(one, 3)
        assert forks.detail is one.detail
        torch.testing.assert_close(world.decode(forks), world.decode(one).expand(3, -1, -1, -1))
    forked = world.rollout(world.fork(several, 2), torch.ones(4, 3, 2), noise=noise[:1])
    torch.testing.assert_close(world.decode(forked)[0, ::2], pictures[0], rtol=0, atol=1e-4)
    stepped = world.step(several, plan[:, 0], noise=noise[0, :, 0])
    torch.testing.assert_close(world.decode(stepped), pictures[0, :, 0], rtol=0, atol=1e-4)


@torch.no_grad()
def test_it_can_be_switched_off(make_world, video) -> None:
    world = make_world(detail_tolerance=0.0)
    state = world.prompt(video)
    assert state.detail is None
    assert torch.equal(world.decode(state), world.decode(state.latent))
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="detail_tolerance"):
            make_world(detail_tolerance=wrong)


def test_gradients_pass_through_still_and_moving_pixels() -> None:
    true, drawn = torch.rand(2, 3, 6, 6, dtype=torch.float64), torch.rand(2, 3, 6, 6, dtype=torch.float64) * 0.8 + 0.1
    near = (drawn[:, None] + 0.1 * torch.randn(2, 2, 3, 6, 6, dtype=torch.float64)).clamp(0.05, 0.95)

    def restored(frames: torch.Tensor, true: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        return Detail.of(true, drawn, 0.2).restore(frames)

    inputs = tuple(x.requires_grad_() for x in (near, true.clamp(0.01, 0.99), drawn))
    assert torch.autograd.gradcheck(restored, inputs)
