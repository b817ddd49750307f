"""Latent actions on the moving dot: learnt without labels, steered by real actions after a few."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from worldline.data import EpisodeStore, LatentStore
from worldline.dynamics import ShortcutConfig
from worldline.eval import evaluate_rollouts, sample_windows
from worldline.recipes import Recipe, train_world
from worldline.recipes.corpus import Corpus, with_label_share
from worldline.recipes.latent_actions import ControlledWorld, fit_controller, train_latent_world
from worldline.world import World


@pytest.fixture
def trained(
    dot_recipe: Callable[..., Recipe], make_dot_store: Callable[..., EpisodeStore], tmp_path: Path
) -> tuple[EpisodeStore, World, ControlledWorld, LatentStore]:
    store = make_dot_store(12)
    recipe = replace(dot_recipe(tokenizer_steps=4, dynamics_steps=4), dynamics_batch=(4, 4), shortcut=ShortcutConfig(metric_share=0.9))
    world, actions, latents = train_latent_world(recipe, Corpus.of(store, 1), tmp_path / "run", dim=3)
    controller = fit_controller(actions, with_label_share(latents, 0.25), 1, steps=5)
    assert store.action_spec is not None
    return store, world, ControlledWorld(world, actions, controller, store.action_spec), latents


def test_a_controlled_world_is_measured_like_any_other(trained: tuple[EpisodeStore, World, ControlledWorld, LatentStore]) -> None:
    store, world, controlled, _ = trained
    assert world.action_spec is not None
    assert world.action_spec.dim == 3
    windows = sample_windows(store, prompt_frames=2, num_frames=3, num_windows=6)
    report = evaluate_rollouts(cast(World, controlled), windows)
    assert len(report.gain_db) == 3
    assert report.shuffled_action_ratio is not None


@torch.no_grad()
def test_a_step_is_one_under_the_latent_action_of_the_controller(
    trained: tuple[EpisodeStore, World, ControlledWorld, LatentStore],
) -> None:
    _, world, controlled, _ = trained
    state = controlled.prompt(torch.rand(1, 3, 3, 16, 16))
    action = torch.tensor([[0.5, -0.25]])
    expected = world.step(state, controlled.controller(state.latent, action), seed=1)
    assert torch.equal(controlled.step(state, action, seed=1).latent, expected.latent)
    rollout = controlled.rollout(state, action[None], seed=1)
    assert torch.equal(rollout.latents[0, :, 0], expected.latent)
    assert (state.detail is None) == (world.config.detail_tolerance == 0), "pictures keep the prompt's detail as in any world"
    with pytest.raises(ValueError, match="one future"):
        controlled.rollout(state, action[None], samples=2)


def test_a_controller_fits_the_labels_that_there_are(trained: tuple[EpisodeStore, World, ControlledWorld, LatentStore]) -> None:
    _, _, controlled, latents = trained
    actions = controlled.actions
    some = with_label_share(latents, 0.25)
    (index,) = [i for i, episode in enumerate(some.episodes) if "actions" in episode.labels][:1]
    episode = some.episodes[index]
    seen, done = latents.rows("latents", episode), latents.rows("actions", episode)
    assert seen is not None
    assert done is not None
    with torch.no_grad():
        wanted = actions.read(seen.float()[None])[0]

        def error(steps: int) -> float:
            with torch.enable_grad():
                controller = fit_controller(actions, some, 1, steps=steps)
            return float((controller(seen[:-1].float(), done[:-1]) - wanted).square().mean())

        assert error(200) < 0.5 * error(1)
    with pytest.raises(ValueError, match="no episode has action labels"):
        fit_controller(actions, with_label_share(latents, 0.0), 1)


def test_tokenizer_and_latents_are_those_of_the_labelled_run(
    dot_recipe: Callable[..., Recipe], make_dot_store: Callable[..., EpisodeStore], tmp_path: Path
) -> None:
    store = make_dot_store(4)
    recipe = replace(dot_recipe(tokenizer_steps=3, dynamics_steps=3), dynamics_batch=(4, 4))
    usual = train_world(recipe, store, tmp_path / "run")
    world, _, _ = train_latent_world(recipe, Corpus.of(store, 1), tmp_path / "run", dim=3)
    assert World.digest(world.tokenizer) == World.digest(usual.tokenizer)
    assert len([path for path in (tmp_path / "run" / "latents").iterdir() if path.is_dir()]) == 1
