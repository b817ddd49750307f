"""Costs of actions are those of the formulas, in units of the bounds."""

import pytest
import torch

from worldline.interfaces import ActionSpec, Rollout, State
from worldline.reward import Effort, NearData, Smoothness

SPEC = ActionSpec(low=(0.0, -2.0), high=(10.0, 2.0))


def rollout(actions: torch.Tensor | None) -> Rollout:
    rows, frames = (1, 2) if actions is None else actions.shape[:2]
    return Rollout(latents=torch.zeros(1, rows, frames, 1, 1), actions=actions, state=State(latent=torch.zeros(rows, 1, 1), position=1))


def test_effort_and_smoothness_by_hand():
    actions = torch.tensor([[[5.0, 0.0], [10.0, 2.0]], [[0.0, -2.0], [0.0, -2.0]]])
    assert Effort(SPEC)(rollout(actions)).tolist() == [-0.5, -1]
    assert Smoothness(SPEC)(rollout(actions)).tolist() == [-1, 0]
    assert Smoothness(SPEC, previous=torch.tensor([5.0, 0.0]))(rollout(actions)).tolist() == [-0.5, -0.5]
    assert Smoothness(SPEC)(rollout(actions[:, :1])).tolist() == [0, 0]


def recorded(count: int = 4000) -> torch.Tensor:
    """Smooth actions, (count, 6, 2), of small deviation around the middle of the bounds."""
    steps = torch.randn(count, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return SPEC.denormalize(0.1 * steps.cumsum(1))


def test_distance_to_data_is_mahalanobis():
    data = recorded()
    objective = NearData.fit(data, SPEC, shrinkage=1e-4)
    plans = recorded(50)[:, :4]
    normalized = SPEC.normalize(data).flatten(1)[:, :8]
    offset = SPEC.normalize(plans).flatten(1) - normalized.mean(0)
    expected = -torch.einsum("bi,ij,bj->b", offset, torch.linalg.inv(torch.cov(normalized.T)), offset) / 8
    torch.testing.assert_close(objective(rollout(plans)), expected, rtol=2e-3, atol=1e-3)
    assert objective(rollout(data)).mean().item() == pytest.approx(-1, abs=0.01)
    white = SPEC.denormalize(0.25 * torch.randn(200, 6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    assert objective(rollout(white)).mean() < -5, "as large as the data, and nothing like it"
    plan = plans.clone().requires_grad_()
    assert torch.autograd.grad(objective(rollout(plan)).sum(), plan)[0].isfinite().all()


def test_unusable_input_says_what_is_needed():
    for objective in (Effort(SPEC), Smoothness(SPEC), NearData.fit(recorded(50), SPEC)):
        with pytest.raises(ValueError, match="no actions"):
            objective(rollout(None))
    with pytest.raises(ValueError, match="fit longer"):
        NearData.fit(recorded(50), SPEC)(rollout(torch.zeros(1, 7, 2)))
    with pytest.raises(ValueError, match="at least two"):
        NearData.fit(torch.zeros(1, 3, 2), SPEC)
    with pytest.raises(ValueError, match="never change"):
        NearData.fit(torch.zeros(5, 3, 2), SPEC)
    with pytest.raises(ValueError, match="positive definite"):
        NearData(torch.zeros(2, 2), -torch.eye(4), SPEC)
    with pytest.raises(ValueError, match="shrinkage is 2"):
        NearData.fit(recorded(50), SPEC, shrinkage=2)
