"""stable-worldmodel's own solvers plan in our worlds, near the closed form."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from worldline.control.solver_costs import SolverCosts
from worldline.interfaces import Objective, Rollout, State
from worldline.testing import LinearQuadraticWorld

WORLD = LinearQuadraticWorld()
HORIZON = 5
STARTS = torch.tensor([[0.4, -0.2, 0.1, 0.3], [-0.3, 0.1, 0.2, -0.1]])


def problem(known: Mapping[str, Any]) -> tuple[State, Objective]:
    return WORLD.state(known["start"][None].double()), WORLD.objective()


def solver_of(module: str, name: str) -> Any:
    """A solver, past the front door of its package, which asks for video libraries."""
    pytest.importorskip("loguru", reason="stable-worldmodel's solvers need loguru")
    if "stable_worldmodel" not in sys.modules:
        root = importlib.util.find_spec("stable_worldmodel")
        if root is None or root.submodule_search_locations is None:
            pytest.skip("needs stable-worldmodel: pip install --no-deps stable-worldmodel==0.1.1")
        package = ModuleType("stable_worldmodel")
        package.__path__ = list(root.submodule_search_locations)
        sys.modules["stable_worldmodel"] = package
    if "stable_worldmodel.solver" not in sys.modules:
        package = ModuleType("stable_worldmodel.solver")
        package.__path__ = [str(Path(sys.modules["stable_worldmodel"].__path__[0], "solver"))]
        sys.modules["stable_worldmodel.solver"] = package
    return getattr(importlib.import_module(f"stable_worldmodel.solver.{module}"), name)


@pytest.mark.parametrize(
    ("module", "name", "settings"),
    [
        ("cem", "CEMSolver", {"num_samples": 200, "var_scale": 0.3, "n_steps": 15, "topk": 20}),
        ("icem", "ICEMSolver", {"num_samples": 200, "var_scale": 0.3, "n_steps": 15, "topk": 20}),
    ],
)
def test_its_solvers_come_near_the_closed_form(module: str, name: str, settings: dict[str, Any]) -> None:
    costs = SolverCosts(WORLD, problem)
    solver = solver_of(module, name)(costs, **settings)
    space = gymnasium.spaces.Box(-1.0, 1.0, (2, 2), np.float32)
    solver.configure(action_space=space, n_envs=2, config=SimpleNamespace(horizon=HORIZON, action_block=1, receding_horizon=1))
    plans = costs.actions(solver.solve({"start": STARTS})["actions"].double())
    for start, plan in zip(STARTS, plans, strict=True):
        paid = -WORLD.objective()(WORLD.rollout(WORLD.state(start[None].double()), plan[None], seed=0)).item()
        assert paid < 1.05 * WORLD.optimal_cost(start[None], HORIZON).item()


def test_costs_are_the_objective_s_and_have_its_gradient() -> None:
    costs, candidates = SolverCosts(WORLD, problem), torch.rand(2, 3, 4, 2).mul(2).sub(1).requires_grad_()
    infos = {"start": STARTS[:, None].expand(2, 3, 4), "name": "kept"}
    found = costs.get_cost(infos, candidates)
    actions = candidates[1].double() * 5
    expected = -WORLD.objective()(WORLD.rollout(WORLD.state(STARTS[1:].double()), actions, seed=0))
    assert torch.allclose(found[1].double(), expected, rtol=1e-5)
    assert torch.autograd.grad(found.sum(), candidates)[0].abs().min() > 0


def test_what_is_not_finite_costs_infinitely_much() -> None:
    def broken(rollout: Rollout) -> torch.Tensor:
        return torch.tensor([1.0, float("nan"), float("-inf")])

    costs = SolverCosts(WORLD, lambda known: (WORLD.state(known["start"][None].double()), broken))
    found = costs.get_cost({"start": STARTS[:1, None].expand(1, 3, 4)}, torch.zeros(1, 3, 2, 2))
    assert found.tolist() == [[-1.0, float("inf"), float("inf")]]


def test_a_world_without_actions_is_refused() -> None:
    blind = LinearQuadraticWorld()
    blind.action_spec = None
    with pytest.raises(ValueError, match="nothing to plan"):
        SolverCosts(blind, problem)
