"""A world goes on from another one: what is taken, what begins anew, and what does not fit."""

import json
from dataclasses import replace

import pytest
import torch

from worldline.dynamics import Dynamics
from worldline.interfaces import ActionSpec
from worldline.recipes import train_world
from worldline.recipes.corpus import Corpus
from worldline.recipes.recipe import world_config
from worldline.recipes.start import size_of, take_weights
from worldline.train import TrainConfig
from worldline.world import World, WorldConfig


@pytest.fixture
def start(dot_recipe, dot_store, tmp_path) -> World:
    """Hardly trained."""
    return train_world(dot_recipe(tokenizer_steps=2, dynamics_steps=2), dot_store, tmp_path / "start")


def fresh(config: WorldConfig) -> Dynamics:
    torch.manual_seed(7)
    return Dynamics(config.dynamics)


def test_the_tokenizer_stays_and_the_dynamics_go_on(start, dot_recipe, dot_store, tmp_path):
    recipe = dot_recipe(tokenizer_steps=20, dynamics_steps=1)
    recipe = replace(recipe, dynamics_training=replace(recipe.dynamics_training, learning_rate=1e-9, muon_learning_rate=1e-9))
    before = {name: value.clone() for name, value in start.dynamics.state_dict().items()}
    world = train_world(recipe, dot_store, tmp_path / "run", start=start)
    assert World.digest(world.tokenizer) == World.digest(start.tokenizer)
    assert not (tmp_path / "run" / "tokenizer").exists()
    for name, value in world.dynamics.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-5)
    assert start.fingerprint()[:12] in str(world.config.provenance["started from"])
    assert float(world.config.provenance["training FLOPs"]) > float(start.config.provenance["training FLOPs"])
    assert train_world(recipe, dot_store, tmp_path / "run", start=start).fingerprint() == world.fingerprint(), "a finished run returns"


def test_what_was_learnt_is_not_learnt_again(dot_recipe, dot_store, tmp_path):
    """Loss over the first ten steps: with the weights of a start that has learnt, and with fresh ones behind the same tokenizer."""
    learnt = train_world(dot_recipe(tokenizer_steps=30, dynamics_steps=40), dot_store, tmp_path / "learnt")
    unlearnt = World(learnt.config, learnt.tokenizer, fresh(learnt.config))
    losses = []
    for name, each in (("on", learnt), ("anew", unlearnt)):
        train_world(dot_recipe(tokenizer_steps=1, dynamics_steps=10), dot_store, tmp_path / name, start=each)
        rows = [json.loads(line) for line in (tmp_path / name / "dynamics" / "metrics.jsonl").read_text().splitlines()]
        losses.append(rows[0]["train/loss"])
    assert losses[0] < 0.8 * losses[1]


def test_new_dynamics_keep_the_tokenizer_alone_and_may_have_another_shape(start, dot_recipe, dot_store, tmp_path):
    recipe = replace(dot_recipe(tokenizer_steps=20, dynamics_steps=1), packing=2, new_dynamics=True)
    world = train_world(recipe, dot_store, tmp_path / "run", start=start)
    assert World.digest(world.tokenizer) == World.digest(start.tokenizer)
    assert world.config.dynamics.packing == 2
    assert start.fingerprint()[:12] in str(world.config.provenance["tokenizer of"])
    assert "started from" not in world.config.provenance


def test_a_packing_comes_along(start, dot_recipe, dot_store, tmp_path):
    packed = train_world(replace(dot_recipe(tokenizer_steps=1, dynamics_steps=1), packing=2), dot_store, tmp_path / "packed")
    world = train_world(dot_recipe(tokenizer_steps=1, dynamics_steps=1), dot_store, tmp_path / "run", start=packed)
    assert world.config.dynamics.packing == 2
    assert "started from" in world.config.provenance


def test_other_actions_begin_anew(start, dot_recipe, dot_store):
    config = world_config(
        replace(dot_recipe(tokenizer_steps=1, dynamics_steps=1), tokenizer=start.config.tokenizer), Corpus.of(dot_store, 2)
    )
    assert config.dynamics.action_dim == 4
    ours = fresh(config)
    assert not take_weights(ours, start, config)
    first = fresh(config).state_dict()
    for name, value in ours.state_dict().items():
        of_actions = name.startswith(("action_features.", "action_in.", "inverse_out."))
        torch.testing.assert_close(value, first[name] if of_actions else start.dynamics.state_dict()[name])


def test_actions_of_another_name_begin_anew(start):
    names = ("steering", "throttle")
    config = replace(start.config, action_spec=ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0), names=names))
    assert not take_weights(fresh(config), start, config)
    assert take_weights(fresh(start.config), start, start.config)


def test_the_past_may_reach_another_length(start):
    config = replace(start.config, dynamics=replace(start.config.dynamics, context_frames=9))
    assert take_weights(fresh(config), start, config)


def test_another_shape_is_refused_by_name(start):
    config = replace(start.config, dynamics=replace(start.config.dynamics, num_layers=2))
    with pytest.raises(ValueError, match="num_layers 4 where the recipe asks for 2"):
        take_weights(fresh(config), start, config)


def test_a_size_is_known_by_its_shape(start):
    assert size_of(start) == "nano"
    odd = replace(start.config, dynamics=replace(start.config.dynamics, width=96))
    with pytest.raises(ValueError, match="no named size"):
        size_of(World(odd))


def test_the_minutes_of_a_tokenizer_go_to_the_dynamics(start, dot_recipe, dot_store, tmp_path, monkeypatch):
    given: list[TrainConfig] = []

    def train(objective, loader, config, folder, **more):
        given.append(config)
        raise StopIteration

    monkeypatch.setattr("worldline.recipes.recipe.train", train)
    recipe = dot_recipe(tokenizer_steps=20, dynamics_steps=20)
    recipe = replace(
        recipe,
        tokenizer_training=replace(recipe.tokenizer_training, duration_seconds=30.0),
        dynamics_training=replace(recipe.dynamics_training, duration_seconds=60.0),
    )
    with pytest.raises(StopIteration):
        train_world(recipe, dot_store, tmp_path / "run", start=start)
    assert [config.duration_seconds for config in given] == [90.0]
