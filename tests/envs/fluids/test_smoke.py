"""Smoke: episodes repeat, smoke comes from the vent and rises, and events are what the state says. Few frames: phiflow is slow."""

import numpy as np
import pytest

pytest.importorskip("phi", reason="needs worldline[sim-fluid]")
pytest.importorskip("cv2", reason="needs worldline[sim-fluid]")

from worldline.envs.fluids.smoke import VENT_HEIGHT, Smoke
from worldline.envs.record import record, replay


@pytest.fixture(scope="module")
def box() -> Smoke:
    return Smoke()


def value(box: Smoke, name: str) -> float:
    return float(box.state()[box.state_names.index(name)])


def test_an_episode_repeats_and_buoyancy_changes_it(box: Smoke) -> None:
    (first,) = record(box, seed=2, policy="plume", num_frames=3, sizes=(32,))
    again = replay(box, first)
    assert again.frames.equal(first.frames)
    assert again.states is not None
    assert first.states is not None
    assert again.states.equal(first.states)
    hotter = replay(box, first, buoyancy=3.0)
    assert hotter.states is not None
    assert not hotter.states.equal(first.states)


def test_smoke_comes_from_the_vent_and_rises(box: Smoke) -> None:
    box.reset(1, {"buoyancy": 1.2, "viscosity": 0.0005, "wind": 0.0, "smoke_color": "orange", "background": "navy"})
    assert not any(box.events().values())
    box.step(np.array([0.3, 0.0]))
    assert value(box, "amount") == 0
    assert not box.events()["vent_open"]
    for _ in range(5):
        box.step(np.array([0.3, 1.0]))
    assert box.events()["vent_open"]
    assert not box.events()["smoke_at_top"]
    assert value(box, "amount") > 0
    assert value(box, "x") == pytest.approx(0.3, abs=0.1)
    assert value(box, "y") > VENT_HEIGHT
    assert value(box, "energy") > 0
    captions = box.captions()
    assert len(set(captions)) >= 10
    assert all("orange smoke" in caption.lower() for caption in captions)
