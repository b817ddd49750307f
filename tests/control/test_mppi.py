"""MPPI agrees with pytorch-mppi to the last digits, and comes near the optimum that the closed form knows."""

import pytest
import torch
from pytorch_mppi import MPPI as ReferenceMPPI

from worldline.control import MPPI, MPPIConfig
from worldline.control.candidates import Scorer
from worldline.testing import LinearQuadraticWorld, PointMassWorld

HORIZON = 6
LIMIT = 2.0


def reference(world: LinearQuadraticWorld, config: MPPIConfig) -> ReferenceMPPI:
    """pytorch-mppi with the dynamics, cost, bounds and settings of our own; without `control_cost`, as far as it lets one."""
    noise_std = config.noise_std * LIMIT

    def cost(state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return (state @ world.state_cost * state).sum(-1) + (action @ world.action_cost * action).sum(-1)

    def terminal_cost(states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return ((states[:, :, -1] @ (world.final_cost - world.state_cost)) * states[:, :, -1]).sum(-1)

    return ReferenceMPPI(
        lambda state, action: state @ world.dynamics.T + action @ world.control.T,
        cost,
        4,
        torch.eye(2, dtype=torch.float64) * noise_std**2,
        num_samples=config.num_candidates,
        horizon=config.horizon,
        terminal_state_cost=terminal_cost,
        lambda_=config.temperature,
        u_min=torch.full((2,), -LIMIT, dtype=torch.float64),
        u_max=torch.full((2,), LIMIT, dtype=torch.float64),
        U_init=torch.zeros(config.horizon, 2, dtype=torch.float64),
    )


@pytest.mark.parametrize("world", [LinearQuadraticWorld(action_limit=LIMIT), PointMassWorld(action_limit=LIMIT)])
@pytest.mark.parametrize("control_cost", [False, True])
def test_one_update_equals_pytorch_mppi_on_the_same_noise(world, control_cost):
    config = MPPIConfig(horizon=HORIZON, num_candidates=50, temperature=5.0, noise_std=0.5, control_cost=control_cost)
    start = torch.tensor([0.4, -0.2, 0.3, 0.5], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    nominal = torch.rand(HORIZON, 2, generator=generator, dtype=torch.float64) * 2 - 1
    other = reference(world, config)
    other.U = nominal * LIMIT
    if not control_cost:
        other._compute_action_cost = lambda noise: 0.0 * noise
    torch.manual_seed(5)
    other.command(start, shift_nominal_trajectory=False)
    torch.manual_seed(5)
    noise = other._sample_noise((50, HORIZON)) / LIMIT
    assert ((nominal + noise).abs() > 1).any(), "some samples must meet the bounds"

    scorer = Scorer(world=world, objective=world.objective(), state=world.state(start[None]), seed=0)
    updated = MPPI(world, world.objective(), config).update(scorer, nominal, noise)
    torch.testing.assert_close(updated * LIMIT, other.U, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(updated, nominal, atol=0.05)


def test_closed_loop_cost_is_that_of_pytorch_mppi():
    world = LinearQuadraticWorld(action_limit=LIMIT)
    config = MPPIConfig(horizon=HORIZON, num_candidates=300, num_iterations=1, temperature=0.5, noise_std=0.3, control_cost=True)
    other, planner = reference(world, config), MPPI(world, world.objective(), config)
    start = torch.tensor([[0.8, -0.5, 0.3, 0.6]], dtype=torch.float64)
    torch.manual_seed(0)

    def run(act) -> float:
        state, cost = world.state(start), 0.0
        for _ in range(15):
            rollout = world.rollout(state, act(state)[None, None])
            state, cost = rollout.state, cost - world.objective()(rollout).item()
        return cost

    plan = torch.zeros(HORIZON, 2, dtype=torch.float64)

    def act(state) -> torch.Tensor:
        nonlocal plan
        shifted = torch.cat([plan[1:], torch.zeros(1, 2, dtype=torch.float64)])
        plan = planner.plan(state, initial=shifted).actions
        return plan[0]

    ours = run(act)
    theirs = run(lambda state: other.command(state.latent.flatten()))
    idle = run(lambda state: torch.zeros(2, dtype=torch.float64))
    assert ours < 0.6 * idle
    assert ours == pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_comes_near_the_optimum(seed):
    world = LinearQuadraticWorld()
    start = torch.randn(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    config = MPPIConfig(horizon=8, temperature=0.3, noise_std=0.1, num_iterations=30)
    plan = MPPI(world, world.objective(), config).plan(world.state(start), seed=seed)
    assert -plan.score <= 1.05 * world.optimal_cost(start, 8).item()
    assert plan.trace[-1] > plan.trace[0]
    assert len(plan.trace) == 30


def test_correlated_noise_finds_a_far_goal_sooner():
    """White noise averages out over a long plan; pushing one way for a while does not."""
    world = PointMassWorld()
    state = world.state(torch.tensor([[-0.9, -0.9, 0.0, 0.0]], dtype=torch.float64))
    scores = [
        MPPI(world, world.objective(), MPPIConfig(horizon=12, num_iterations=1, num_candidates=128, correlation=correlation))
        .plan(state, seed=0)
        .score
        for correlation in (0.0, 0.8)
    ]
    assert scores[1] > scores[0]


def test_settings_are_checked():
    with pytest.raises(ValueError, match="temperature is 0"):
        MPPIConfig(temperature=0)
    with pytest.raises(ValueError, match="assumes white noise"):
        MPPIConfig(control_cost=True, correlation=0.5)
