"""A world goes on from another one: what is taken, what begins anew, and what does not fit."""

import json
import re
from dataclasses import replace

import pytest
import torch

from worldline.data import concatenate_spec
from worldline.dynamics import Dynamics, ShortcutObjective
from worldline.interfaces import ActionSpec
from worldline.recipes import recipe as recipe_module
from worldline.recipes import train_world
from worldline.recipes.corpus import Corpus
from worldline.recipes.recipe import world_config
from worldline.recipes.start import size_of, take_weights
from worldline.train import TrainConfig
from worldline.world import ActionSpace, World, WorldConfig


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
    costs = [str(world.config.provenance[name]) for name in ("tokenizer", "dynamics")]
    counted = sum(float(one) for cost in costs for one in re.findall(r"(\S+) FLOPs", cost))
    assert float(world.config.provenance["training FLOPs"]) == pytest.approx(counted, rel=0.01), "not what the dynamics of before took"


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


@torch.no_grad()
def test_an_action_that_was_held_may_become_several_side_by_side(start):
    """Done twice in a frame, an action does what it did when it was held."""
    one = ActionSpec(low=(-1.0, 0.0), high=(1.0, 2.0), names=("left", "up"))
    held = World(replace(start.config, action_spec=one), start.tokenizer, start.dynamics)
    config = replace(held.config, action_spec=concatenate_spec(one, 2), dynamics=replace(held.config.dynamics, action_dim=4))
    ours = fresh(config)
    assert take_weights(ours, held, config)
    twice = World(config, start.tokenizer, ours)
    frames, actions = torch.rand(1, 4, 3, 32, 32), torch.rand(1, 4, 2)
    rollouts = [
        world.rollout(world.prompt(frames, torch.cat([actions[:, :3]] * count, -1)), torch.cat([actions] * count, -1), seed=0)
        for world, count in ((held, 1), (twice, 2))
    ]
    torch.testing.assert_close(rollouts[1].latents, rollouts[0].latents, rtol=0, atol=1e-4)
    assert ours.inverse_out.weight.shape[0] == 4
    other = replace(config, action_spec=replace(concatenate_spec(one, 2), names=("left", "up", "right", "down")))
    assert not take_weights(fresh(other), held, other)


def test_actions_of_another_name_begin_anew(start):
    names = ("steering", "throttle")
    config = replace(start.config, action_spec=ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0), names=names))
    assert not take_weights(fresh(config), start, config)
    assert take_weights(fresh(start.config), start, start.config)


def test_the_past_may_reach_another_length(start):
    config = replace(start.config, dynamics=replace(start.config.dynamics, context_frames=9))
    assert take_weights(fresh(config), start, config)


def test_a_deeper_network_begins_as_the_one_that_it_continues(start, dot_recipe, dot_store, tmp_path):
    config = replace(start.config, dynamics=replace(start.config.dynamics, num_layers=6))
    deeper = fresh(config)
    assert take_weights(deeper, start, config)
    prompt, actions = torch.rand(1, 4, 3, 16, 16), torch.rand(1, 6, config.dynamics.action_dim) * 2 - 1
    worlds = (World(config, start.tokenizer, deeper), start)
    ours, theirs = (world.rollout(world.prompt(prompt, actions[:, :3]), actions[:, 3:], seed=0) for world in worlds)
    torch.testing.assert_close(ours.latents, theirs.latents, rtol=0, atol=1e-5)
    recipe = replace(dot_recipe(tokenizer_steps=2, dynamics_steps=3), num_layers=6)
    world = train_world(recipe, dot_store, tmp_path / "deeper", start=start)
    assert world.config.provenance["blocks"] == 6
    assert world.config.provenance["blocks that are new"] == 2
    assert size_of(world) == "nano"
    assert world.dynamics.state_dict()["transformer.blocks.5.down.weight"].abs().max() > 0  # it learns


def test_another_shape_is_refused_by_name(start):
    config = replace(start.config, dynamics=replace(start.config.dynamics, num_layers=2))
    with pytest.raises(ValueError, match="num_layers 4 where the recipe asks for 2"):
        take_weights(fresh(config), start, config)


def test_a_size_is_known_by_its_shape(start):
    assert size_of(start) == "nano"
    odd = replace(start.config, dynamics=replace(start.config.dynamics, width=96))
    with pytest.raises(ValueError, match="no named size"):
        size_of(World(odd))


@pytest.mark.parametrize("trained", [False, True])
def test_the_minutes_of_a_tokenizer_that_stays_go_to_the_dynamics(start, dot_recipe, dot_store, monkeypatch, tmp_path, *, trained):
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
        trains_tokenizer=trained,
    )
    with pytest.raises(StopIteration):
        train_world(recipe, dot_store, tmp_path / "run", start=start)
    assert [config.duration_seconds for config in given] == [30.0 if trained else 90.0]


@pytest.mark.parametrize(("goes_on", "layers", "begins"), [(True, None, 60), (True, 8, 30), (False, 8, 20), (False, None, 40)])
def test_late_phases_begin_after_as_large_a_share_of_the_minutes(
    start, dot_recipe, dot_store, monkeypatch, tmp_path, *, goes_on, layers, begins
):
    """A step of twice the blocks takes twice as long; a tokenizer that stays gives its half of the minutes away."""

    def train(objective, loader, config, folder, **more):
        if isinstance(objective, ShortcutObjective):
            raise StopIteration(objective.config.self_after)
        return original(objective, loader, config, folder, **more)

    original = recipe_module.train
    monkeypatch.setattr(recipe_module, "train", train)
    recipe = dot_recipe(tokenizer_steps=1, dynamics_steps=1)
    recipe = replace(
        recipe,
        tokenizer_training=replace(recipe.tokenizer_training, duration_seconds=30.0),
        dynamics_training=replace(recipe.dynamics_training, duration_seconds=60.0),
        shortcut=replace(recipe.shortcut, self_after=40),
        num_layers=layers,
    )
    with pytest.raises(StopIteration) as stopped:
        train_world(recipe, dot_store, tmp_path / "run", start=start if goes_on else None)
    assert stopped.value.value == begins


@pytest.mark.parametrize("muon", [1e-4, None])
def test_a_tokenizer_is_trained_on(start, dot_recipe, dot_store, tmp_path, muon):
    recipe = replace(dot_recipe(tokenizer_steps=1, dynamics_steps=1), trains_tokenizer=True)
    recipe = replace(recipe, tokenizer_training=replace(recipe.tokenizer_training, learning_rate=1e-4, muon_learning_rate=muon))
    world = train_world(recipe, dot_store, tmp_path / "run", start=start)
    before = dict(start.tokenizer.named_parameters())
    differences = [float((value - before[name]).detach().abs().max()) for name, value in world.tokenizer.named_parameters()]
    assert 0 < max(differences) < 1e-3, "it moves, and from where it was"
    cost, first = str(world.config.provenance["tokenizer"]), str(start.config.provenance["tokenizer"])
    assert cost.startswith(f"of that world ({first}), then ")
    assert float(world.config.provenance["training FLOPs"]) > float(start.config.provenance["training FLOPs"])


def two_spaces(start: World, width: int) -> tuple[World, WorldConfig]:
    """A world of one domain's two-component actions, and the config of that domain beside another, whose actions have `width`."""
    known = ActionSpace(spec=ActionSpec(low=(-1.0,) * 2, high=(1.0,) * 2, names=("x", "y")), rate_hz=5.0)
    further = ActionSpace(spec=ActionSpec(low=(-1.0,) * width, high=(1.0,) * width), rate_hz=5.0)
    config = replace(start.config, action_spec=None, action_spaces={"dots": known})
    torch.manual_seed(3)
    world = World(config)
    for parameter in world.dynamics.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    wider = replace(config.dynamics, action_dim=max(2, width))
    return world, replace(config, dynamics=wider, action_spaces={"dots": known, "further": further})


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_further_domain_leaves_what_is_known_of_the_first_ones_actions(start, width):
    before, config = two_spaces(start, width)
    dynamics = fresh(config)
    assert take_weights(dynamics, before, config)
    tokens, channels = config.dynamics.num_tokens, config.dynamics.latent_dim
    noisy, past, actions = torch.randn(2, 3, tokens, channels), torch.randn(2, 3, tokens, channels), torch.rand(2, 3, 2) * 2 - 1
    signal, step = torch.full((2, 3), 0.5), torch.ones(2, 3)
    with torch.no_grad():
        expected = before.dynamics(noisy, signal, step, actions, previous_BTSC=past)
        padded = torch.cat([actions, torch.zeros(2, 3, config.dynamics.action_dim - 2)], dim=-1)
        got = dynamics(noisy, signal, step, padded, previous_BTSC=past)
    torch.testing.assert_close(got.clean, expected.clean)


def test_a_domain_whose_actions_changed_makes_all_begin_anew(start):
    before, config = two_spaces(start, 2)
    other = ActionSpace(spec=ActionSpec(low=(-1.0,) * 2, high=(1.0,) * 2, names=("left", "right")), rate_hz=5.0)
    assert not take_weights(fresh(config), before, replace(config, action_spaces={**config.action_spaces, "dots": other}))
