"""Random shooting draws uniformly and keeps the best."""

from dataclasses import replace

import pytest
import torch

from worldline.control import RandomShooting, RandomShootingConfig
from worldline.testing import LinearQuadraticWorld

WORLD = LinearQuadraticWorld(action_limit=2.0)
STATE = WORLD.state(torch.tensor([[1.0, -2.0, 0.5, 1.5]], dtype=torch.float64))


class Recorder:
    """The cost of a world, and the actions it was asked about."""

    def __init__(self):
        self.actions = []
        self.scores = []

    def __call__(self, rollout):
        self.actions.append(rollout.actions)
        self.scores.append(WORLD.objective()(rollout))
        return self.scores[-1]


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_draws_uniformly_and_returns_the_best(correlation):
    recorder = Recorder()
    config = RandomShootingConfig(horizon=6, num_candidates=3000, correlation=correlation)
    plan = RandomShooting(WORLD, recorder, config).plan(STATE, seed=0)
    actions, scores = torch.cat(recorder.actions), torch.cat(recorder.scores)
    quantiles = torch.quantile(actions[:, 3, 1], torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64))
    assert quantiles.tolist() == pytest.approx([-1.6, -1.0, 0.0, 1.0, 1.6], abs=0.15)
    neighbours = torch.corrcoef(actions[:, 2:4, 0].T)[0, 1].item()
    assert neighbours == pytest.approx(correlation, abs=0.05)
    assert plan.score == scores.max()
    assert torch.equal(plan.actions, actions[scores.argmax()])


def test_a_good_initial_plan_is_kept():
    start = STATE.latent / 2
    optimal = WORLD.optimal_actions(start.flatten(1), 6)[0]
    assert optimal.abs().max() < 2
    plan = RandomShooting(WORLD, WORLD.objective(), RandomShootingConfig(horizon=6)).plan(replace(STATE, latent=start), initial=optimal)
    torch.testing.assert_close(plan.actions, optimal)
