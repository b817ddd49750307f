"""Sand: no grain is lost, events follow the counts, and it flows, heaps and jams as grains do."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes

pytest.importorskip("Box2D", reason="needs the extra sim-2d")
pytest.importorskip("cv2", reason="needs the extra sim-2d")

from worldline.envs.sand import FILLED_SHARE, FLOOR_M, JAM_FRAMES, Sand

FLOWING = {"grain_shape": "round", "grain_radius_m": 0.15, "mouth_width_m": 1.4, "friction": 0.4, "gravity_m_s2": 10.0}


def start(**changed: float | str) -> Sand:
    sand = Sand()
    sand.reset(1, draw_attributes(sand, seed=1, split="train") | FLOWING | changed)
    return sand


def value(sand: Sand, name: str) -> float:
    return float(sand.state()[sand.state_names.index(name)])


def run(sand: Sand, num_frames: int, *, gate: float = 1.0, velocity: float = 0.0) -> None:
    for _ in range(num_frames):
        sand.step(np.array([velocity, gate]))


def test_a_closed_gate_holds_everything() -> None:
    sand = start()
    assert value(sand, "in_hopper") == value(sand, "num_grains") > 50
    run(sand, 20, gate=0.0)
    assert value(sand, "in_hopper") == value(sand, "num_grains")
    assert not any(sand.events().values())
    assert value(sand, "mean_speed") < 0.05, "it has come to rest"


def test_events_follow_the_counts_and_no_grain_is_lost() -> None:
    sand = start()
    parts = ("in_hopper", "in_left_bin", "in_right_bin", "on_floor", "in_flight")
    before = {name: value(sand, name) for name in parts}
    seen = set()
    for frame in range(70):
        sand.step(np.array([2.0 if frame < 30 else -2.0, 1.0]))
        now, events, whole = {name: value(sand, name) for name in parts}, sand.events(), value(sand, "num_grains")
        assert sum(now.values()) == whole
        assert min(now.values()) >= 0
        assert events["flows"] == (now["in_hopper"] < before["in_hopper"])
        assert events["spill"] == (now["on_floor"] > before["on_floor"])
        assert events["hopper_empty"] == (now["in_hopper"] == 0)
        for side in ("left", "right"):
            assert events[f"{side}_bin_fills"] == (now[f"in_{side}_bin"] > FILLED_SHARE * whole)
        seen |= {name for name, happened in events.items() if happened}
        before = now
    assert "flows" in seen
    assert value(sand, "in_hopper") < value(sand, "num_grains") / 2


def test_a_narrow_mouth_jams_and_a_wide_one_does_not() -> None:
    narrow, wide = start(mouth_width_m=0.45), start()
    for sand in (narrow, wide):
        run(sand, 12)
    left = value(narrow, "in_hopper")
    run(narrow, JAM_FRAMES + 1)
    assert narrow.events()["jam"]
    assert value(narrow, "in_hopper") == left > 0
    assert not wide.events()["jam"]
    assert value(wide, "in_hopper") < left


def test_rough_grains_heap_up_and_smooth_ones_run_apart() -> None:
    tops = {}
    for friction in (0.0, 0.7):
        sand = start(friction=friction)
        run(sand, 80)
        side = "left" if value(sand, "in_left_bin") > value(sand, "in_right_bin") else "right"
        share = value(sand, f"in_{side}_bin") / value(sand, "num_grains")
        assert share > 0.3
        tops[friction] = (value(sand, f"{side}_heap_top") - FLOOR_M) / share
    assert tops[0.7] > tops[0.0]


def test_grains_fall_faster_under_more_gravity() -> None:
    counts = {}
    for gravity in (3.0, 10.0):
        sand = start(gravity_m_s2=gravity)
        run(sand, 24)
        counts[gravity] = value(sand, "in_hopper")
    assert counts[10.0] < counts[3.0]
