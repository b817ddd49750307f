"""Fetch: a block of another mass is another block everywhere in the model, and the hand starts where it always does."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes

pytest.importorskip("gymnasium_robotics", reason="needs the extra sim-mujoco")
pytest.importorskip("mujoco", reason="needs the extra sim-mujoco")

from worldline.envs.fetch import FetchPush


def test_what_follows_from_a_mass_is_brought_up_to_date() -> None:
    fetch = FetchPush()
    attributes = draw_attributes(fetch, seed=0, split="train")
    states, masses, inertia = [], [], []
    for scale in (1.0, 5.0):
        fetch.reset(0, attributes | {"mass_scale": scale})
        model = fetch._env.model
        states.append(fetch.state())
        masses.append(float(model.body_subtreemass[model.body("object0").id]))
        inertia.append(float(model.dof_invweight0[model.joint("object0:joint").dofadr[0]]))
    assert masses[1] == pytest.approx(5 * masses[0])
    assert inertia[1] == pytest.approx(inertia[0] / 5)
    np.testing.assert_allclose(states[0], states[1], atol=2e-3)
