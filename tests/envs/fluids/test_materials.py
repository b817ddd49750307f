"""Liquid, jelly and snow: episodes repeat, one changed attribute changes what happens, and events are what the state says."""

import numpy as np
import pytest

pytest.importorskip("taichi", reason="needs worldline[sim-fluid]")
pytest.importorskip("cv2", reason="needs worldline[sim-fluid]")

from worldline.envs.fluids.materials import CONTACT_GAP, MATERIALS, SPILLED_SHARE, LiquidJellySnow
from worldline.envs.record import draw_attributes, record, replay

DAM = {"arrangement": "dam", "wall_material": "snow", "jelly_shape": "disc", "stiffness": 5000, "gravity": 1.0, "snow_hardness": 1.0}


@pytest.fixture(scope="module")
def tank() -> LiquidJellySnow:
    return LiquidJellySnow()


def start(tank: LiquidJellySnow, **changed: float | str) -> None:
    tank.reset(3, draw_attributes(tank, seed=3, split="train") | DAM | changed)


def value(tank: LiquidJellySnow, name: str) -> float:
    return float(tank.state()[tank.state_names.index(name)])


def test_an_episode_repeats_and_gravity_changes_it(tank: LiquidJellySnow) -> None:
    (first,) = record(tank, seed=1, policy="stir", num_frames=6, sizes=(32,))
    again = replay(tank, first)
    assert again.frames.equal(first.frames)
    assert again.states is not None
    assert first.states is not None
    assert again.states.equal(first.states)
    lighter = replay(tank, first, gravity=0.2)
    assert lighter.states is not None
    assert lighter.states[0].equal(first.states[0])
    assert not lighter.states.equal(first.states)
    recoloured = replay(tank, first, liquid_color="yellow")
    assert recoloured.states is not None
    assert recoloured.states.equal(first.states)
    assert not recoloured.frames.equal(first.frames)


def test_a_column_falls_spills_over_the_wall_and_events_say_so(tank: LiquidJellySnow) -> None:
    start(tank, gravity=1.3)
    assert not any(tank.events().values())
    height = value(tank, "liquid_y")
    still = tank.policy("still", np.random.default_rng(0))
    for _ in range(36):
        tank.step(still())
        events = tank.events()
        assert events["spill"] == (value(tank, "liquid_beyond_edge") >= SPILLED_SHARE)
        assert events["liquid_touches_snow"] == (value(tank, "liquid_snow_gap") <= CONTACT_GAP)
    assert value(tank, "liquid_y") < height - 0.05
    assert tank.events()["spill"]
    assert tank.events()["liquid_touches_snow"]
    assert any("spills over the wall" in caption for caption in tank.captions())


def test_a_tilted_tank_moves_everything_to_that_side(tank: LiquidJellySnow) -> None:
    places = []
    for tilt in (-1.0, 1.0):
        start(tank)
        for _ in range(8):
            tank.step(np.array([tilt, 0.5, 0.5, 0.0]))
        places.append([value(tank, f"{material}_velocity_x") for material in MATERIALS])
    assert all(left < right for left, right in zip(*places, strict=True))


def test_materials_have_the_colours_they_are_said_to_have(tank: LiquidJellySnow) -> None:
    start(tank, liquid_color="blue", jelly_color="red", background="black")
    picture = tank.render(64).astype(int)
    assert ((picture[..., 2] > 100) & (picture[..., 0] < 90)).mean() > 0.02
    assert ((picture[..., 0] > 130) & (picture[..., 2] < 90)).mean() > 0.005
    assert (picture.min(-1) > 200).mean() > 0.005


def test_captions_are_many_and_name_materials_and_colours(tank: LiquidJellySnow) -> None:
    start(tank, liquid_color="teal")
    captions = tank.captions()
    assert len(set(captions)) >= 10
    assert all("snow" in caption for caption in captions)
    assert sum("teal" in caption for caption in captions) >= 8
    with pytest.raises(ValueError, match="no policy 'dance'"):
        tank.policy("dance", np.random.default_rng(0))
