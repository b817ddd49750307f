"""Forks share their past: N candidates of one plan hold one copy of the prompt, whatever is rolled out of it."""

import torch

from worldline.dynamics import DynamicsConfig
from worldline.interfaces import State
from worldline.nn import Cache
from worldline.world import World

NUM_FORKS = 64


def storages(memory: Cache) -> dict[int, int]:
    """Bytes behind each piece of memory that a state's cache holds on to."""
    tensors = [tensor for layer in memory.layers for segment in layer for tensor in (segment.keys, segment.values)]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


def prompted(make_world, num_frames: int = 16) -> tuple[World, State]:
    world = make_world(dynamics=DynamicsConfig(num_tokens=4, latent_dim=6, action_dim=2, width=32, num_layers=4, head_dim=16))
    return world, world.prompt_latents(torch.randn(1, num_frames, *world.noise_shape))


@torch.no_grad()
def test_forks_of_a_prompt_hold_one_copy(make_world):
    world, state = prompted(make_world)
    forks = world.fork(state, NUM_FORKS)
    assert forks.batch_size == NUM_FORKS
    assert storages(forks.memory) == storages(state.memory)
    assert forks.memory.num_bytes() == state.memory.num_bytes() == sum(storages(state.memory).values())
    assert forks.latent.untyped_storage().nbytes() == state.latent.untyped_storage().nbytes()


@torch.no_grad()
def test_candidates_hold_one_prompt_and_their_own_future(make_world):
    world, state = prompted(make_world)
    prompt = storages(state.memory)
    rollout = world.rollout(state, torch.ones(NUM_FORKS, 4, 2), samples=2, seed=0)
    held = storages(rollout.state.memory)
    assert prompt.items() <= held.items(), "the prompt is shared as it is"
    own = sum(held.values()) - sum(prompt.values())
    one = world.rollout(state, torch.ones(1, 4, 2), seed=0)
    own_of_one = sum(storages(one.state.memory).values()) - sum(prompt.values())
    assert own == 2 * NUM_FORKS * own_of_one
    assert [segment.batch_size for segment in rollout.state.memory.layers[0]] == [1, 128, 128, 128, 128]
    copies = 2 * NUM_FORKS * sum(prompt.values())
    assert sum(held.values()) < copies / 2


@torch.no_grad()
def test_the_prompt_goes_when_nobody_can_see_it(make_world):
    world, state = prompted(make_world)
    rollout = world.rollout(state, torch.ones(2, 16, 2), seed=0)
    assert not storages(rollout.state.memory).keys() & storages(state.memory).keys()
    assert rollout.state.memory.num_frames == 15


@torch.no_grad()
def test_several_prompts_are_shared_until_each_is_sampled_more_than_once(make_world):
    world, _ = prompted(make_world)
    states = world.prompt_latents(torch.randn(3, 6, *world.noise_shape))
    noise = torch.randn(2, 1, 2, *world.noise_shape)
    rollout = world.rollout(states, torch.ones(3, 2, 2), noise=noise[:1])
    assert storages(states.memory).items() <= storages(rollout.state.memory).items()
    sampled = world.rollout(states, torch.ones(3, 2, 2), noise=noise)
    torch.testing.assert_close(sampled.latents[:1], rollout.latents)
    forked = world.rollout(world.fork(states, 2), torch.ones(6, 2, 2), noise=noise[:1])
    torch.testing.assert_close(forked.latents, rollout.latents.repeat_interleave(2, dim=1))
    assert storages(states.memory).items() <= storages(forked.state.memory).items()


@torch.no_grad()
def test_a_cache_holds_keys_and_values_and_nothing_else(make_world):
    world, state = prompted(make_world)
    config = world.config.dynamics
    tokens = 2 + config.num_tokens + config.num_registers  # action, level, latents, registers; not the heads'
    of_one_frame = config.transformer.num_time_layers * tokens * config.width * 2 * 4
    assert state.memory.num_bytes() == 16 * of_one_frame
    rollout = world.rollout(state, torch.ones(3, 5, 2), seed=0)
    assert rollout.state.memory.num_bytes() == (16 + 3 * 5) * of_one_frame
