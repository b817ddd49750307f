"""Prompts: any size, any layout, any length; and errors that say what to do."""

import numpy as np
import pytest
import torch

from worldline.data import VideoError, write_video


@torch.no_grad()
def test_layouts_and_types_mean_the_same(make_world):
    world = make_world()
    bytes_ = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    expected = world.prompt(bytes_).latent
    as_rows = bytes_.permute(0, 2, 3, 1)
    for same in (bytes_.numpy(), as_rows, as_rows.numpy(), bytes_ / 255, (bytes_ / 255).double(), (as_rows / 255)[None].movedim(-1, 2)):
        torch.testing.assert_close(world.prompt(same).latent, expected)


@torch.no_grad()
def test_only_what_the_world_looks_back_at_counts(make_world, video, actions):
    world = make_world()
    context = world.config.dynamics.context_frames
    keep = context + world.config.tokenizer.window - 1
    whole, tail = world.prompt(video, actions), world.prompt(video[-keep:], actions[-keep + 1 :])
    assert whole.position == tail.position == context
    torch.testing.assert_close(whole.latent, tail.latent)
    plan = torch.ones(1, 3, 2)
    torch.testing.assert_close(world.rollout(whole, plan, seed=0).latents, world.rollout(tail, plan, seed=0).latents)


@torch.no_grad()
def test_known_actions_of_the_prompt_are_heard(make_world, video, actions):
    world = make_world()
    plan = torch.ones(1, 1, 2)

    def future(known):
        return world.rollout(world.prompt(video, known), plan, seed=0).latents

    with_last_row = np.concatenate([actions.numpy(), np.full((1, 2), 3.0)])
    assert torch.equal(future(with_last_row), future(actions))
    assert not torch.allclose(future(actions), future(None))
    changed = actions.clone()
    changed[-1] += 1
    assert not torch.allclose(future(changed), future(actions))
    changed = actions.clone()
    changed[0] += 1  # between frames that the world does not look back at
    assert torch.equal(future(changed), future(actions))


@torch.no_grad()
def test_one_frame_is_a_prompt(make_world, video):
    world = make_world()
    assert world.prompt(video[:1]).position == 1
    torch.testing.assert_close(world.prompt(video[:1], torch.zeros(0, 2)).latent, world.prompt(video[:1], torch.ones(1, 2)).latent)


@torch.no_grad()
def test_other_sizes_are_resized_as_asked(make_world):
    world = make_world()
    wide = torch.zeros(4, 3, 32, 64)
    wide[..., 16:48] = 1.0
    middle = torch.ones(4, 3, 16, 16)
    torch.testing.assert_close(world.prompt(wide, fit="crop").latent, world.prompt(middle).latent)
    for fit in ("stretch", "pad"):
        assert not torch.allclose(world.prompt(wide, fit=fit).latent, world.prompt(middle).latent)
    with pytest.raises(ValueError, match="stretch, crop, pad"):
        world.prompt(wide, fit="squeeze")


@torch.no_grad()
def test_a_file_is_read_at_the_rate_of_the_world(make_world, tmp_path):
    world = make_world()
    bytes_ = (torch.linspace(0, 1, 8).view(8, 1, 1, 1).expand(8, 3, 16, 16) * 255).to(torch.uint8)
    write_video(tmp_path / "slow.mp4", bytes_, 10.0)
    write_video(tmp_path / "fast.mp4", bytes_.repeat_interleave(2, 0), 20.0)
    slow, fast = world.prompt(tmp_path / "slow.mp4"), world.prompt(str(tmp_path / "fast.mp4"))
    assert slow.position == fast.position == 5
    torch.testing.assert_close(slow.latent, fast.latent, rtol=0, atol=0.2)


@torch.no_grad()
def test_latents_continue_the_prompt_that_made_them(make_world, video, actions):
    world = make_world()
    latents = world.tokenizer.encode(video[None])[:, -5:]
    state = world.prompt_latents(latents, actions[None, -4:])
    plan = torch.ones(1, 3, 2)
    torch.testing.assert_close(
        world.rollout(state, plan, seed=0).latents, world.rollout(world.prompt(video, actions), plan, seed=0).latents
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.rand(8, 16, 16), r"\(T, H, W, 3\), \(T, 3, H, W\)"),
        (torch.rand(8, 4, 16, 16), r"\(T, H, W, 3\), \(T, 3, H, W\)"),
        (torch.rand(0, 3, 16, 16), "at least one frame"),
        (torch.rand(2, 3, 16, 16) * 255, "divide by 255"),
        (torch.rand(2, 3, 16, 16) - 0.5, r"finite and in \[0, 1\]"),
        (torch.full((2, 3, 16, 16), torch.nan), r"finite and in \[0, 1\]"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.int64), "uint8"),
    ],
)
def test_bad_videos_are_refused(make_world, bad, message):
    with pytest.raises(ValueError, match=message):
        make_world().prompt(bad)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(5, 2), r"\(T, A\) or \(T - 1, A\) for T = 8 frames, got \(1, 5, 2\)"),
        (torch.zeros(7), r"\(T, A\) or \(T - 1, A\)"),
        (torch.zeros(2, 7, 2), r"\(T, A\) or \(T - 1, A\)"),
        (torch.zeros(7, 3), "3 components in their last dimension, this world has 2"),
        (torch.full((7, 2), torch.nan), "NaN or infinity; replace them"),
        (torch.full((7, 2), torch.inf), "NaN or infinity; replace them"),
    ],
)
def test_bad_actions_are_refused(make_world, video, bad, message):
    with pytest.raises(ValueError, match=message):
        make_world().prompt(video, bad)


def test_bad_latents_are_refused(make_world):
    world = make_world()
    with pytest.raises(ValueError, match=r"latents must be \(B, T, 4, 6\)"):
        world.prompt_latents(torch.zeros(1, 3, 4, 5))
    with pytest.raises(ValueError, match=r"actions must be \(1, 2, A\) between 3 frames"):
        world.prompt_latents(torch.zeros(1, 3, 4, 6), torch.zeros(1, 3, 2))


def test_files_that_are_no_video_are_named(make_world, tmp_path):
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(VideoError, match=r"nowhere\.mp4: no such file"):
        make_world().prompt(tmp_path / "nowhere.mp4")
    with pytest.raises(VideoError, match=r"noise\.mp4"):
        make_world().prompt(tmp_path / "noise.mp4")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 3, 2), r"B = 3 rows like the state and at least one frame, got \(2, 3, 2\)"),
        (torch.zeros(3, 0, 2), "at least one frame"),
        (torch.zeros(3, 2), r"\(B, T, A\)"),
        (torch.zeros(3, 4, 5), "5 components"),
        (torch.full((3, 4, 2), torch.nan), "NaN or infinity"),
    ],
)
def test_bad_plans_are_refused(make_world, video, bad, message):
    world = make_world()
    state = world.fork(world.prompt(video), 3)
    with pytest.raises(ValueError, match=message):
        world.rollout(state, bad)
    with pytest.raises(ValueError, match=r"NaN|components|rows like the state"):
        world.step(state, bad[:, 0] if bad.ndim == 3 and bad.shape[1] else bad[:2])


def test_bad_noise_samples_and_forks_are_refused(make_world, video):
    world = make_world()
    state, plan = world.prompt(video), torch.ones(2, 3, 2)
    with pytest.raises(ValueError, match=r"noise must be \(1, 2, 3, 4, 6\), or with 1 row for all, got \(1, 3, 3, 4, 6\)"):
        world.rollout(state, plan, noise=torch.zeros(1, 3, 3, 4, 6))
    with pytest.raises(ValueError, match="noise must be"):
        world.rollout(state, plan, noise=torch.zeros(3, 1, 3, 4, 6), samples=2)
    with pytest.raises(ValueError, match="noise must be"):
        world.step(state, None, noise=torch.zeros(1, 4, 5))
    with pytest.raises(ValueError, match="samples is 0"):
        world.rollout(state, plan, samples=0)
    with pytest.raises(ValueError, match="count is 0"):
        world.fork(state, 0)


def test_a_world_without_actions_follows_none(make_world, video):
    world = make_world(with_actions=False)
    state = world.prompt(video)
    assert world.rollout(state, torch.zeros(2, 3, 0), seed=0).actions is None
    for call in (
        lambda: world.prompt(video, torch.zeros(7, 2)),
        lambda: world.step(state, torch.zeros(1, 2)),
        lambda: world.rollout(state, torch.zeros(1, 3, 2)),
    ):
        with pytest.raises(ValueError, match="trained without actions"):
            call()
