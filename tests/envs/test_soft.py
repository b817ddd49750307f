"""Soft: it falls, gives way under the plate, and the softer it is the more."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes

pytest.importorskip("mujoco", reason="needs the extra sim-mujoco")

from worldline.envs.soft import NUM_VERTICES, SQUASHED_SHARE, Soft


def height(soft: Soft) -> float:
    return float(np.ptp(soft.state()[3 : 3 + 3 * NUM_VERTICES].reshape(NUM_VERTICES, 3)[:, 2]))


def test_a_softer_body_is_pressed_flatter() -> None:
    lowest = []
    for stiffness in (1.5e3, 4e4):
        soft = Soft()
        soft.reset(0, draw_attributes(soft, seed=0, split="train") | {"shape": "box", "ledge": "none", "stiffness_pa": stiffness})
        at_rest = height(soft)
        act = soft.policy("press", np.random.default_rng(4))
        heights = []
        for _ in range(40):
            soft.step(act())
            heights.append(height(soft))
            assert soft.events()["squashed"] == (heights[-1] < SQUASHED_SHARE * at_rest)
        assert soft.events()["touches_floor"]
        assert soft.events()["plate_contact"]
        lowest.append(min(heights) / at_rest)
    assert lowest[0] < lowest[1] - 0.05


def test_a_ledge_is_touched_only_where_there_is_one() -> None:
    for ledge in ("none", "high"):
        soft = Soft()
        soft.reset(0, draw_attributes(soft, seed=0, split="train") | {"ledge": ledge, "shape": "box"})
        for _ in range(14):
            soft.step(np.zeros(3))
        assert soft.events()["touches_ledge"] == (ledge != "none")
        assert soft.events()["touches_floor"] == (ledge == "none")
