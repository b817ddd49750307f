"""Settings for a budget spend it, and not much more."""

import pytest
import torch

from worldline.control import (
    CEM,
    GRASP,
    ICEM,
    MPPI,
    CEMConfig,
    GradientConfig,
    GradientPlanner,
    GRASPConfig,
    ICEMConfig,
    MPPIConfig,
    RandomShooting,
    RandomShootingConfig,
    SoftTree,
    SoftTreeConfig,
)
from worldline.control.sizing import sized
from worldline.testing import LinearQuadraticWorld

PLANNERS = [
    (RandomShooting, RandomShootingConfig(horizon=6)),
    (CEM, CEMConfig(horizon=6)),
    (ICEM, ICEMConfig(horizon=6)),
    (MPPI, MPPIConfig(horizon=6)),
    (GradientPlanner, GradientConfig(horizon=6)),
    (GRASP, GRASPConfig(horizon=6)),
    (SoftTree, SoftTreeConfig(horizon=6, chunk=2)),
    (SoftTree, SoftTreeConfig(horizon=6, chunk=2, refine_steps=0)),
]


@pytest.mark.parametrize(("planner", "config"), PLANNERS)
@pytest.mark.parametrize("num_rollouts", [1, 7, 150])
def test_a_budget_is_spent(planner, config, num_rollouts):
    world = LinearQuadraticWorld()
    state = world.state(torch.tensor([[2.0, -1.0, 1.5, 2.5]], dtype=torch.float64))
    search = planner(world, world.objective(), sized(config, num_rollouts))
    plan = search.plan(state, seed=0, max_frame_evaluations=6 * num_rollouts)
    assert plan.status == "ok"
    assert plan.num_frame_evaluations <= 6 * num_rollouts
    if num_rollouts == 150:
        assert plan.num_frame_evaluations >= 0.6 * 6 * num_rollouts
        still = world.objective()(world.rollout(state, torch.zeros(1, 6, 2, dtype=torch.float64))).item()
        assert plan.score > still or planner is RandomShooting
    with pytest.raises(ValueError, match="at least one"):
        sized(config, 0)


def test_a_tree_with_gradients_passes_over_many_rows_and_shares_its_budget_out():
    """Few rows cost a network nearly as much as many; what is left over by sharing is spent on steps."""
    config = SoftTreeConfig(horizon=8)
    settings = sized(config, 512)
    assert settings.refine_leaves == 2 * config.refine_leaves
    assert sized(config, 90).refine_leaves == 2
    world = LinearQuadraticWorld()
    state = world.state(torch.tensor([[2.0, -1.0, 1.5, 2.5]], dtype=torch.float64))
    plan = SoftTree(world, world.objective(), settings).plan(state, seed=0, max_frame_evaluations=4096)
    assert 0.85 * 4096 <= plan.num_frame_evaluations <= 4096
