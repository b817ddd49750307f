"""The video suite on worlds whose figures are known."""

import math
from dataclasses import replace

import pytest

from worldline.eval.suites.episodes import EvalPlan
from worldline.eval.suites.video import measure_video

PLAN = EvalPlan(num_windows=24, num_seeds=2)


def by_name(suite):
    return {figure.name: figure for figure in suite.figures}


def test_a_perfect_world_has_an_infinite_gain(films, replay, episodes_of):
    world = replay(films)
    suite = measure_video(world, episodes_of(world, films), PLAN)
    figures = by_name(suite)
    for horizon in (1, 4, 16):
        assert figures[f"gain over copy last frame at frame {horizon}"].value == math.inf
        assert figures[f"PSNR at frame {horizon}"].value == 100
        assert figures[f"SSIM at frame {horizon}"].value == pytest.approx(1)
        assert figures[f"filter distance at frame {horizon}"].value == pytest.approx(0, abs=1e-9)
        assert figures[f"filter Fréchet distance of the first {horizon} frames"].value == pytest.approx(0, abs=1e-6)
    assert set(suite.not_measured) == {"32 frames", "64 frames", "out of distribution"}
    assert "needs episodes of 4 + 32 frames; half of the 24 have at most 24" in suite.not_measured["32 frames"]
    assert figures["PSNR at frame 4"].sample.num_episodes == 24
    assert suite.figures[0].to_dict()["seeds"] == [0, 1]
    assert figures["gain over copy last frame at frame 4"].to_dict()["value"] is None, "JSON has no infinity"


def test_a_copying_world_gains_nothing_and_is_its_own_floor(films, replay, episodes_of):
    world = replay(films, moves=False)
    figures = by_name(measure_video(world, episodes_of(world, films), PLAN))
    for horizon in (1, 4, 16):
        for name in (f"gain over copy last frame at frame {horizon}", f"gain where pixels move at frame {horizon}"):
            assert figures[name].value == pytest.approx(0, abs=1e-6)
            assert figures[name].interval == pytest.approx((0, 0), abs=1e-6)
        for name in (f"PSNR at frame {horizon}", f"filter distance at frame {horizon}"):
            assert figures[name].value == pytest.approx(figures[name].floors["copy last frame"], rel=1e-5)
        distance = figures[f"filter Fréchet distance of the first {horizon} frames"]
        assert distance.value == pytest.approx(distance.floors["copy last frame"], rel=1e-5)
        assert distance.value > 0


def test_a_world_with_the_right_law_is_far_above_every_floor(films, true_world, episodes_of):
    figures = by_name(measure_video(true_world, episodes_of(true_world, films), PLAN))
    psnr = figures["PSNR at frame 16"]
    assert psnr.value > max(psnr.floors.values()) + 3
    assert set(psnr.floors) == {"copy last frame", "linear extrapolation", "random frame"}
    low, high = psnr.interval
    assert low < psnr.value < high


def test_unusual_episodes_are_measured_apart(films, true_world, episodes_of):
    marked = [replace(clip, facts={"split": "ood" if index % 3 == 0 else "validation"}) for index, clip in enumerate(films)]
    suite = measure_video(true_world, episodes_of(true_world, marked), PLAN)
    figures = by_name(suite)
    assert figures["PSNR at frame 4"].sample.num_episodes == 16
    assert figures["out of distribution: gain over copy last frame at frame 4"].sample.num_episodes == 8
    assert "out of distribution" not in suite.not_measured


def test_episodes_that_are_too_short_are_said_to_be(films, true_world, episodes_of):
    short = [replace(c, frames=c.frames[:4], actions=c.actions[:4], states=c.states[:4]) for c in films]
    suite = measure_video(true_world, episodes_of(true_world, short), PLAN)
    assert suite.figures == ()
    assert "needs episodes of 4 + 1 frames" in suite.not_measured["1 frames"]
