"""Policies regressed on what was done, against the laws that it was done by."""

import pytest
import torch

from worldline.control.amortised import GoalPolicyConfig, fit_goal_policy
from worldline.interfaces import ActionSpec, State
from worldline.testing import PointMassWorld

SPEC = ActionSpec(low=(-1.0, 0.0), high=(1.0, 4.0))


def drifting_episodes(count: int = 40, length: int = 12) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """A point that goes (by a tenth) where the action says: its inverse is known."""
    latents, actions = [], []
    for _ in range(count):
        done = SPEC.denormalize(torch.rand(length, 2) * 2 - 1)
        places = torch.cat([torch.randn(1, 2), torch.zeros(length - 1, 2)])
        places[1:] = places[:1] + 0.1 * SPEC.normalize(done[:-1]).cumsum(0)
        latents.append(places[:, None])
        actions.append(done)
    return latents, actions


def test_inverse_dynamics_is_found_one_frame_ahead() -> None:
    latents, actions = drifting_episodes()
    policy = fit_goal_policy(latents, actions, SPEC, GoalPolicyConfig(max_steps=3, width=64, num_updates=200))
    now, wanted = torch.randn(50, 1, 2) * 0.5, torch.rand(50, 2) * 1.6 - 0.8
    found = policy(now, now + 0.1 * wanted[:, None], torch.ones(50))
    assert (SPEC.normalize(found) - wanted).abs().mean() < 0.12
    assert (found >= torch.tensor(SPEC.low)).all()
    assert (found <= torch.tensor(SPEC.high)).all()


def test_a_cloned_behaviour_is_the_law_that_was_followed() -> None:
    latents = [torch.randn(20, 1, 2) for _ in range(20)]
    actions = [SPEC.denormalize((0.5 * film[:, 0]).tanh()) for film in latents]
    policy = fit_goal_policy(latents, actions, SPEC, GoalPolicyConfig(uses_goal=False, width=64, num_updates=300))
    seen = torch.randn(100, 1, 2)
    assert (SPEC.normalize(policy(seen)) - (0.5 * seen[:, 0]).tanh()).abs().mean() < 0.05


def test_the_same_seed_trains_the_same_policy_and_leaves_the_generator_alone() -> None:
    latents, actions = drifting_episodes(5)
    config = GoalPolicyConfig(width=16, num_updates=5)
    before = torch.random.get_rng_state()
    one, two = (fit_goal_policy(latents, actions, SPEC, config, seed=3) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_policy_counts_the_frames_that_are_left() -> None:
    latents, actions = drifting_episodes(5)
    policy = fit_goal_policy(latents, actions, SPEC, GoalPolicyConfig(width=16, num_updates=20, max_steps=4))
    goal, state = torch.ones(1, 2), State(latent=torch.zeros(2, 1, 2), position=1)
    act = policy.towards(goal, steps=3)
    found = [act(state) for _ in range(5)]
    for index, left in enumerate((3, 2, 1, 1, 1)):
        assert torch.equal(found[index], policy(state.latent, goal.expand(2, 1, 2), torch.full((2,), float(left))))
    with pytest.raises(ValueError, match="trained with goals"):
        policy(state.latent)


@pytest.mark.parametrize(
    ("latents", "actions"),
    [([], []), ([torch.zeros(1, 1, 2)], [torch.zeros(1, 2)]), ([torch.zeros(4, 1, 2)], [torch.zeros(2, 2)])],
)
def test_episodes_that_do_not_fit_are_refused(latents: list[torch.Tensor], actions: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="give"):
        fit_goal_policy(latents, actions, PointMassWorld().action_spec or SPEC)
