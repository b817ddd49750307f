"""Towers, dominoes and Jenga: what falls, what stands, and that the events say what the state says."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes
from worldline.envs.simulator import Act, Simulator

pytest.importorskip("mujoco", reason="needs the extra sim-mujoco")

from worldline.envs.blocks import Dominoes, Jenga, Towers
from worldline.envs.blocks.stage import FALLEN_TILT_COSINE


def run(simulator: Simulator, act: Act, num_frames: int) -> list[tuple[np.ndarray, dict[str, bool]]]:
    """State and events after each frame."""
    frames = []
    for _ in range(num_frames):
        simulator.step(act())
        frames.append((simulator.state(), dict(simulator.events())))
    return frames


def component(simulator: Simulator, state: np.ndarray, name: str) -> float:
    return float(state[simulator.state_names.index(name)])


def test_a_straight_tower_stands_and_a_staggered_one_falls() -> None:
    towers = Towers()
    attributes = draw_attributes(towers, seed=0, split="train") | {"num_blocks": 4, "shape": "cube"}
    for stagger, collapses in ((0.0, False), (1.2, True)):
        towers.reset(0, attributes | {"stagger": stagger})
        start = towers.state()
        frames = run(towers, towers.policy("watch", np.random.default_rng(0)), 30)
        assert frames[-1][1]["collapse"] == collapses
        assert (np.abs(frames[-1][0] - start).max() < 0.01) == (not collapses)
        assert any("stand" in caption for caption in towers.captions()) == (not collapses)
        assert not any(events["stick_contact"] for _, events in frames)


def test_a_poke_touches_and_brings_down() -> None:
    towers = Towers()
    towers.reset(1, draw_attributes(towers, seed=1, split="train") | {"num_blocks": 4, "shape": "cube", "stagger": 0.1})
    frames = run(towers, lambda: np.array([0.5, 0.0, 0.0]), 40)
    touched = [events["stick_contact"] for _, events in frames]
    fell = [events["topple"] for _, events in frames]
    assert any(fell)
    assert touched.index(True) <= fell.index(True)


def test_a_block_has_fallen_when_its_state_says_so() -> None:
    jenga = Jenga()
    jenga.reset(2, draw_attributes(jenga, seed=2, split="train"))
    start = jenga.state()
    frames = run(jenga, lambda: np.array([0.5, 0.0, 0.0]), 40)
    assert frames[-1][1]["collapse"]
    half_height = float(jenga.blocks[0].half_size[2])
    for state, events in frames[::8]:
        for index in range(jenga.max_blocks):
            _, x, y, _ = (component(jenga, state, f"block_{index}_quaternion_{axis}") for axis in "wxyz")
            leaning = 1 - 2 * (x**2 + y**2) < FALLEN_TILT_COSINE
            sunk = component(jenga, start, f"block_{index}_z") - component(jenga, state, f"block_{index}_z") > half_height
            assert events[f"fallen_{index}"] == (leaning or sunk)


def test_the_wave_runs_through_dominoes_and_stops_at_a_wide_gap() -> None:
    dominoes = Dominoes()
    usual = draw_attributes(dominoes, seed=3, split="train") | {"num_blocks": 7, "curve_degrees": 0.0, "num_missing": 2, "friction": 0.5}
    for missing_block, all_fall in ((0, True), (4, False)):
        dominoes.reset(3, usual | {"spacing_m": 0.045, "missing_block": missing_block})
        frames = run(dominoes, dominoes.policy("tip", np.random.default_rng(0)), 60)
        final = frames[-1][1]
        assert final["fallen_0"]
        assert final["fallen_6"] == all_fall
        assert any(events["last_falls"] for _, events in frames) == all_fall
        first = [next((frame for frame, (_, events) in enumerate(frames) if events[f"fallen_{index}"]), 99) for index in range(7)]
        assert first == sorted(first)


def test_gravity_is_felt() -> None:
    towers = Towers()
    attributes = draw_attributes(towers, seed=4, split="train") | {"num_blocks": 4, "shape": "cube", "stagger": 1.2}
    heights = []
    for gravity in (2.0, 10.0):
        towers.reset(4, attributes | {"gravity_m_s2": gravity})
        frames = run(towers, towers.policy("watch", np.random.default_rng(0)), 8)
        heights.append(component(towers, frames[-1][0], "block_3_z"))
    assert heights[0] > heights[1] + 0.01


def test_an_unknown_policy_is_refused() -> None:
    towers = Towers()
    towers.reset(0, draw_attributes(towers, seed=0, split="train"))
    with pytest.raises(ValueError, match="no policy 'dance'; choose one of poke, watch, random"):
        towers.policy("dance", np.random.default_rng(0))
    with pytest.raises(ValueError, match="1 to 256 pixels wide, got 999"):
        towers.render(999)
