"""Shortcut forcing against its formulas, computed by hand on networks whose answers are known."""

from typing import Any

import pytest
import torch
from torch import nn

from worldline.dynamics import Dynamics, SamplerConfig, ShortcutConfig, ShortcutObjective, absorb, advance
from worldline.dynamics.network import Prediction
from worldline.interfaces import ActionSpec, Batch

SPEC = ActionSpec(low=(0.0, -2.0), high=(10.0, 2.0))


def batch(num_rows: int = 8, num_frames: int = 6, *, masked: bool = False) -> Batch:
    mask = torch.rand(num_rows, num_frames) < 0.5 if masked else torch.ones(num_rows, num_frames, dtype=torch.bool)
    return Batch(
        latents=torch.randn(num_rows, num_frames, 4, 6),
        actions=SPEC.denormalize(torch.rand(num_rows, num_frames, 2) * 2 - 1) * mask.unsqueeze(-1),
        action_mask=mask,
        rewards=torch.randn(num_rows, num_frames),
    )


class Recorder(nn.Module):
    """Stands where the network stands, keeps what it was asked, and answers x + tau."""

    def __init__(self, network: Dynamics):
        super().__init__()
        self.config = network.config
        self.calls: list[dict[str, Any]] = []

    def forward(self, noisy, signal, step, action, *, previous_BTSC, previous_signal_BT, known_BT=None, with_heads=True):
        given = {"noisy": noisy, "signal": signal, "step": step, "action": action, "known": known_BT}
        self.calls.append(given | {"previous": previous_BTSC, "previous_signal": previous_signal_BT})
        heads = {"reward": torch.zeros_like(signal), "inverse_action": torch.zeros(*signal.shape, 2)}
        return Prediction(noisy + signal[..., None, None], heads if with_heads else {}, ())


def recorded(make_dynamics, config: ShortcutConfig) -> tuple[ShortcutObjective, Recorder]:
    objective = ShortcutObjective(make_dynamics(), config, SPEC)
    recorder = Recorder(objective.dynamics)
    objective.dynamics = recorder  # ty: ignore[invalid-assignment]
    return objective, recorder


def test_every_term_is_finite_and_reaches_the_network(make_dynamics):
    objective = ShortcutObjective(make_dynamics(), ShortcutConfig(self_after=0, action_dropout=0.5), SPEC)
    terms = objective.loss(batch())
    assert set(terms) == {"dynamics", "inverse", "reward"}
    for name, term in terms.items():
        assert term.shape == ()
        assert bool(term.isfinite())
        objective.zero_grad()
        term.backward(retain_graph=True)
        assert sum(float(p.grad.abs().sum()) for p in objective.parameters() if p.grad is not None) > 0, name
    objective.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    without = [name for name, parameter in objective.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


def test_terms_depend_on_what_is_labelled(make_dynamics):
    objective = ShortcutObjective(make_dynamics(), ShortcutConfig(self_after=2), SPEC)
    bare = Batch(latents=torch.randn(8, 6, 4, 6))
    assert set(objective.loss(bare)) == {"dynamics"}
    assert set(ShortcutObjective(make_dynamics(action_dim=0), ShortcutConfig(), None).loss(batch())) == {"dynamics", "reward"}
    with pytest.raises(ValueError, match="encode the frames first"):
        objective.loss(Batch(frames=torch.rand(1, 2, 3, 8, 8)))


def test_large_steps_are_trained_after_a_while(make_dynamics):
    objective, recorder = recorded(make_dynamics, ShortcutConfig(self_after=2, self_share=0.5))
    num_calls = []
    for _ in range(4):
        before = len(recorder.calls)
        objective.loss(batch())
        num_calls.append(len(recorder.calls) - before)
    assert num_calls == [1, 1, 3, 3], "one pass; then also the two half steps"


def test_a_seed_decides_the_loss(make_dynamics):
    objective = ShortcutObjective(make_dynamics(), ShortcutConfig(self_after=0), SPEC)
    given = batch()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(objective.loss(given)["dynamics"].item())
    assert losses[0] == losses[1] != losses[2]


def test_actions_are_normalised_and_sit_in_the_frame_they_lead_to(make_dynamics):
    objective, recorder = recorded(make_dynamics, ShortcutConfig(action_dropout=0.0))
    given = batch(masked=True)
    assert given.actions is not None
    assert given.action_mask is not None
    objective.loss(given)
    call = recorder.calls[-1]
    torch.testing.assert_close(call["action"][:, 1:], SPEC.normalize(given.actions)[:, :-1])
    assert torch.equal(call["known"][:, 1:], given.action_mask[:, :-1])
    assert not call["known"][:, 0].any(), "what led to the first frame was not recorded"


def test_dropout_hides_its_share_of_the_known_actions(make_dynamics):
    objective, recorder = recorded(make_dynamics, ShortcutConfig(action_dropout=0.3))
    objective.loss(batch(512))
    assert recorder.calls[-1]["known"][:, 1:].float().mean() == pytest.approx(0.7, abs=0.04)


def test_levels_and_steps_are_drawn_as_configured(make_dynamics):
    config = ShortcutConfig(start_share=0.25, mean_share=0.4, clean_share=0.125, self_share=0.5, self_after=0)
    objective, recorder = recorded(make_dynamics, config)
    objective.loss(batch(2000))
    target = recorder.calls[-1]
    plain, own = target["signal"].split(1000)
    plain_step, own_step = target["step"].split(1000)
    assert set(plain_step.flatten().tolist()) == {1 / 8, 1.0}
    assert (plain[plain_step == 1] == 0).all()
    assert (plain_step == 1).float().mean() == pytest.approx(0.1, abs=0.02)
    assert (plain == 0).float().mean() == pytest.approx(0.25, abs=0.02)
    assert (plain == 1).float().mean() == pytest.approx(0.125, abs=0.02)
    between = plain[(plain > 0) & (plain < 1)]
    assert between.mean() == pytest.approx(0.5, abs=0.02)
    assert (own_step[own == 1] == 1 / 8).all()
    own, own_step = own[own < 1], own_step[own < 1]
    assert set(own_step.flatten().tolist()) == {0.25, 0.5}
    multiples = own / own_step
    assert torch.equal(multiples, multiples.round())
    assert (own + own_step <= 1).all()


def test_the_past_is_noised_as_configured(make_dynamics):
    config = ShortcutConfig(clean_context_share=0.5, context_signal=0.8, poor_context_share=0.25)
    objective, recorder = recorded(make_dynamics, config)
    given = batch(2000)
    objective.loss(given)
    call = recorder.calls[-1]
    assert given.latents is not None
    assert (call["previous"][:, 0] == 0).all()
    assert (call["previous_signal"][:, 0] == 1).all()
    signal, previous, true = call["previous_signal"][:, 1:], call["previous"][:, 1:], given.latents[:, :-1]
    assert (signal == 1).float().mean() == pytest.approx(0.5, abs=0.02)
    assert (signal < 0.8).float().mean() == pytest.approx(0.5 * 0.25 * 0.8, abs=0.02)
    assert torch.equal(previous[signal == 1], true[signal == 1])
    noise = (previous - signal[..., None, None] * true) / (1 - signal).clamp_min(1e-6)[..., None, None]
    assert noise[signal < 0.9].std() == pytest.approx(1, abs=0.02)


def test_the_shortcut_target_is_where_two_half_steps_lead(make_dynamics):
    """The recorder answers x + tau, so its velocity at (x, tau) is tau / (1 - tau), whatever x."""
    config = ShortcutConfig(self_share=1.0, self_after=0, motion_weight=0.0, ramp=0.9, clean_share=0.0)
    objective, recorder = recorded(make_dynamics, config)
    terms = objective.loss(batch(32))
    first, second, full = recorder.calls
    noisy, signal, step = (full[name] for name in ("noisy", "signal", "step"))
    half = step / 2
    for call in (first, second):
        assert torch.equal(call["previous"], full["previous"])
    torch.testing.assert_close(first["noisy"], noisy)
    torch.testing.assert_close(first["step"], half)
    torch.testing.assert_close(second["signal"], signal + half)
    velocities = [signal / (1 - signal), (signal + half) / (1 - signal - half)]
    torch.testing.assert_close(second["noisy"], noisy + (half * velocities[0])[..., None, None])
    arrival = noisy + (half * (velocities[0] + velocities[1]))[..., None, None]
    # A full step of size d towards x moves d / (1 - tau) of the way: this x arrives where the half steps do.
    target = noisy + (arrival - noisy) * ((1 - signal) / step)[..., None, None]
    error = (noisy + signal[..., None, None] - target).square().mean(-1) * (0.9 * signal + 0.1).unsqueeze(-1)
    torch.testing.assert_close(terms["dynamics"], error[:, 1:].mean())


def test_clean_frames_are_no_targets(make_dynamics):
    objective, recorder = recorded(make_dynamics, ShortcutConfig(clean_share=0.5))
    given = batch(32)
    terms = objective.loss(given)
    call = recorder.calls[-1]
    assert given.latents is not None
    error = (call["noisy"] + call["signal"][..., None, None] - given.latents).square().mean((-1, -2))[:, 1:]
    torch.testing.assert_close(terms["dynamics"], error[call["signal"][:, 1:] < 1].mean())


def test_a_network_that_is_right_has_no_loss_at_its_target(make_dynamics):
    objective, recorder = recorded(make_dynamics, ShortcutConfig(self_share=1.0, self_after=0))
    given = batch(32)
    assert given.latents is not None
    clean = given.latents

    class Right(Recorder):
        def forward(self, noisy, signal, step, action, **options):
            return Prediction(clean, super().forward(noisy, signal, step, action, **options).heads, ())

    objective.dynamics = Right(recorder)  # ty: ignore[invalid-argument-type, invalid-assignment]
    assert objective.loss(given)["dynamics"] < 1e-10


def test_errors_are_weighted_by_what_they_do_to_the_picture(make_dynamics):
    loud = torch.diag(torch.tensor([4.0, 1.0, 0.5, 0.5, 0.0, 0.0]))
    config = ShortcutConfig(metric_share=0.5, clean_share=0.0)
    objective = ShortcutObjective(make_dynamics(), config, SPEC, metric=loud)
    recorder = Recorder(objective.dynamics)
    objective.dynamics = recorder  # ty: ignore[invalid-assignment]
    given = batch(32)
    terms = objective.loss(given)
    call = recorder.calls[-1]
    assert given.latents is not None
    error = (call["noisy"] + call["signal"][..., None, None] - given.latents).square() * (0.5 * loud.diagonal() + 0.5)
    torch.testing.assert_close(terms["dynamics"], error[:, 1:].mean())
    with pytest.raises(ValueError, match="give the metric as well"):
        ShortcutObjective(make_dynamics(), config, SPEC)


def test_moving_tokens_count_more(make_dynamics):
    objective = ShortcutObjective(make_dynamics(), ShortcutConfig(motion_weight=1.0), SPEC)
    clean = torch.zeros(1, 4, 4, 6)
    clean[:, 2:, 1] = 1.0  # token 1 changes once, between frames 1 and 2
    weight = objective._token_weight(clean)
    assert weight.mean().item() == pytest.approx(1)
    assert weight[0, 2, 1] == weight.max()
    assert (weight == weight.min()).sum() == 15
    assert (weight.max() / weight.min()).item() == pytest.approx(1 + 16)
    assert torch.equal(objective._token_weight(torch.ones(1, 4, 4, 6)), torch.ones(1, 4, 4))


def test_heads_learn_what_is_hidden_from_the_world(make_dynamics):
    """With zero answers, the inverse term is the mean square of the hidden actions and the reward term that of the known rewards."""
    config = ShortcutConfig(action_dropout=1.0, start_share=0.0, clean_share=1.0)
    objective, _ = recorded(make_dynamics, config)
    given = batch(16)
    assert given.actions is not None
    assert given.rewards is not None
    mask = torch.rand(16, 6) < 0.5
    masked = Batch(latents=given.latents, actions=given.actions, rewards=given.rewards, reward_mask=mask)
    terms = objective.loss(masked)
    torch.testing.assert_close(terms["inverse"], SPEC.normalize(given.actions)[:, :-1].square().mean())
    torch.testing.assert_close(terms["reward"], given.rewards[mask].square().mean())


def unrolled(make_dynamics, **changes) -> ShortcutObjective:
    torch.manual_seed(0)
    dynamics = make_dynamics()
    for layer in (dynamics.latent_out, *(block.down for block in dynamics.transformer.blocks)):
        torch.nn.init.normal_(layer.weight, std=0.05)  # a fresh network copies, whatever its past is
    return ShortcutObjective(dynamics, ShortcutConfig(unroll_share=1.0, **changes), SPEC)


def test_unrolled_windows_are_what_the_sampler_draws(make_dynamics, monkeypatch):
    objective = unrolled(make_dynamics)
    given = batch(2, 5)
    clean, action, _ = objective._inputs(given)
    assert action is not None
    noise = torch.randn(2, 5, 4, 6)
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(2))
    monkeypatch.setattr(torch, "randn_like", noise[:, 2:3].expand_as)
    total, count = objective._unrolled(given)
    config = SamplerConfig(num_steps=1)
    state, errors = absorb(objective.dynamics, config, None, clean[:, :2], action[:, :2]), []
    for frame in range(2, 5):
        state = advance(objective.dynamics, config, state, action[:, frame], noise[:, 2])
        errors.append((state.latent - clean[:, frame]).square().mean((1, 2)))
    torch.testing.assert_close(total, torch.stack(errors).sum())
    assert int(count) == 2 * 3


def test_gradients_of_unrolled_windows_go_back_as_far_as_asked(make_dynamics, monkeypatch):
    def gradient(frames: int) -> torch.Tensor:
        objective = unrolled(make_dynamics, unroll_gradient=frames)
        torch.manual_seed(1)
        monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(1))
        total, _ = objective._unrolled(batch(2, 6))
        return torch.autograd.grad(total, objective.dynamics.latent_out.weight)[0]

    far, near, enough = gradient(5), gradient(1), gradient(50)
    torch.testing.assert_close(far, enough)
    assert float((near - far).norm() / far.norm()) > 0.01


def test_windows_are_unrolled_after_a_while_and_the_rest_keeps_its_terms(make_dynamics, monkeypatch):
    objective = ShortcutObjective(make_dynamics(), ShortcutConfig(unroll_share=0.5, unroll_after=1, action_dropout=0.5), SPEC)
    rows = []
    original = objective._unrolled
    monkeypatch.setattr(objective, "_unrolled", lambda given: rows.append(len(given.latents)) or original(given))
    for _ in range(3):
        terms = objective.loss(batch(8))
    assert rows == [4, 4]
    assert set(terms) == {"dynamics", "inverse", "reward"}
    with pytest.raises(ValueError, match="unroll_share"):
        ShortcutConfig(unroll_share=1.5)
    with pytest.raises(ValueError, match="unroll_gradient"):
        ShortcutConfig(unroll_gradient=0)
