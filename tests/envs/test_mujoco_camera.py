"""Cameras: several in one process do not disturb each other."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes

pytest.importorskip("mujoco", reason="needs the extra sim-mujoco")

from worldline.envs.blocks import Dominoes, Towers


def test_cameras_of_one_process_do_not_draw_into_each_other() -> None:
    simulators = Towers(), Dominoes(), Towers()
    for seed, simulator in enumerate(simulators):
        simulator.reset(seed, draw_attributes(simulator, seed=seed, split="train"))
    before = [simulator.render(32) for simulator in simulators]
    for simulator, picture in zip(simulators, before, strict=True):
        assert np.array_equal(simulator.render(32), picture)
    simulators[1].close()
    assert np.array_equal(simulators[0].render(32), before[0])
    simulators[2].reset(1, draw_attributes(simulators[2], seed=1, split="train"))
    assert np.array_equal(simulators[0].render(32), before[0])
