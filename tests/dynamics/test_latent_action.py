"""Latent actions find what was done where nothing says so, and are held narrow."""

import pytest
import torch

from worldline.dynamics import Dynamics, DynamicsConfig, ShortcutConfig, ShortcutObjective
from worldline.dynamics.latent_action import ActionController, LatentActionConfig, LatentActionObjective, LatentActions, divergence
from worldline.interfaces import ActionSpec, Batch

CONFIG = LatentActionConfig(num_tokens=2, latent_dim=3, dim=2, width=32)


def objective(config: LatentActionConfig = CONFIG) -> LatentActionObjective:
    shape = DynamicsConfig(num_tokens=2, latent_dim=3, action_dim=config.dim, width=32, num_layers=2, head_dim=16, context_frames=6)
    shortcut = ShortcutConfig(self_share=0.0, action_dropout=0.0, start_share=1.0, poor_context_share=0.0, context_signal=0.95)
    return LatentActionObjective(LatentActions(config), ShortcutObjective(Dynamics(shape), shortcut, config.spec))


def moves(generator: torch.Generator, count: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (B, 5, 2, 3) that a hidden step of two numbers moves, and these steps (B, 4, 2)."""
    mixing = torch.tensor([[1.0, 1.0, -1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, -1.0, 1.0]])
    steps = torch.randn(count, 4, 2, generator=generator)
    start = torch.randn(count, 1, 6, generator=generator)
    places = torch.cat([start, start + (steps @ mixing).cumsum(1)], dim=1)
    return places.unflatten(-1, (2, 3)), steps


def explained(features: torch.Tensor, targets: torch.Tensor) -> float:
    """Share of the variance of targets (N, K) that a linear map of features (N, F) explains."""
    features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    rest = targets - features @ torch.linalg.lstsq(features, targets).solution
    return float(1 - rest.square().sum() / (targets - targets.mean(0)).square().sum())


def test_it_reads_off_what_was_done_though_nobody_told() -> None:
    model = objective()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        latents, _ = moves(generator)
        optimizer.zero_grad()
        model.loss(Batch(latents=latents))["dynamics"].backward()
        optimizer.step()
    latents, steps = moves(torch.Generator().manual_seed(2), 200)
    with torch.no_grad():
        read = model.actions.read(latents).flatten(0, 1)
        spread = divergence(*model.actions(latents))
    assert explained(read, steps.flatten(0, 1)) > 0.8
    assert 0.5 < spread.mean() < 20
    assert explained(torch.randn_like(read), steps.flatten(0, 1)) < 0.05, "the measure itself says nothing of noise"


def test_labels_are_not_looked_at() -> None:
    model = objective()
    latents, steps = moves(torch.Generator().manual_seed(3))
    labels = torch.nn.functional.pad(steps, (0, 0, 0, 1))
    losses = []
    for batch in (Batch(latents=latents), Batch(latents=latents, actions=labels, action_mask=torch.ones(32, 5, dtype=torch.bool))):
        torch.manual_seed(5)
        losses.append(model.loss(batch)["dynamics"])
    assert torch.equal(losses[0], losses[1])


def test_the_loss_reaches_the_inverse_model_through_the_dynamics() -> None:
    model = objective(LatentActionConfig(num_tokens=2, latent_dim=3, dim=2, width=32, kl_weight=0.0))
    with torch.no_grad():  # a fresh network copies its last frame and hears of no action
        for parameter in model.shortcut.dynamics.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    latents, _ = moves(torch.Generator().manual_seed(3))
    model.loss(Batch(latents=latents))["dynamics"].backward()
    gradient = model.actions.pair_in.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_divergence_is_that_of_the_distributions() -> None:
    mean, log_variance = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean)))
    torch.testing.assert_close(divergence(mean, log_variance), expected.sum(-1))


def test_a_controller_takes_a_frame_and_an_action() -> None:
    assert ActionController(CONFIG, 4)(torch.randn(7, 2, 3), torch.randn(7, 4)).shape == (7, 2)


def test_what_does_not_fit_is_refused() -> None:
    model = objective()
    with pytest.raises(ValueError, match="encode the frames first"):
        model.loss(Batch(frames=torch.rand(1, 2, 3, 4, 4)))
    other = ShortcutObjective(model.shortcut.dynamics, ShortcutConfig(), ActionSpec(low=(0.0,), high=(1.0,)))
    with pytest.raises(ValueError, match="the latent ones are"):
        LatentActionObjective(model.actions, other)
    with pytest.raises(ValueError, match="at least 1"):
        LatentActionConfig(num_tokens=2, latent_dim=3, dim=0)
