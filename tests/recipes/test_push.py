"""The Push-T recipe: its size, and the episodes that it collects."""

import torch

from worldline.dynamics import Dynamics, dynamics_config
from worldline.envs.pusht import pusht_action_spec
from worldline.recipes import collect_push, push
from worldline.recipes.push import push_by_steps


def test_the_recipe_describes_a_nano_world_within_half_an_hour():
    recipe = push()
    minutes = [
        training.duration_seconds / 60 for training in (recipe.tokenizer_training, recipe.dynamics_training) if training.duration_seconds
    ]
    assert len(minutes) == 2
    assert sum(minutes) <= 30
    config = dynamics_config(
        recipe.size,
        num_tokens=recipe.tokenizer.num_tokens,
        latent_dim=recipe.tokenizer.latent_dim,
        action_dim=2,
        max_steps=recipe.max_steps,
    )
    with torch.device("meta"):
        assert 0.7e6 < sum(parameter.numel() for parameter in Dynamics(config).parameters()) < 1e6
    assert recipe.sampler.num_steps <= config.max_steps
    assert push(dynamics_minutes=1).dynamics_training.duration_seconds == 60


def test_what_only_a_longer_run_pays_for_comes_late_and_not_by_steps():
    short, long = push(dynamics_minutes=10).shortcut, push(dynamics_minutes=60).shortcut
    assert long.self_after == long.unroll_after == 6 * short.self_after > 0
    compared = push_by_steps(7, 9)
    assert (compared.tokenizer_training.steps, compared.dynamics_training.steps) == (7, 9)
    assert compared.tokenizer_training.duration_seconds is compared.dynamics_training.duration_seconds is None
    assert compared.shortcut.self_share == compared.shortcut.unroll_share == 0


def test_by_steps_the_late_phases_are_a_share_of_them():
    recipe = push(steps=(7, 400))
    assert (recipe.tokenizer_training.steps, recipe.dynamics_training.steps) == (7, 400)
    assert recipe.dynamics_training.duration_seconds is None
    assert (recipe.shortcut.self_after, recipe.shortcut.unroll_after, recipe.shortcut.unroll_share) == (300, 300, 0.25)


def test_episodes_are_collected_once(tmp_path):
    store = collect_push(tmp_path / "data", num_episodes=2, num_frames=6, size=32, seed=0, num_workers=1)
    assert (len(store), store.frame_size) == (2, (32, 32))
    assert store.action_spec == pusht_action_spec()
    assert {round(episode.rate_hz, 6) for episode in store.episodes} == {2.5}
    written = (tmp_path / "data" / "store.json").stat().st_mtime_ns
    again = collect_push(tmp_path / "data", num_episodes=2, num_frames=6, size=32, seed=0, num_workers=1)
    assert torch.equal(again.video, store.video)
    assert (tmp_path / "data" / "store.json").stat().st_mtime_ns == written


def test_a_world_may_run_faster_than_the_recipe_does(tmp_path):
    store = collect_push(tmp_path / "data", num_episodes=1, num_frames=3, size=32, seed=0, num_workers=1, frame_skip=2)
    assert [round(episode.rate_hz, 6) for episode in store.episodes] == [5]
