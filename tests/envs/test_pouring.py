"""Pouring: balls are counted where they are, and the events follow the counts."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes

pytest.importorskip("mujoco", reason="needs the extra sim-mujoco")

from worldline.envs.pouring import GOAL_X, Pouring

COUNTS = slice(2, 6)


@pytest.mark.parametrize("over_the_goal", [True, False])
def test_events_follow_the_counts(over_the_goal: bool) -> None:
    pouring = Pouring()
    pouring.reset(3, draw_attributes(pouring, seed=3, split="train") | {"num_balls": 24})
    total, in_cup, in_goal, on_floor = pouring.state()[COUNTS]
    assert (total, in_cup, in_goal, on_floor) == (24, 24, 0, 0)
    spilled = False
    for frame in range(44):
        pouring.step(np.array([0.25 if over_the_goal and frame < 8 else 0.0, 2.0 if frame >= 8 else 0.0]))
        _, cup, goal, floor = pouring.state()[COUNTS]
        events = pouring.events()
        assert cup + goal + floor <= total
        assert events["leaves_cup"] or cup >= in_cup
        assert events["lands_in_goal"] or goal <= in_goal
        # A ball that bounces and comes down again has been spilled once.
        assert floor > 0 or not events["spill"]
        spilled |= events["spill"]
        assert events["goal_full"] == (goal >= 0.8 * total)
        in_cup, in_goal, on_floor = cup, goal, floor
    assert in_cup < total
    assert (in_goal > on_floor) == over_the_goal
    assert spilled or over_the_goal


def test_what_lies_in_the_goal_is_near_it() -> None:
    pouring = Pouring()
    pouring.reset(3, draw_attributes(pouring, seed=3, split="train") | {"goal": "bowl"})
    for frame in range(44):
        pouring.step(np.array([0.25 if frame < 8 else 0.0, 2.0 if frame >= 8 else 0.0]))
    state = pouring.state()
    total, _, in_goal, _ = state[COUNTS].astype(int)
    balls = state[6 : 6 + 3 * total].reshape(total, 3)
    near = (np.hypot(balls[:, 0] - GOAL_X, balls[:, 1]) < 0.075) & (balls[:, 2] < 0.05)
    assert in_goal > 0
    assert near.sum() >= in_goal


def test_unusual_balls_lie_in_the_cup_as_well() -> None:
    pouring = Pouring()
    for seed in range(3):
        pouring.reset(seed, draw_attributes(pouring, seed=seed, split="ood"))
        total, in_cup, _, _ = pouring.state()[COUNTS]
        assert in_cup == total
        pouring.step(np.zeros(2))
        assert not pouring.events()["spill"]
