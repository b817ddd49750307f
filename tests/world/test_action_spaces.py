"""A world of several kinds of video: each with actions, bounds and a rate of its own, over the same weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldline.control import RandomShooting, RandomShootingConfig
from worldline.interfaces import ActionSpec
from worldline.reward import GoalLatent
from worldline.world import ActionSpace, World, WorldConfig

ARM = ActionSpec(low=(0.0, 0.0, -5.0), high=(4.0, 20.0, 5.0))
CAR = ActionSpec(low=(0.0,), high=(10.0,), names=("throttle",))
SPACES = {
    "arm": ActionSpace(spec=ARM, rate_hz=4.0),
    "car": ActionSpace(spec=CAR, rate_hz=10.0),
    "film": ActionSpace(rate_hz=25.0),
}


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    dynamics = replace(make_world().config.dynamics, action_dim=3)
    return make_world(dynamics=dynamics, action_spec=None, rate_hz=None, action_spaces=SPACES)


@torch.no_grad()
def test_own_actions_are_those_of_the_network_scaled_and_filled_up(world: World, video: torch.Tensor) -> None:
    car = world.with_action_space("car")
    assert (car.action_spec, car.config.rate_hz) == (CAR, 10.0)
    raw = World(replace(world.config, action_spec=ActionSpec(low=(-1.0,) * 3, high=(1.0,) * 3)), world.tokenizer, world.dynamics)
    own, shared = torch.rand(2, 3, 1) * 10, torch.zeros(2, 3, 3)
    shared[..., :1] = own / 5 - 1
    past, shared_past = torch.rand(7, 1) * 10, torch.zeros(7, 3)
    shared_past[:, :1] = past / 5 - 1
    rollouts = [
        each.rollout(each.prompt(video, known), actions, seed=0) for each, known, actions in ((car, past, own), (raw, shared_past, shared))
    ]
    assert torch.equal(rollouts[0].latents, rollouts[1].latents)
    reading, expected = (rollout.heads["inverse_action"] for rollout in rollouts)
    assert reading.shape == (1, 2, 3, 1)
    assert torch.allclose(reading, (expected[..., :1] + 1) * 5)


@torch.no_grad()
def test_without_actions_it_is_the_null_action(world: World, video: torch.Tensor) -> None:
    film = world.with_action_space("film")
    assert film.action_spec is None
    rollout = film.rollout(film.prompt(video), torch.zeros(1, 2, 0), seed=0)
    state = world.prompt(video)
    for frame in range(2):
        state = world.step(state, None, seed=0)
        assert torch.allclose(rollout.latents[0, :, frame], state.latent, atol=1e-5)


def test_a_planner_plans_in_the_units_of_the_domain(world: World, video: torch.Tensor) -> None:
    arm = world.with_action_space("arm")
    with torch.no_grad():
        state = arm.prompt(video)
        plan = RandomShooting(arm, GoalLatent(state.latent[0]), RandomShootingConfig(horizon=2, num_candidates=4)).plan(state, seed=0)
    assert plan.actions.shape == (2, 3)
    assert torch.equal(ARM.clamp(plan.actions), plan.actions)
    assert plan.actions[:, 1].max() > 1


def test_weights_are_shared_and_the_choice_changes_nothing_else(world: World) -> None:
    arm = world.with_action_space("arm")
    assert arm.dynamics is world.dynamics
    assert arm.fingerprint() == world.fingerprint()
    assert world.action_spec is None
    assert arm.with_action_space("car").action_spec == CAR


def test_spaces_are_saved_and_named_on_the_card(world: World, tmp_path: Path) -> None:
    back = World.load(world.save_pretrained(tmp_path))
    assert back.config == world.config
    card = (tmp_path / "README.md").read_text()
    assert "arm (3)" in card
    assert "car (throttle)" in card
    assert "film (none)" in card


def test_an_unknown_space_and_a_missing_choice_are_explained(world: World, make_world: Callable[..., World], video: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="no action space 'chess'; it has arm, car, film"):
        world.with_action_space("chess")
    with pytest.raises(ValueError, match="trained on one kind of video"):
        make_world().with_action_space("arm")
    with torch.no_grad(), pytest.raises(ValueError, match=r"with_action_space\(arm, car\)"):
        world.step(world.prompt(video), torch.zeros(1, 3))


def test_a_space_wider_than_the_network_is_refused(make_world: Callable[..., World]) -> None:
    config: WorldConfig = make_world().config
    with pytest.raises(ValueError, match="has 3 components, the dynamics take 2"):
        replace(config, action_spaces=SPACES)
