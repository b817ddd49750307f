"""Planners keep to their budgets."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worldline.control.amortised import PolicyPlanner
from worldline.envs.simulator_world import SimulatorWorld
from worldline.eval.suites.control.planners import (
    PLANNERS,
    make_planner,
    passes_per_frame,
    settings_of,
    split_into_iterations,
    what_it_is,
    why_not,
)
from worldline.eval.suites.control.tasks import Task
from worldline.testing import PointMassWorld


@pytest.mark.parametrize("name", list(PLANNERS))
@pytest.mark.parametrize("budget", [60, 1000, 4000])
def test_no_more_frames_are_imagined_than_the_budget_allows(name: str, budget: int) -> None:
    frames = 0

    class Counting(PointMassWorld):
        def rollout(self, state: Any, actions: Any, **options: Any) -> Any:
            nonlocal frames
            frames += actions.shape[0] * actions.shape[1]
            return super().rollout(state, actions, **options)

    world = Counting()
    planner = make_planner(name, world, world.objective(), horizon=5, frame_evaluations=budget, batch_size=64)
    plan = planner.plan(world.state(torch.tensor([[0.3, 0.2, 0.0, 0.0]])), seed=0)
    assert 0.5 * budget <= plan.num_frame_evaluations <= budget
    # Frames that a gradient went back through count three times.
    assert frames <= plan.num_frame_evaluations <= 3 * frames


def test_grasp_is_refused_where_it_cannot_run(slide: Task) -> None:
    simulator = SimulatorWorld(slide.make())
    assert why_not("grasp", PointMassWorld()) is None
    assert why_not("cem", simulator) is None
    reason = why_not("grasp", simulator)
    assert reason is not None
    with pytest.raises(ValueError, match="a simulator has neither"):
        make_planner("grasp", simulator, PointMassWorld().objective(), horizon=5, frame_evaluations=100, batch_size=1)
    without: Any = SimpleNamespace(action_spec=None)
    assert "has no restart" in str(why_not("grasp", without))


def test_adam_in_a_simulator_takes_the_steps_that_it_can_pay_for(slide: Task) -> None:
    world = SimulatorWorld(slide.make())
    state = world.start(0, {"color": "red"})
    planner = make_planner("adam", world, PointMassWorld().objective(), horizon=5, frame_evaluations=1000, batch_size=64)
    plan = planner.plan(state, seed=0)
    # 200 rollouts pay for 9 steps of 2 x 5 x 2 + 1, and at last for the plan itself.
    assert len(plan.trace) == 9 + 1
    assert plan.num_frame_evaluations == 5 * (9 * 21 + 1)
    assert plan.trace[-1] > plan.trace[0]
    assert "central differences" in what_it_is("adam", world)
    assert what_it_is("adam", PointMassWorld()) == what_it_is("cem", world) == ""


def test_passes_are_what_a_world_says() -> None:
    assert passes_per_frame(PointMassWorld()) == 1
    learned: Any = SimpleNamespace(sampler=SimpleNamespace(num_steps=4))
    assert passes_per_frame(learned) == 4
    spoken: Any = SimpleNamespace(sampler=SimpleNamespace(num_steps=4), evaluations_per_frame=2)
    assert passes_per_frame(spoken) == 2


def test_a_budget_is_split_into_iterations_that_pay_for_it() -> None:
    for count in (1, 2, 7, 50, 200, 3200, 12800):
        split = split_into_iterations(count)
        assert 0.8 * count <= split.num_candidates * split.num_iterations <= count
        assert split.num_candidates >= split.num_iterations
    with pytest.raises(ValueError, match="at least one"):
        split_into_iterations(0)


@pytest.mark.parametrize("name", ["random", "cem", "icem", "mppi", "soft_tree"])
def test_proposals_know_which_actions_follow_one_another(name: str) -> None:
    """Actions that lie side by side are as correlated as the last of one frame and the first of the next."""
    world = PointMassWorld()
    sizes: dict[str, Any] = {"horizon": 5, "frame_evaluations": 100, "batch_size": 64, "actions_per_frame": 2}
    planner: Any = make_planner(name, world, world.objective(), **sizes)
    drawn = planner.noise.draw((20000, 5, 2), generator=torch.Generator().manual_seed(0), like=torch.zeros(1, dtype=torch.float64))
    within = torch.corrcoef(torch.stack([drawn[:, 1, 0], drawn[:, 1, 1]]))[0, 1].item()
    between = torch.corrcoef(torch.stack([drawn[:, 1, 1], drawn[:, 2, 0]]))[0, 1].item()
    assert within > 0.5
    assert between == pytest.approx(within, abs=0.03)


def test_an_unknown_planner_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of random, cem"):
        make_planner("wish", PointMassWorld(), PointMassWorld().objective(), horizon=5, frame_evaluations=9, batch_size=1)


def test_settings_tell_planners_apart_by_all_that_their_plans_depend_on() -> None:
    world = PointMassWorld()

    def settings(name: str, *, budget: int = 1000, side_by_side: int = 1) -> str:
        planner = make_planner(
            name, world, world.objective(), horizon=4, frame_evaluations=budget, batch_size=8, actions_per_frame=side_by_side
        )
        return settings_of(planner)

    assert settings("mppi") == settings("mppi")
    variants = [settings(name) for name in PLANNERS] + [settings("mppi", budget=500), settings("mppi", side_by_side=2)]
    assert len(set(variants)) == len(variants)
    inside = make_planner("cem", world, world.objective(), horizon=4, frame_evaluations=1000, batch_size=8)
    around = [PolicyPlanner(world, lambda: lambda state: state.latent, horizon=4, search=search) for search in (None, inside)]
    assert len({settings_of(planner) for planner in around}) == 2
