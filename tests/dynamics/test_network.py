"""What a frame may depend on: the past, its own action, its own noise; never the future, never a head."""

import pytest
import torch
from torch import Tensor

from worldline.dynamics import Dynamics, DynamicsConfig, dynamics_config
from worldline.dynamics.network import frames_before


def inputs(batch: int = 2, frames: int = 7) -> dict[str, Tensor]:
    return {
        "noisy_BTSC": torch.randn(batch, frames, 4, 6, dtype=torch.float64),
        "signal_BT": torch.rand(batch, frames, dtype=torch.float64),
        "step_BT": torch.full((batch, frames), 0.25, dtype=torch.float64),
        "action_BTA": torch.rand(batch, frames, 2, dtype=torch.float64) * 2 - 1,
        "previous_BTSC": torch.randn(batch, frames, 4, 6, dtype=torch.float64),
        "previous_signal_BT": torch.rand(batch, frames, dtype=torch.float64),
    }


def frames_changed(before: Tensor, after: Tensor) -> list[bool]:
    return ((before - after).abs().flatten(2).amax((0, 2)) > 1e-12).tolist()


@torch.no_grad()
@pytest.mark.parametrize("name", ["noisy_BTSC", "signal_BT", "action_BTA", "previous_BTSC", "previous_signal_BT"])
def test_the_future_does_not_change_the_past(make_dynamics, name):
    network = make_dynamics(context_frames=16).double()
    given = inputs()
    before = network(**given)
    given[name] = given[name].clone()
    given[name][:, 3] += 0.1
    after = network(**given)
    assert frames_changed(before.clean, after.clean) == [frame >= 3 for frame in range(7)]
    for head in ("reward", "inverse_action"):
        assert frames_changed(before.heads[head].unsqueeze(-1), after.heads[head].unsqueeze(-1)) == [frame >= 3 for frame in range(7)]


@torch.no_grad()
def test_head_tokens_change_nothing_in_the_world(make_dynamics):
    network = make_dynamics().double()
    given = inputs()
    with_heads, without = network(**given), network(**given, with_heads=False)
    torch.testing.assert_close(with_heads.clean, without.clean, rtol=0, atol=1e-12)
    assert without.heads == {}
    network.head_tokens.add_(1)
    other = network(**given)
    torch.testing.assert_close(other.clean, with_heads.clean, rtol=0, atol=1e-12)
    assert not torch.allclose(other.heads["reward"], with_heads.heads["reward"])
    for new, old in zip(other.segments, with_heads.segments, strict=True):
        torch.testing.assert_close(new.keys, old.keys, rtol=0, atol=1e-12)


@torch.no_grad()
def test_no_action_is_the_unknown_action(make_dynamics):
    network = make_dynamics().double()
    given = inputs()
    unknown = torch.zeros(2, 7, dtype=torch.bool)
    hidden = network(**given, known_BT=unknown).clean
    none = network(**(given | {"action_BTA": None})).clean
    assert torch.equal(hidden, none)
    known = network(**given, known_BT=~unknown).clean
    assert torch.equal(known, network(**given).clean)
    assert not torch.allclose(known, none)


@torch.no_grad()
def test_known_is_decided_frame_by_frame(make_dynamics):
    network = make_dynamics().double()
    given = inputs()
    known = torch.ones(2, 7, dtype=torch.bool)
    known[:, 2] = False
    before = network(**given, known_BT=known).clean
    given["action_BTA"] = given["action_BTA"].clone()
    given["action_BTA"][:, 2] = 0.7
    assert torch.equal(network(**given, known_BT=known).clean, before)


@torch.no_grad()
@pytest.mark.parametrize("name", ["signal_BT", "step_BT", "previous_BTSC", "previous_signal_BT"])
def test_levels_step_and_the_frame_before_are_seen(make_dynamics, name):
    network = make_dynamics(time_every=5).double()  # no time attention: what comes from before comes as `previous`
    given = inputs()
    changed = given | {name: given[name] * 0.9}
    assert all(frames_changed(network(**given).clean, network(**changed).clean))
    clean_before = network(**{key: value for key, value in given.items() if key != "previous_signal_BT"}).clean
    ones = given | {"previous_signal_BT": torch.ones(2, 7, dtype=torch.float64)}
    assert torch.equal(clean_before, network(**ones).clean)


@torch.no_grad()
def test_a_frame_of_pure_noise_holds_the_frame_before_for_those_after_it(make_dynamics):
    """What lets one pass train all frames: later frames see the past through frames whose own latents say nothing."""
    network = make_dynamics(context_frames=16).double()
    given = inputs() | {"signal_BT": torch.zeros(2, 7, dtype=torch.float64)}
    before = network(**given).clean
    given["previous_BTSC"] = given["previous_BTSC"].clone()
    given["previous_BTSC"][:, 2] += 0.1
    assert frames_changed(before, network(**given).clean) == [frame >= 2 for frame in range(7)]


@torch.no_grad()
def test_packed_tokens_are_neighbouring_patches(make_dynamics):
    network = make_dynamics(num_tokens=16, packing=2)
    latents = torch.arange(16.0)[:, None].expand(1, 1, 16, 6)
    packed = network._pack(latents)
    assert packed.shape == (1, 1, 4, 24)
    assert packed[0, 0, :, ::6].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    random = torch.randn(2, 3, 16, 6)
    assert torch.equal(network._unpack(network._pack(random)), random)
    noisy, signal, step = torch.randn(2, 3, 16, 6), torch.rand(2, 3), torch.full((2, 3), 0.25)
    prediction = network(noisy, signal, step, None, previous_BTSC=frames_before(noisy))
    assert prediction.clean.shape == (2, 3, 16, 6)
    assert prediction.segments[0].keys.shape[1] == 2 + 4 + network.config.num_registers
    for wrong in ({"num_tokens": 12, "packing": 2}, {"num_tokens": 9, "packing": 2}, {"packing": 0}):
        with pytest.raises(ValueError, match="packing"):
            make_dynamics(**wrong)


def test_a_world_without_actions_has_no_inverse_head(make_dynamics):
    network = make_dynamics(action_dim=0).double()
    given = inputs() | {"action_BTA": None}
    assert set(network(**given).heads) == {"reward"}


def test_a_fresh_network_learns_from_the_first_step():
    """Its last layer starts at zero, and must be the layer that a first gradient reaches."""
    network = Dynamics(DynamicsConfig(num_tokens=4, latent_dim=6, action_dim=2, width=32, num_layers=2, head_dim=16)).double()
    (network(**inputs()).clean - 1).square().mean().backward()
    assert network.latent_out.weight.grad is not None
    assert network.latent_out.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [
        ("nano", 0.7e6, 1e6),
        ("tiny", 5e6, 6.5e6),
        ("small", 25e6, 35e6),
        ("base", 125e6, 175e6),
        ("large", 0.85e9, 1.15e9),
    ],
)
def test_sizes_are_what_they_say(size, least, most):
    with torch.device("meta"):
        network = Dynamics(dynamics_config(size, num_tokens=16, latent_dim=32, action_dim=2))
    assert least <= sum(parameter.numel() for parameter in network.parameters()) <= most


def test_wrong_configs_say_what_is_allowed():
    with pytest.raises(ValueError, match="nano, tiny, small, base, large"):
        dynamics_config("huge", num_tokens=16, latent_dim=32, action_dim=2)  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match="power of two, got 6"):
        DynamicsConfig(num_tokens=4, latent_dim=6, action_dim=2, width=32, num_layers=2, head_dim=16, max_steps=6)
