"""A saved world is the same world; anything else in its place is refused, and nothing that is read can run code."""

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file, save_file

from worldline.dynamics import DynamicsConfig
from worldline.interfaces import ActionSpec
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig


@pytest.fixture
def folder(make_world, tmp_path) -> Path:
    return make_world().save_pretrained(tmp_path / "world")


@torch.no_grad()
@pytest.mark.parametrize("with_actions", [True, False])
def test_what_comes_back_dreams_the_same_to_the_bit(make_world, video, tmp_path, with_actions):
    world = make_world(with_actions=with_actions, provenance={"seed": 3}, figures={"gain_db": 1.5})
    back = World.load(world.save_pretrained(tmp_path / "deep" / "world"))
    assert back.config == world.config
    assert back.fingerprint() == world.fingerprint()
    assert not back.training
    plan = torch.ones(2, 4, 2 if with_actions else 0)
    rollouts = [each.rollout(each.prompt(video), plan, samples=2, seed=0) for each in (world, back)]
    assert torch.equal(rollouts[0].latents, rollouts[1].latents)
    assert torch.equal(world.decode(rollouts[0]), back.decode(rollouts[1]))
    assert all(torch.equal(rollouts[0].heads[name], rollouts[1].heads[name]) for name in rollouts[0].heads)


def test_a_fingerprint_tells_weights_apart(make_world):
    world = make_world()
    before = world.fingerprint()
    assert world.fingerprint() == before
    with torch.no_grad():
        world.dynamics.position[0, 0] += 1e-3
    assert world.fingerprint() != before


def test_saving_over_a_world_replaces_it_and_leaves_no_rest(make_world, folder):
    other = make_world(figures={"gain_db": 2.5})
    other.save_pretrained(folder)
    assert World.load(folder).fingerprint() == other.fingerprint()
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_the_card_says_what_is_known_and_what_is_not(make_world, tmp_path):
    world = make_world(provenance={"training frames": 1200, "hardware": "two cores"})
    card = (world.save_pretrained(tmp_path) / "README.md").read_text()
    num_parameters = sum(parameter.numel() for parameter in world.parameters())
    for words in (f"{num_parameters:,} parameters", "16 px", "10.0 Hz", "throttle, steering", "training frames | 1200", "not measured"):
        assert words in card
    measured = replace(world.config, figures={"gain over copy": "+1.2 dB"}, action_spec=None)
    measured = replace(measured, dynamics=replace(measured.dynamics, action_dim=0))
    card = (World(measured).save_pretrained(tmp_path) / "README.md").read_text()
    assert "| gain over copy | +1.2 dB |" in card
    assert "not measured" not in card
    assert "actions: none" in card


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json and model\.safetensors are needed"):
        World.load(folder)


@pytest.mark.parametrize("name", ["nowhere", "no-such-owner/no-such-world", "/no/such/folder", "../x", "a/b/c", "bad name/with space"])
def test_a_world_that_is_nowhere_is_not_found(name):
    with pytest.raises(FileNotFoundError, match="folder"):
        World.load(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"worldline"',
        "{}",
        '{"format": "worldline-world-1"}',
        '{"format": "another", "a": 1}',
        "[" * 100_000,
        "\x00",
    ],
    ids=lambda text: text[:12],
)
def test_a_config_that_is_none_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match="cannot be loaded"):
        World.load(folder)


def test_a_config_in_another_encoding_is_refused(folder):
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="cannot be loaded"):
        World.load(folder)


# Whole numbers stay small, since a billion layers would only take long.
VALUES = st.none() | st.booleans() | st.integers(-40, 40) | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=3)


@settings(max_examples=100)
@given(data=st.data())
def test_a_config_with_any_other_value_loads_or_says_why(data, shared_folder):
    """One field is changed to anything at all: a world comes back, or a ValueError that says so; never another error."""
    config = json.loads((shared_folder / "config.json").read_text())
    part = data.draw(st.sampled_from([config, config["tokenizer"], config["dynamics"], config["sampler"], config["action_spec"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(VALUES)
    damaged = shared_folder.with_name("damaged")
    damaged.mkdir(exist_ok=True)
    (damaged / "config.json").write_text(json.dumps(config))
    (damaged / "model.safetensors").write_bytes((shared_folder / "model.safetensors").read_bytes())
    try:
        message = f"{World.load(damaged).config} cannot be loaded"
    except ValueError as error:
        message = str(error)
    assert "cannot be loaded" in message


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory) -> Path:
    config = WorldConfig(
        tokenizer=TokenizerConfig(image_size=8, grid=2, latent_dim=2, width=8, num_layers=1, head_dim=4),
        dynamics=DynamicsConfig(num_tokens=4, latent_dim=2, action_dim=1, width=8, num_layers=2, head_dim=4),
        action_spec=ActionSpec(low=(0.0,), high=(1.0,)),
    )
    return World(config).save_pretrained(tmp_path_factory.mktemp("worlds") / "whole")


def test_damaged_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (b"", whole[:5], whole[: len(whole) // 2], whole[:-1], b"\xff" * 64, whole[:8] + b"\xff" + whole[9:]):
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be loaded"):
            World.load(folder)


def test_weights_of_something_else_are_refused(folder):
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    name = "dynamics.latent_in.weight"
    for foreign in (
        {"layer.weight": torch.zeros(3)},
        {key: value for key, value in tensors.items() if key != name},
        tensors | {"extra": torch.zeros(1)},
        tensors | {name: tensors[name][:, :3].contiguous()},
    ):
        save_file(foreign, weights)
        with pytest.raises(ValueError, match="do not belong together"):
            World.load(folder)


def test_a_config_that_asks_for_too_much_memory_is_refused_before_it_gets_any(folder):
    config = json.loads((folder / "config.json").read_text())
    config["dynamics"]["width"] = 1 << 24
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="do not belong together"):
        World.load(folder)


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.write_text, (self.target, "code was run")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "pytorch_model.bin", "model.pt", "model.safetensors.index.json"])
@pytest.mark.parametrize("wrap", [pickle.dumps, "torch", "header"], ids=["pickle", "torch", "safetensors header"])
def test_pickled_code_is_never_run(folder, tmp_path, name, wrap):
    marker = tmp_path / "marker"
    if wrap == "torch":
        torch.save(Payload(marker), folder / name)
    else:
        payload = pickle.dumps(Payload(marker))
        (folder / name).write_bytes(payload if wrap is pickle.dumps else struct.pack("<Q", len(payload)) + payload)
    if name in ("model.safetensors", "config.json"):
        with pytest.raises(ValueError, match="cannot be loaded"):
            World.load(folder)
    else:
        World.load(folder)
    assert not marker.exists()
    (tmp_path / "armed").write_bytes(pickle.dumps(Payload(marker)))
    pickle.loads((tmp_path / "armed").read_bytes())
    assert marker.exists(), "the payload must be able to do harm, or this test shows nothing"


@torch.no_grad()
def test_half_precision_halves_the_file_and_comes_back_in_full(make_world, video, tmp_path):
    world = make_world()
    world.save_pretrained(tmp_path / "full")
    back = World.load(world.save_pretrained(tmp_path / "half", half=True))
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    for name, value in world.state_dict().items():
        loaded = back.state_dict()[name]
        assert loaded.dtype == value.dtype
        assert torch.equal(loaded, value.half().to(value.dtype) if value.is_floating_point() else value)
    states = [each.prompt(video) for each in (world, back)]
    assert torch.allclose(states[0].latent, states[1].latent, atol=2e-2)
    again = World.load(back.save_pretrained(tmp_path / "again", half=True))
    assert again.fingerprint() == back.fingerprint()


def test_what_half_precision_cannot_hold_is_refused_and_nothing_is_written(make_world, tmp_path):
    world = make_world()
    with torch.no_grad():
        world.dynamics.position[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"dynamics\.position has values beyond float16"):
        world.save_pretrained(tmp_path / "world", half=True)
    assert not (tmp_path / "world").exists()
