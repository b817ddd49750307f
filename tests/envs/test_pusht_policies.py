"""The scripted pushers' geometry and mechanics, against the simulator."""

import cmath
import math

import numpy as np
import pytest
from shapely.geometry import LineString, Point, Polygon

from worldline.envs.pusht import make_pusht
from worldline.envs.pusht.policies import (
    AGENT_RADIUS,
    CENTER_OF_MASS,
    CONTACTS,
    CORNERS,
    GOAL,
    GYRATION_SQUARED,
    STAND_OFF,
    ColoredNoise,
    Pose,
    distance_to_block,
    goal_error,
    push_toward_goal,
    way_around,
)

BLOCK = Polygon([(corner.real, corner.imag) for corner in CORNERS])


def to_complex(x: float, y: float) -> complex:
    return complex(x, y)


def test_block_is_the_simulators() -> None:
    env = make_pusht(16)
    env.reset(seed=0)
    block = env._simulator.block
    assert to_complex(*block.center_of_gravity) == CENTER_OF_MASS
    assert block.moment / block.mass == GYRATION_SQUARED
    corners = {to_complex(*vertex) for shape in block.shapes for vertex in shape.get_vertices()}
    assert set(CORNERS) - {15 + 30j, -15 + 30j} <= corners


def test_distance_to_block_is_shapelys() -> None:
    points = np.random.default_rng(0).uniform(-150, 200, (300, 2))
    expected = [BLOCK.distance(Point(point)) for point in points]
    np.testing.assert_allclose(distance_to_block(points @ [1, 1j]), expected, atol=1e-9)


def test_contacts_lie_on_the_outline_and_face_inward() -> None:
    for contact, normal in CONTACTS:
        assert BLOCK.exterior.distance(Point(contact.real, contact.imag)) < 1e-9
        inward = contact + normal
        assert BLOCK.contains(Point(inward.real, inward.imag))


@pytest.mark.parametrize("index", range(0, len(CONTACTS), 3))
def test_a_short_push_moves_the_block_as_the_model_says(index: int) -> None:
    contact, normal = CONTACTS[index]
    pose = Pose(origin=250 + 230j, angle=0.7)
    start = pose.to_table(contact - normal * (AGENT_RADIUS + 0.5))
    env = make_pusht(16)
    env.reset(options={"state": [start.real, start.imag, pose.origin.real, pose.origin.imag, pose.angle]})
    target = start + 6 * normal * pose.rotation
    for _ in range(10):
        _, _, _, _, info = env.step(np.array([target.real, target.imag], dtype=np.float32))
    x, y, angle = info["state"][2:5]
    shift = Pose(origin=complex(x, y), angle=angle).center - pose.center
    turn = ((contact - CENTER_OF_MASS).conjugate() * normal).imag
    impulse = 5.5 / (1 + turn**2 / GYRATION_SQUARED)
    assert abs(shift - impulse * normal * pose.rotation) < 1.0
    assert angle - pose.angle == pytest.approx(impulse * turn / GYRATION_SQUARED, abs=0.02)


def test_the_best_push_reduces_the_error_by_what_it_promises() -> None:
    pose = Pose(origin=290 + 230j, angle=0.4)
    gains = []
    for contact, normal in CONTACTS:
        travel, gain = push_toward_goal(pose, contact, normal)
        turn = ((contact - CENTER_OF_MASS).conjugate() * normal).imag
        impulse = travel / (1 + turn**2 / GYRATION_SQUARED)
        angle = pose.angle + impulse * turn / GYRATION_SQUARED
        center = pose.center + normal * pose.rotation * impulse
        pushed = Pose(origin=center - CENTER_OF_MASS * cmath.exp(1j * angle), angle=angle)
        assert goal_error(pose) - goal_error(pushed) == pytest.approx(gain, abs=1e-6)
        gains.append(gain)
    assert max(gains) > 0.3 * goal_error(pose)
    assert goal_error(GOAL) == 0


def test_the_way_around_reaches_the_other_side_without_touching() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        pose = Pose(origin=complex(*generator.uniform(200, 312, 2)), angle=float(generator.uniform(-math.pi, math.pi)))
        contact, normal = CONTACTS[int(generator.integers(len(CONTACTS)))]
        agent, point = complex(*generator.uniform(20, 60, 2)), pose.to_table(contact - normal * STAND_OFF)
        for _ in range(14):
            following = way_around(agent, point, pose)
            ends = [(end - pose.origin) / pose.rotation for end in (agent, following)]
            path = LineString([(end.real, end.imag) for end in ends])
            assert path.distance(BLOCK) > AGENT_RADIUS - 1
            agent = following
            if agent == point:
                break
        assert agent == point


def test_colored_noise_has_its_spread_and_correlation() -> None:
    noise = ColoredNoise(np.random.default_rng(0), standard_deviation=10.0, correlation=0.8)
    values = np.array([noise() for _ in range(20000)])
    assert values.real.std() == pytest.approx(10, rel=0.1)
    assert np.corrcoef(values.imag[1:], values.imag[:-1])[0, 1] == pytest.approx(0.8, abs=0.02)
