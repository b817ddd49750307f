"""What counts as solved, in numbers."""

import numpy as np
import pytest
import torch

from worldline.eval.suites.control.tasks import TASKS, StateGoal
from worldline.interfaces import Rollout, State


def solved(name: str, state: list[float], goal: list[float]) -> bool:
    return TASKS[name].solved(np.array(state), np.zeros(len(goal)), np.array(goal))


def test_a_push_is_solved_by_place_and_angle() -> None:
    goal = [100.0, 200.0, 300.0, 250.0, 0.1, *[0.0] * 6]

    def moved(**changes: float) -> list[float]:
        names = ("agent_x", "agent_y", "block_x", "block_y", "angle")
        return [value + changes.get(name, 0.0) for name, value in zip((*names, *"abcdef"), goal, strict=True)]

    for name in ("push", "pusht"):
        assert solved(name, moved(agent_x=19.9), goal)
        assert not solved(name, moved(agent_x=15.0, block_y=15.0), goal)  # 21.2 together
        assert solved(name, moved(agent_x=14.0, block_y=14.0), goal)
        assert solved(name, moved(angle=np.deg2rad(19.0) - 2 * np.pi), goal)
        assert not solved(name, moved(angle=np.deg2rad(-21.0)), goal)


def test_the_others_are_solved_within_their_distance() -> None:
    assert solved("two_room", [10.0, 15.9, 7.0, 7.0], [10.0, 0.0, 0.0, 0.0])
    assert not solved("two_room", [10.0, 16.1, 0.0, 0.0], [10.0, 0.0, 0.0, 0.0])
    assert solved("reacher", [np.pi - 0.02, 1.0], [-np.pi + 0.02, 1.04])
    assert not solved("reacher", [0.0, 1.0], [0.0, 1.06])
    assert solved("ball_in_cup", [0, 0, 0.04, 0.0], [0, 0.04, 0, 0.0])
    assert not solved("ball_in_cup", [0, 0, 0.0, 0.0], [0, 0.0, 0.06, 0.0])
    assert solved("cube", [*[9.0] * 5, 0.0, 0.0, 0.039], [0.0] * 8)
    assert not solved("fetch_push", [*[0.0] * 3, 0.04, 0.04, 0.0], [0.0] * 6)


def test_a_painting_is_solved_when_half_of_the_difference_is_gone() -> None:
    start, goal = np.zeros(4), np.array([1.0, 1.0, 0.0, 0.0])
    task = TASKS["painting"]
    assert not task.solved(start, start, goal)
    assert not task.solved(np.array([0.4, 0.4, 0.0, 0.0]), start, goal)
    assert task.solved(np.array([0.6, 0.6, 0.0, 0.0]), start, goal)
    assert not task.solved(np.array([1.0, 1.0, 1.0, 0.0]), start, goal)


def test_the_objective_is_the_distance_of_the_nearest_frame_and_has_a_gradient() -> None:
    states = torch.tensor([[1.0, 2.0], [3.0, 0.0]], dtype=torch.float64).requires_grad_()
    latents = states.view(1, 1, 2, 1, 2)
    rollout = Rollout(latents=latents, actions=None, state=State(latent=latents[0, :, -1], position=2))
    objective = StateGoal(task=TASKS["reacher"], start=torch.zeros(2), goal=torch.tensor([1.0, 1.0]))
    score = objective(rollout)
    nearest, other = 0 + 1, 4 + 1
    assert score.detach() == pytest.approx(-(0.9 * nearest + 0.1 * (nearest + other) / 2) / 0.05**2)
    (slope,) = torch.autograd.grad(score.sum(), states)
    assert slope[0, 0] == 0
    assert slope[1, 0] < 0 < slope[1, 1]
