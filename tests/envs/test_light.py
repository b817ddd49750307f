"""Light: rays end where optics says, and the events say what the state says."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes

pytest.importorskip("mitsuba", reason="needs the extra sim-light")

from worldline.envs.light import Magnifier, Mirror
from worldline.envs.light.magnifier import LENS_RADIUS


def test_a_mirror_sends_the_beam_where_the_law_of_reflection_says() -> None:
    mirror = Mirror()
    mirror.reset(0, draw_attributes(mirror, seed=0, split="train"))
    point = np.array([0.1, -0.2, 0.0])
    for _ in range(40):
        mirror.step(np.clip((mirror.angles_towards(point) - mirror.state()[:2]) * mirror.rate_hz, -0.4, 0.4))
    assert np.allclose(mirror.state()[4:7], point, atol=0.01)
    assert mirror.events()["spot_on_floor"]
    assert not mirror.events()["beam_misses_mirror"]


def test_the_spot_is_on_the_target_when_it_is_near() -> None:
    mirror = Mirror()
    mirror.reset(1, draw_attributes(mirror, seed=1, split="train") | {"target_radius_m": 0.1})
    act = mirror.policy("aim", np.random.default_rng(0))
    hits = []
    for _ in range(60):
        mirror.step(act())
        state = mirror.state()
        hits.append(mirror.events()["spot_on_target"])
        assert hits[-1] == (np.hypot(*(state[4:6] - state[2:4])) < 0.1)
    assert hits[-1]
    assert any("target" in caption and ("ends on" in caption or "finds" in caption) for caption in mirror.captions())


def test_a_lens_gathers_light_at_its_focal_length() -> None:
    lens = Magnifier()
    facts = {"lens_curvature_m": 0.5, "refractive_index": 1.5, "sun_angle_degrees": 5.0}
    lens.reset(2, draw_attributes(lens, seed=2, split="train") | facts)
    radii = {}
    for height in (0.15, 0.3, 0.45):
        lens._lens = np.array([0.0, 0.0, height])
        lens._look()
        radii[height] = lens.state()[lens.state_names.index("spot_radius")]
    # The lens maker's formula gives a focal length of 0.5 m for a thin lens; a thick one, at its rim, is shorter.
    assert radii[0.45] < radii[0.3] < radii[0.15] < LENS_RADIUS
    assert radii[0.45] < 0.3 * LENS_RADIUS


def test_more_refractive_glass_has_its_focus_nearer() -> None:
    lens = Magnifier()
    attributes = draw_attributes(lens, seed=3, split="train") | {"lens_curvature_m": 0.5, "sun_angle_degrees": 5.0}
    radii = []
    for index in (1.45, 1.65):
        lens.reset(3, attributes | {"refractive_index": index})
        lens._lens = np.array([0.0, 0.0, 0.3])
        lens._look()
        radii.append(lens.state()[lens.state_names.index("spot_radius")])
    assert radii[1] < radii[0]


def test_the_caustic_is_bright_where_the_rays_land() -> None:
    lens = Magnifier()
    facts = {"lens_curvature_m": 0.5, "refractive_index": 1.5, "sun_angle_degrees": 25.0, "camera_azimuth_degrees": 0.0}
    lens.reset(4, draw_attributes(lens, seed=4, split="train") | facts)
    lens._lens = np.array([-0.2, 0.1, 0.4])
    lens._look()
    assert lens.state()[-1] > 0.8
    beam = np.array(
        lens._mitsuba.render(
            lens._scene("beam"),
            sensor=lens._sensor(32),
            integrator=lens._mitsuba.load_dict({"type": "ptracer", "max_depth": 6}),
            spp=8,
            seed=1,
        )
    ).sum(axis=-1)
    row, column = np.unravel_index(int(beam.argmax()), beam.shape)
    # The camera looks along +y from above the middle of the table, so columns run with x and rows against y.
    (x, y, z), target, field = lens.view
    spot = np.array([*lens.state()[5:7], 0.0])
    forward = (np.array(target) - (x, y, z)) / np.linalg.norm(np.array(target) - (x, y, z))
    right = np.cross(forward, (0, 0, 1)) / np.linalg.norm(np.cross(forward, (0, 0, 1)))
    ray = spot - (x, y, z)
    scale = 16 / np.tan(np.deg2rad(field / 2)) / (ray @ forward)
    seen = np.array([16 - scale * (ray @ np.cross(right, forward)), 16 + scale * (ray @ right)])
    assert np.abs(seen - (row + 0.5, column + 0.5)).max() < 2.5
