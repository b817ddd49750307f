"""Noise has the spectrum that was asked for, or that of the data."""

import pytest
import torch

from worldline.control import CEM, CEMConfig, FittedNoise, PowerLawNoise
from worldline.control.noise import CorrelatedNoise, SideBySide
from worldline.interfaces import ActionSpec
from worldline.testing import LinearQuadraticWorld

LIKE = torch.zeros(1, dtype=torch.float64)
SPEC = ActionSpec(low=(-2.0, 0.0), high=(2.0, 10.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_power_falls_with_frequency(exponent):
    """Drawn twice as long as asked for, the expected power at each frequency is known."""
    noise = PowerLawNoise(exponent).draw((4000, 16, 1), generator=generator(), like=LIKE)
    assert noise.shape == (4000, 16, 1)
    torch.testing.assert_close(noise.std(0).mean(), torch.ones((), dtype=torch.float64), rtol=0, atol=0.02)
    frequencies = torch.fft.rfftfreq(32, dtype=torch.float64)
    power = frequencies.clamp_min(1 / 32) ** -exponent
    power[1:-1] *= 2
    lags = torch.arange(4)
    expected = (power[:, None] * torch.cos(2 * torch.pi * frequencies[:, None] * lags)).sum(0) / power.sum()
    found = torch.stack([(noise[:, 0] * noise[:, lag]).mean() for lag in lags])
    torch.testing.assert_close(found, expected, rtol=0, atol=0.06)
    with pytest.raises(ValueError, match="exponent is -1"):
        PowerLawNoise(-1)


def test_fitted_noise_has_the_datas_correlations():
    """Recorded actions whose second component repeats the first, a frame later."""
    first = torch.randn(3000, 6, generator=generator(), dtype=torch.float64)
    actions = torch.stack([first, 5 + 2.5 * torch.cat([first[:, :1], first[:, :-1]], dim=1)], dim=-1)
    fitted = FittedNoise.fit(actions, SPEC, shrinkage=0.01)
    noise = fitted.draw((3000, 5, 2), generator=generator(1), like=LIKE)
    assert noise.shape == (3000, 5, 2)
    assert noise.square().mean().item() == pytest.approx(1, abs=0.05)
    echo = torch.corrcoef(torch.stack([noise[:, 2, 0], noise[:, 3, 1]]))[0, 1]
    stranger = torch.corrcoef(torch.stack([noise[:, 2, 0], noise[:, 2, 1]]))[0, 1]
    assert echo > 0.95
    assert abs(stranger) < 0.1


def test_planners_draw_the_noise_that_they_are_given():
    world = LinearQuadraticWorld(action_limit=2.0)
    constant = torch.randn(50, 1, 2, generator=generator(), dtype=torch.float64).expand(-1, 6, -1)
    assert world.action_spec is not None
    noise = FittedNoise.fit(constant, world.action_spec, shrinkage=1e-3)
    seen = []

    def objective(rollout):
        seen.append(rollout.actions)
        return world.objective()(rollout)

    state = world.state(torch.zeros(1, 4, dtype=torch.float64))
    CEM(world, objective, CEMConfig(horizon=6, num_iterations=1), noise=noise).plan(state, seed=0)
    changes = seen[0].diff(dim=1).std()
    assert changes < 0.1 * seen[0].std()


def test_unusable_data_says_what_is_needed():
    with pytest.raises(ValueError, match="at least two"):
        FittedNoise.fit(torch.zeros(1, 6, 2), SPEC)
    with pytest.raises(ValueError, match="never change"):
        FittedNoise.fit(torch.ones(9, 6, 2), SPEC)
    with pytest.raises(ValueError, match="shrinkage is 0"):
        FittedNoise.fit(torch.randn(9, 6, 2), SPEC, shrinkage=0)
    with pytest.raises(ValueError, match="fit longer"):
        FittedNoise(torch.eye(12), 2).draw((3, 7, 2), generator=generator(), like=LIKE)
    with pytest.raises(ValueError, match="positive definite"):
        FittedNoise(-torch.eye(4), 2)
    with pytest.raises(ValueError, match=r"give \(D \* A, D \* A\)"):
        FittedNoise(torch.eye(5), 2)


def test_actions_side_by_side_are_drawn_one_after_the_other():
    """Three actions of two components in each of the plan's: the last of one and the first of the next are neighbours."""
    drawn = SideBySide(CorrelatedNoise(0.8), 3).draw((20000, 4, 6), generator=generator(), like=LIKE)
    assert drawn.shape == (20000, 4, 6)
    steps = drawn.reshape(20000, 12, 2)
    assert torch.equal(steps, CorrelatedNoise(0.8).draw((20000, 12, 2), generator=generator(), like=LIKE))
    neighbours = (steps[:, 1:] * steps[:, :-1]).mean((0, 2))
    torch.testing.assert_close(neighbours, torch.full_like(neighbours, 0.8), rtol=0, atol=0.02)


@pytest.mark.parametrize(("count", "said"), [(0, "at least 1"), (4, "not 4 side by side")])
def test_actions_that_do_not_divide_are_refused(count, said):
    with pytest.raises(ValueError, match=said):
        SideBySide(CorrelatedNoise(0.8), count).draw((2, 4, 6), generator=generator(), like=LIKE)
