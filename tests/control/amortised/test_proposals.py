"""A policy's future as a plan, and as the start of a search."""

import pytest
import torch

from worldline.control import CEM, CEMConfig
from worldline.control.amortised import PolicyPlanner, propose_plan
from worldline.interfaces import Planner, State
from worldline.testing import LinearQuadraticWorld

WORLD = LinearQuadraticWorld()
START = torch.tensor([[0.4, -0.2, 0.1, 0.3]], dtype=torch.float64)


class Optimal:
    """The closed form, one frame after the other."""

    def __init__(self) -> None:
        self.time = 0

    def __call__(self, state: State) -> torch.Tensor:
        actions = WORLD.optimal_actions(state.latent.flatten(1), horizon=6 - self.time)
        self.time += 1
        return actions[:, 0]


def test_the_optimal_policy_proposes_the_optimal_plan() -> None:
    plan = propose_plan(WORLD, WORLD.state(START), Optimal(), horizon=6, seed=0)
    assert torch.allclose(plan, WORLD.optimal_actions(START, horizon=6)[0], atol=1e-9)
    planner = PolicyPlanner(WORLD, Optimal, horizon=6, objective=WORLD.objective())
    assert isinstance(planner, Planner)
    assert planner.plan(WORLD.state(START), seed=0).score == pytest.approx(-WORLD.optimal_cost(START, horizon=6).item())
    blind = PolicyPlanner(WORLD, Optimal, horizon=6).plan(WORLD.state(START), seed=0)
    assert torch.equal(blind.actions, plan)


def test_a_search_starts_from_what_the_policy_proposes() -> None:
    config = CEMConfig(horizon=6, num_candidates=8, num_elites=2, num_iterations=1, initial_std=0.05)
    search = CEM(WORLD, WORLD.objective(), config)
    alone = search.plan(WORLD.state(START), seed=0).score
    helped = PolicyPlanner(WORLD, Optimal, horizon=6, search=search).plan(WORLD.state(START), seed=0).score
    best = -WORLD.optimal_cost(START, horizon=6).item()
    assert helped == pytest.approx(best)
    assert alone < 1.05 * best


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        propose_plan(WORLD, WORLD.state(START), Optimal(), horizon=0)
