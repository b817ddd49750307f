"""An actor that was kept acts as the one that was trained, and a damaged file is refused."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from worldline.control.actor import Actor, ActorConfig, load_actor, save_actor
from worldline.interfaces import ActionSpec, State

SPEC = ActionSpec(low=(-1.0, 0.0), high=(1.0, 5.0), names=("turn", "speed"))


@pytest.fixture
def actor() -> Actor:
    torch.manual_seed(3)
    made = Actor((4, 6), SPEC, ActorConfig(width=16, initial_std=0.2), mean=torch.randn(4, 6), std=torch.rand(4, 6))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_comes_back_bit_for_bit(actor: Actor, dtype: torch.dtype, tmp_path: Path) -> None:
    actor.to(dtype)
    path = save_actor(actor, tmp_path / "policies" / "turn.safetensors")
    assert [entry.name for entry in path.parent.iterdir()] == ["turn.safetensors"]
    again = load_actor(path)
    state = State(latent=torch.randn(5, 4, 6, dtype=dtype), position=0)
    assert torch.equal(again(state), actor(state))
    assert torch.equal(again.deviations(), actor.deviations())
    assert (again.action_spec, again.config, again.training) == (SPEC, actor.config, False)


def test_what_was_there_is_replaced_and_stays_where_nothing_can_be_written(actor: Actor, tmp_path: Path) -> None:
    path = save_actor(actor, tmp_path / "policy.safetensors")
    kept = path.read_bytes()
    with torch.no_grad():
        actor.log_std.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        save_actor(actor, path)
    assert path.read_bytes() == kept
    with torch.no_grad():
        actor.log_std.fill_(-1.0)
    save_actor(actor, path)
    assert load_actor(path).log_std.tolist() == [-1.0, -1.0]


def test_what_is_no_actor_is_refused(actor: Actor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no actor"):
        load_actor(tmp_path / "nothing.safetensors")
    path = save_actor(actor, tmp_path / "policy.safetensors")
    weights = actor.state_dict()
    about = {"format": "worldline-actor-1", "config": json.dumps(asdict(actor.config)), "action_spec": json.dumps(asdict(SPEC))}
    damaged = {
        "cut": path.read_bytes()[:-40],
        "empty": b"",
        "other": b"PK\x03\x04" * 30,
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    for name, weights_and_header in {
        "no header": (weights, None),
        "other format": (weights, about | {"format": "worldline-world-1"}),
        "no bounds": (weights, {"format": about["format"], "config": about["config"]}),
        "bounds of nothing": (weights, about | {"action_spec": "[]"}),
        "negative width": (weights, about | {"config": json.dumps({"width": -1})}),
        "another width": (weights, about | {"config": json.dumps({"width": 8})}),
        "unknown setting": (weights, about | {"config": json.dumps({"depth": 3})}),
        "a weight less": ({key: value for key, value in weights.items() if key != "log_std"}, about),
        "nan": (weights | {"log_std": torch.full((2,), torch.nan)}, about),
    }.items():
        save_file(weights_and_header[0], tmp_path / name, metadata=weights_and_header[1])
        damaged[name] = b""
    for name in damaged:
        with pytest.raises(ValueError, match="actor"):
            load_actor(tmp_path / name)
