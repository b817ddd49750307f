"""The closed-form answers agree with what the worlds do when they are rolled out."""

import pytest
import torch

from worldline.interfaces import Objective, World
from worldline.testing import LinearQuadraticWorld, PointMassWorld

WORLDS = [LinearQuadraticWorld(), PointMassWorld()]
HORIZON = 7


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("world", WORLDS)
def test_is_a_world_with_an_objective(world):
    assert isinstance(world, World)
    assert isinstance(world.objective(), Objective)


@pytest.mark.parametrize("world", WORLDS)
def test_rollout_ends_where_the_closed_form_says(world):
    start, actions = random(3, 4), random(3, HORIZON, 2, seed=1)
    end = world.rollout(world.state(start), actions).state.latent.flatten(1)
    torch.testing.assert_close(end, world.rollout_end(start, actions))


@pytest.mark.parametrize("world", WORLDS)
def test_gradient_of_the_end_is_the_closed_form(world):
    actions = random(HORIZON, 2).requires_grad_()
    state = world.state(random(1, 4))
    gradient = torch.autograd.functional.jacobian(lambda plan: world.rollout(state, plan[None]).latents[0, 0, -1].flatten(), actions)
    torch.testing.assert_close(gradient, world.end_gradient(HORIZON))


@pytest.mark.parametrize("world", WORLDS)
def test_optimal_actions_cost_what_is_promised_and_no_change_helps(world):
    start = random(5, 4)
    actions = world.optimal_actions(start, HORIZON).requires_grad_()
    scores = world.objective()(world.rollout(world.state(start), actions))
    torch.testing.assert_close(-scores, world.optimal_cost(start, HORIZON))
    (gradient,) = torch.autograd.grad(scores.sum(), actions)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)
    worse = world.objective()(world.rollout(world.state(start), actions + 0.1 * random(*actions.shape, seed=2)))
    assert (worse < scores).all()


def test_expected_cost_of_noise_is_the_same_for_every_plan():
    world = LinearQuadraticWorld(noise_scale=0.3)
    state = world.state(random(1, 4).expand(2, -1))
    plans = torch.cat([world.optimal_actions(random(1, 4), HORIZON), random(1, HORIZON, 2)])
    noise = random(64, 1, HORIZON, 1, 4)
    noise = torch.cat([noise, -noise])  # antithetic, so that terms linear in the noise cancel exactly
    extra = world.objective()(world.rollout(state, plans, noise=noise)) - world.objective()(
        world.rollout(state, plans, noise=noise[:1] * 0)
    )
    assert extra[0] < -1
    torch.testing.assert_close(extra[0], extra[1])


def test_samples_share_noise_among_rows_and_differ_from_each_other():
    world = LinearQuadraticWorld(noise_scale=1.0)
    state, actions = world.state(random(1, 4)), random(1, HORIZON, 2).expand(3, -1, -1)
    latents = world.rollout(state, actions, samples=2, seed=5).latents
    assert torch.equal(latents[:, 0], latents[:, 2])
    assert not torch.allclose(latents[0], latents[1])
    torch.manual_seed(0)
    free = world.rollout(state, actions).latents
    assert not torch.allclose(free[:, 0], free[:, 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_follows_the_dtype_of_the_state(dtype):
    world = PointMassWorld(noise_scale=0.1)
    rollout = world.rollout(world.state(torch.zeros(1, 4, dtype=dtype)), torch.zeros(1, 2, 2, dtype=dtype), seed=0)
    assert rollout.latents.dtype == dtype
    assert world.decode(rollout).dtype == dtype


def test_wrong_shapes_say_what_is_needed():
    with pytest.raises(ValueError, match=r"state_cost is \(3, 3\).*must be \(4, 4\)"):
        LinearQuadraticWorld(state_cost=torch.eye(3))
    with pytest.raises(ValueError, match="3 tokens"):
        LinearQuadraticWorld(num_tokens=3)
    world = LinearQuadraticWorld()
    with pytest.raises(ValueError, match=r"give \(B, T, 2\)"):
        world.rollout(world.state(random(1, 4)), random(1, 3, 5))
    with pytest.raises(ValueError, match="2 rows"):
        world.rollout(world.state(random(2, 4)), random(3, 3, 2))
    rollout = world.rollout(world.state(random(1, 4)), random(1, 3, 2))
    with pytest.raises(ValueError, match="no actions"):
        world.objective()(type(rollout)(latents=rollout.latents, actions=None, state=rollout.state))


@pytest.mark.parametrize("world", WORLDS)
def test_soft_value_lies_between_the_best_plan_and_the_mean_one(world):
    """At no temperature it is the optimum, at a high one the mean over the prior, which sampled plans give, too."""
    start = random(3, 4)
    cold = world.soft_value(start, HORIZON, temperature=1e-7, action_std=1.0)
    torch.testing.assert_close(cold, -world.optimal_cost(start, HORIZON), rtol=1e-4, atol=1e-4)
    plans = random(4000, HORIZON, 2, seed=3)
    plans = torch.cat([plans, -plans])  # antithetic, so that terms linear in the actions cancel
    scores = world.objective()(world.rollout(world.state(start[:1]), plans))
    hot = world.soft_value(start[:1], HORIZON, temperature=1e7, action_std=1.0)
    torch.testing.assert_close(hot[0], scores.mean(), rtol=0.05, atol=0)
    warm = world.soft_value(start[:1], HORIZON, temperature=5.0, action_std=1.0)
    assert hot[0] < warm[0] < cold[0]


def test_seeded_steps_are_a_seeded_rollout_and_a_short_one_is_part_of_a_long_one() -> None:
    world = LinearQuadraticWorld(noise_scale=0.3)
    start, actions = world.state(torch.rand(1, 4, dtype=torch.float64)), torch.rand(1, 4, 2, dtype=torch.float64)
    long = world.rollout(start, actions, samples=2, seed=5).latents
    assert torch.equal(world.rollout(start, actions[:, :2], samples=2, seed=5).latents, long[:, :, :2])
    state, stepped = start, []
    for action in actions.unbind(1):
        state = world.step(state, action, seed=5)
        stepped.append(state.latent)
    assert torch.equal(torch.stack(stepped, 1), world.rollout(start, actions, seed=5).latents[0])
    assert not torch.equal(stepped[0] - start.latent, stepped[1] - stepped[0])
