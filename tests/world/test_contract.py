"""The learned world keeps the promises that every backend makes."""

import pytest
import torch

from worldline import interfaces
from worldline.interfaces import State
from worldline.testing import check_world
from worldline.world import World


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_actions", [True, False])
def test_check_world_passes(make_world, video, actions, dtype, with_actions):
    world = make_world(with_actions=with_actions).to(dtype)
    assert isinstance(world, interfaces.World)
    with torch.no_grad():
        state = world.prompt(video, actions if with_actions else None)
    report = check_world(world, state)
    names = {check.name for check in report.checks}
    assert {"rewind", "fork shares the past", "batch invariance", "gradient to noise", "gradient to first latents"} <= names
    assert ("gradient to actions" in names) == with_actions


@torch.no_grad()
def test_actions_lead_to_the_next_frame_and_no_other(make_world, video, actions):
    """`actions[t]` is applied at frame t: with a prompt of P frames it can only change frames from t + 1 on."""
    world = make_world().double()
    state = world.prompt(video, actions)
    plan, noise = torch.full((1, 6, 2), 0.5, dtype=torch.float64), torch.randn(1, 1, 6, *world.noise_shape, dtype=torch.float64)
    before = world.rollout(state, plan, noise=noise)
    plan[:, 3] += 0.3
    after = world.rollout(state, plan, noise=noise)
    # `latents[:, :, t]` is the frame that follows `actions[:, t]`.
    changed = (before.latents - after.latents).abs().amax((0, 1, 3, 4)) > 1e-9
    assert changed.tolist() == [False, False, False, True, True, True]
    assert (before.heads["reward"] != after.heads["reward"])[0, 0].tolist() == [False, False, False, True, True, True]


@torch.no_grad()
def test_the_noise_of_a_frame_changes_it_and_what_follows(make_world, video):
    world = make_world().double()
    state = world.prompt(video)
    plan, noise = torch.ones(1, 5, 2, dtype=torch.float64), torch.randn(1, 1, 5, *world.noise_shape, dtype=torch.float64)
    before = world.rollout(state, plan, noise=noise).latents
    noise = noise.clone()
    noise[:, :, 2] += 1
    changed = (before - world.rollout(state, plan, noise=noise).latents).abs().amax((0, 1, 3, 4)) > 1e-9
    assert changed.tolist() == [False, False, True, True, True]


@torch.no_grad()
def test_more_samples_begin_with_the_same_futures(make_world, video):
    world = make_world()
    state, plan = world.prompt(video), torch.ones(2, 3, 2)
    two, three = (world.rollout(state, plan, samples=count, seed=4).latents for count in (2, 3))
    torch.testing.assert_close(three[:2], two)  # a larger batch rounds differently
    assert not torch.allclose(three[2], two[0])


@torch.no_grad()
def test_a_seed_gives_each_frame_its_own_noise_wherever_the_rollout_began(make_world, video):
    world = make_world()
    state, plan = world.prompt(video), torch.ones(1, 4, 2)
    whole = world.rollout(state, plan, seed=4)
    begun = world.rollout(state, plan[:, :2], seed=4)
    torch.testing.assert_close(world.rollout(begun.state, plan[:, 2:], seed=4).latents, whole.latents[:, :, 2:])
    stepped: State = state
    for _ in range(4):
        stepped = world.step(stepped, plan[:, 0], seed=4)
    torch.testing.assert_close(stepped.latent, whole.state.latent)


@torch.no_grad()
def test_a_batch_of_prompts_is_several_prompts(make_world, video, actions):
    world = make_world()
    videos, known = torch.stack([video, video.flip(0), 1 - video]), torch.stack([actions, actions.flip(0), actions / 2])
    plan, noise = torch.rand(3, 4, 2), torch.randn(2, 1, 4, *world.noise_shape)
    together = world.rollout(world.prompt(videos, known), plan, noise=noise)
    for row in range(3):
        alone = world.rollout(world.prompt(videos[row], known[row]), plan[row : row + 1], noise=noise)
        torch.testing.assert_close(together.latents[:, row : row + 1], alone.latents)
        torch.testing.assert_close(together.state.latent[row::3], alone.state.latent)


@torch.no_grad()
def test_sampling_steps_can_be_chosen_and_share_the_weights(make_world, video):
    world = make_world()
    quick = world.with_sampling(1)
    assert quick.dynamics is world.dynamics
    assert (quick.sampler.num_steps, world.sampler.num_steps) == (1, 2)
    state, plan = world.prompt(video), torch.ones(1, 2, 2)
    assert not torch.equal(quick.rollout(state, plan, seed=0).latents, world.rollout(state, plan, seed=0).latents)
    assert torch.equal(quick.with_sampling(2).rollout(state, plan, seed=0).latents, world.rollout(state, plan, seed=0).latents)
    for wrong in (0, 3, 16):
        with pytest.raises(ValueError, match="power of two of steps, at most 8"):
            world.with_sampling(wrong)


@torch.no_grad()
def test_heads_are_read_in_the_units_of_the_environment(make_world, video):
    world = make_world()
    world.dynamics.inverse_out.weight.zero_()
    world.dynamics.inverse_out.bias.copy_(torch.tensor([-1.0, 0.5]))
    rollout = world.rollout(world.prompt(video), torch.ones(2, 3, 2), samples=2, seed=0)
    assert rollout.heads["reward"].shape == (2, 2, 3)
    torch.testing.assert_close(rollout.heads["inverse_action"], torch.tensor([0.0, 1.0]).expand(2, 2, 3, 2))
    torch.testing.assert_close(rollout.state.heads["inverse_action"], torch.tensor([0.0, 1.0]).expand(4, 2))


def test_halves_that_do_not_fit_are_refused(make_world):
    config = make_world().config
    narrow = type(config)(tokenizer=type(config.tokenizer)(latent_dim=5), dynamics=config.dynamics)
    with pytest.raises(ValueError, match="different shapes"):
        World(narrow)
