"""Picked rows go on as they would have, whatever stood beside them, and share the prompt that all of them had."""

import pytest
import torch

from worldline.control import SoftTree, SoftTreeConfig
from worldline.interfaces import RestartableWorld, SelectableWorld, evaluations_per_frame
from worldline.reward import GoalLatent

HORIZON = 3


@torch.no_grad()
def test_picked_rows_go_on_as_they_were(make_world):
    world = make_world()
    assert isinstance(world, SelectableWorld)
    state = world.prompt_latents(torch.randn(1, 4, *world.noise_shape))
    actions = world.action_spec.denormalize(torch.rand(5, 2 * HORIZON, 2) * 2 - 1)
    noise = torch.randn(1, 1, 2 * HORIZON, *world.noise_shape)
    whole = world.rollout(state, actions, noise=noise).latents
    half = world.rollout(state, actions[:, :HORIZON], noise=noise[:, :, :HORIZON]).state
    rows = torch.tensor([3, 0, 3])
    picked = world.select(half, rows)
    assert picked.batch_size == 3
    rest = world.rollout(picked, actions[rows, HORIZON:], noise=noise[:, :, HORIZON:]).latents
    torch.testing.assert_close(rest, whole[:, rows, HORIZON:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(picked.heads["reward"], half.heads["reward"][rows])
    prompt = {segment.keys.untyped_storage().data_ptr() for layer in state.memory.layers for segment in layer}
    held = {segment.keys.untyped_storage().data_ptr() for layer in picked.memory.layers for segment in layer if segment.batch_size == 1}
    assert held
    assert held <= prompt
    with pytest.raises(ValueError, match="integers from 0 to 4"):
        world.select(half, torch.tensor([5]))


def test_gradients_pass_a_picked_row(make_world):
    world = make_world()
    state = world.prompt_latents(torch.randn(1, 3, *world.noise_shape))
    actions = torch.ones(2, HORIZON, 2, requires_grad=True)
    picked = world.select(world.rollout(state, actions, seed=0).state, torch.tensor([1, 1]))
    end = world.rollout(picked, torch.ones(2, 1, 2), seed=1).latents
    (slope,) = torch.autograd.grad(end.square().sum(), actions)
    assert slope[0].abs().sum() == 0
    assert slope[1].abs().sum() > 0


def test_restarts_from_latents_alone(make_world):
    world = make_world()
    assert isinstance(world, RestartableWorld)
    latents = torch.randn(2, *world.noise_shape, requires_grad=True)
    state = world.restart(latents)
    assert (state.batch_size, state.position) == (2, 1)
    assert torch.equal(state.latent, latents)
    assert torch.autograd.grad(world.step(state, torch.ones(2, 2), seed=0).latent.sum(), latents)[0].abs().sum() > 0


def test_a_tree_grows_in_a_learned_world(make_world):
    """Its leaves are what rollouts from the root give, though every path was imagined in pieces."""
    world = make_world().requires_grad_(False)
    assert evaluations_per_frame(world) == 2
    state = world.prompt_latents(torch.randn(1, 4, *world.noise_shape))
    objective = GoalLatent(torch.randn(world.noise_shape), over_time="mean")
    config = SoftTreeConfig(horizon=4, chunk=2, num_roots=4, width=2, branching=2, num_rounds=2, refine_steps=1, refine_leaves=2)
    planner = SoftTree(world, objective, config, verify_world=world.with_sampling(4))
    plan, tree = planner.grow(state, seed=0)
    assert plan.status == "ok"
    assert tree is not None
    assert world.action_spec.clamp(plan.actions).equal(plan.actions)
    assert tree.scores.isfinite().all()
    path = torch.cat([level.latents[:, index] for level, index in zip(tree.levels, tree.paths(), strict=True)], dim=2)
    generator = torch.Generator().manual_seed(0)  # as the search draws: a seed, then the world's noise
    torch.randint(2**31, (), generator=generator)
    noise = torch.randn(1, 1, 4, *world.noise_shape, generator=generator)
    again = world.rollout(state, world.action_spec.denormalize(tree.plans()), noise=noise)
    torch.testing.assert_close(path, again.latents, rtol=1e-3, atol=1e-3)


def test_rows_are_numbers_and_no_mask(make_world, video):
    world = make_world()
    state = world.prompt(torch.stack([video, video.flip(0)]))
    swapped = world.select(state, torch.tensor([1, 0], dtype=torch.uint8))
    assert torch.equal(swapped.latent, state.latent.flip(0))
    with pytest.raises(ValueError, match="integers"):
        world.select(state, torch.tensor([True, False]))
