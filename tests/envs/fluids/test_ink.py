"""Ink: episodes repeat, heavy ink sinks faster, and events are what the state says."""

import numpy as np
import pytest

pytest.importorskip("taichi", reason="needs worldline[sim-fluid]")
pytest.importorskip("cv2", reason="needs worldline[sim-fluid]")

from worldline.envs.fluids.ink import ARRIVED_SHARE, MIXED_SHARE, Ink
from worldline.envs.record import record, replay


@pytest.fixture(scope="module")
def tank() -> Ink:
    return Ink()


def value(tank: Ink, name: str) -> float:
    return float(tank.state()[tank.state_names.index(name)])


def attributes(**changed: float | str) -> dict[str, float | str]:
    usual: dict[str, float | str] = {"num_drops": 2, "ink_weight": 0.1, "jet_strength": 0.5, "comes_to_rest": "slowly"}
    return usual | {"first_color": "blue", "second_color": "orange", "water_color": "white"} | changed


def test_an_episode_repeats_and_weight_changes_it(tank: Ink) -> None:
    (first,) = record(tank, seed=2, policy="swirl", num_frames=8, sizes=(32,))
    again = replay(tank, first)
    assert again.frames.equal(first.frames)
    assert again.states is not None
    assert first.states is not None
    assert again.states.equal(first.states)
    heavier = replay(tank, first, ink_weight=0.7)
    assert heavier.states is not None
    assert not heavier.states.equal(first.states)


def test_heavy_ink_reaches_the_floor_and_light_ink_does_not(tank: Ink) -> None:
    arrived = {}
    for weight in (0.03, 0.7):
        tank.reset(5, attributes(ink_weight=weight))
        assert not any(tank.events().values())
        for _ in range(30):
            tank.step(np.array([0.5, 0.9, 0.0, 0.0, 0.0]))
            assert tank.events()["ink_on_floor"] == (value(tank, "share_on_floor") >= ARRIVED_SHARE)
            assert tank.events()["inks_mix"] == (value(tank, "share_mixed") >= MIXED_SHARE)
            assert not tank.events()["jet"]
        arrived[weight] = tank.events()["ink_on_floor"]
    assert arrived == {0.03: False, 0.7: True}


def test_the_nozzle_adds_the_ink_that_is_asked_for_where_it_is(tank: Ink) -> None:
    tank.reset(1, attributes(num_drops=0))
    assert value(tank, "first_amount") == 0
    for _ in range(4):
        tank.step(np.array([0.25, 0.7, 0.3, 0.0, 1.0]))
    assert tank.events()["jet"]
    assert value(tank, "first_amount") == 0
    assert value(tank, "second_amount") > 0
    assert value(tank, "second_x") == pytest.approx(0.25, abs=0.06)
    assert value(tank, "second_y") == pytest.approx(0.7, abs=0.06)
    captions = tank.captions()
    assert len(set(captions)) >= 10
    assert any("orange" in caption for caption in captions)
    assert not any("blue" in caption for caption in captions)
