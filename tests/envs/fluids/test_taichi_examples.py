"""Shipped examples as modules: their kernels run, with other constants, and nothing else of them does."""

import numpy as np
import pytest

pytest.importorskip("taichi", reason="needs worldline[sim-fluid]")

from worldline.envs.fluids.taichi_examples import load_example

SMALL = {"n_particles": 90, "n_grid": 32, "dt": 4e-4, "E": 1000.0}


def test_a_particle_in_free_fall_follows_the_parabola() -> None:
    solver = load_example("simulation.mpm128", SMALL, main_loop="print(")
    assert solver.n_grid == 32
    assert solver.dx == 1 / 32
    solver.reset()
    solver.x.from_numpy(np.full((90, 2), (0.5, 0.8), np.float32))
    solver.gravity[None] = [0, -1]
    for _ in range(100):
        solver.substep()
    np.testing.assert_allclose(solver.x.to_numpy()[:, 1], 0.8 - 0.5 * 30 * 0.04**2, atol=1e-3)


def test_two_copies_do_not_share_fields() -> None:
    one, other = (load_example("simulation.mpm128", SMALL | {"E": stiffness}, main_loop="print(") for stiffness in (1000.0, 2000.0))
    one.x.fill(0.25)
    other.x.fill(0.75)
    assert one.x.to_numpy().max() == pytest.approx(0.25)
    assert other.mu_0 == 2 * one.mu_0


def test_what_a_version_does_not_have_is_named() -> None:
    with pytest.raises(ImportError, match=r"no example simulation\.no_such_thing"):
        load_example("simulation.no_such_thing", {}, main_loop="print(")
    with pytest.raises(ImportError, match="does not set"):
        load_example("simulation.mpm128", {"no_such_constant": 1}, main_loop="print(")
    with pytest.raises(ImportError, match="no statement"):
        load_example("simulation.mpm128", {}, main_loop="no such statement")
