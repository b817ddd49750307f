"""What a frame may depend on: the past, its own action, its own noise; never the future, never a head."""

import pytest
import torch
from torch import Tensor

from worldline.dynamics import Dynamics, DynamicsConfig, dynamics_config
from worldline.dynamics.network import Context
from worldline.nn import Cache, Segment


def inputs(batch: int = 2, frames: int = 7) -> dict[str, Tensor]:
    return {
        "noisy_BTSC": torch.randn(batch, frames, 4, 6, dtype=torch.float64),
        "signal_BT": torch.rand(batch, frames, dtype=torch.float64),
        "step_BT": torch.full((batch, frames), 0.25, dtype=torch.float64),
        "action_BTA": torch.rand(batch, frames, 2, dtype=torch.float64) * 2 - 1,
    }


def frames_changed(before: Tensor, after: Tensor) -> list[bool]:
    return ((before - after).abs().flatten(2).amax((0, 2)) > 1e-12).tolist()


@torch.no_grad()
@pytest.mark.parametrize("name", ["noisy_BTSC", "signal_BT", "action_BTA"])
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
        torch.testing.assert_close(new.keys[:, :-2], old.keys[:, :-2], rtol=0, atol=1e-12)


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
def test_signal_step_and_the_frame_before_are_seen(make_dynamics):
    network = make_dynamics(time_every=5).double()  # no time attention: what comes from before comes as `previous`
    given = inputs() | {"signal_BT": torch.full((2, 7), 0.6, dtype=torch.float64)}
    clean = network(**given).clean
    assert not torch.allclose(network(**(given | {"step_BT": given["step_BT"] / 2})).clean, clean)
    last = {name: value[:, -1:] for name, value in given.items()}
    again = network(**last, previous_BSC=given["noisy_BTSC"][:, -2], previous_signal=0.6).clean
    torch.testing.assert_close(again, clean[:, -1:])
    assert not torch.allclose(network(**last).clean, clean[:, -1:])


@torch.no_grad()
def test_targets_over_a_context_see_what_the_sampler_sees(make_dynamics):
    """Training runs all frames at once over a context; each must get what a cached step after the context's frames before it gives."""
    network = make_dynamics(context_frames=4).double()
    given, past = inputs(), inputs() | {"signal_BT": torch.full((2, 7), 0.8, dtype=torch.float64)}
    past["action_BTA"] = given["action_BTA"]
    segments = network(**past).segments
    context = Context(past["noisy_BTSC"], past["signal_BT"], Cache(tuple((segment,) for segment in segments)))
    together = network(**given, context=context, with_heads=False).clean
    for time in range(1, 7):
        before = tuple(Segment(part.keys[:, :, :, :time], part.values[:, :, :, :time]) for part in segments)
        stepped = network(
            **{name: value[:, time : time + 1] for name, value in given.items()},
            previous_BSC=past["noisy_BTSC"][:, time - 1],
            previous_signal=0.8,
            cache=Cache.empty(2).append(before, window=3),
            position=time,
            with_heads=False,
        ).clean
        torch.testing.assert_close(together[:, time : time + 1], stepped, rtol=0, atol=1e-12)
    rows = network(**{name: value[1:] for name, value in given.items()}, context=context.rows(1), with_heads=False).clean
    torch.testing.assert_close(rows, together[1:], rtol=0, atol=1e-12)


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
