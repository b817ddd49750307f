"""Cloth: it hangs by its corner, covers the obstacle, and is pulled off."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes

pytest.importorskip("mujoco", reason="needs the extra sim-mujoco")

from worldline.envs.cloth import NUM_SIDE, NUM_VERTICES, SPACING_M, Cloth


def vertices(cloth: Cloth) -> np.ndarray:
    return cloth.state()[3 : 3 + 3 * NUM_VERTICES].reshape(NUM_VERTICES, 3)


def test_it_covers_the_obstacle_and_slides_off_when_pulled_away() -> None:
    cloth = Cloth()
    cloth.reset(0, draw_attributes(cloth, seed=0, split="train") | {"obstacle": "ball", "friction": 0.2})
    happened = []
    for frame in range(60):
        cloth.step(np.array([-0.5, -0.5, 0.1 if frame < 20 else -0.3]) if frame > 8 else np.zeros(3))
        happened.append({name for name, value in cloth.events().items() if value})
        top = 0.5 * 1.6 * float(cloth._attributes["obstacle_size_m"])
        near = np.linalg.norm(vertices(cloth)[:, :2], axis=1) < 0.8 * float(cloth._attributes["obstacle_size_m"])
        assert ("over_obstacle" in happened[-1]) == bool((near & (vertices(cloth)[:, 2] > top)).any())
    assert {"over_obstacle", "touches_obstacle"} <= set().union(*happened[:9])
    assert any("slides_off" in events for events in happened[9:])
    assert "over_obstacle" not in happened[-1]


def test_it_hangs_by_its_corner_and_hardly_stretches() -> None:
    cloth = Cloth()
    cloth.reset(1, draw_attributes(cloth, seed=1, split="train"))
    for _ in range(20):
        cloth.step(np.array([0.0, 0.0, 0.2]))
    grid = vertices(cloth).reshape(NUM_SIDE, NUM_SIDE, 3)
    assert np.linalg.norm(grid[0, 0] - cloth.state()[:3]) < 0.03
    for axis in (0, 1):
        lengths = np.linalg.norm(np.diff(grid, axis=axis), axis=-1)
        assert np.median(np.abs(lengths / SPACING_M - 1)) < 0.05
