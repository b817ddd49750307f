"""The honesty suite on worlds that heed, ignore, stand still, collapse."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from worldline.eval.suites.episodes import EvalPlan
from worldline.eval.suites.honesty import collapsed, correlation, image_statistics, measure_honesty

PLAN = EvalPlan(num_windows=24, num_seeds=2, num_samples=4, num_long=6, long_frames=40)


def by_name(suite):
    return {figure.name: figure for figure in suite.figures}


def test_a_world_that_heeds_its_actions_shows_it(films, true_world, episodes_of):
    suite = measure_honesty(true_world, episodes_of(true_world, films), PLAN)
    figures = by_name(suite)
    ratio = figures["shuffled-action ratio, mean of 16 frames"]
    assert ratio.value > 3
    assert ratio.interval[0] > 1
    assert figures["batch invariance"].value == pytest.approx(0, abs=1e-6)
    assert figures["seed spread of the mean gain of 16 frames"].value == 0, "without noise every seed is the same"
    assert figures["spread over skill"].value == 0, "and so is every sample"
    assert figures["self-consistency of K = 1"].value == 0
    assert suite.not_measured == {}
    assert {line.title for line in suite.lines} >= {"Error growth", "Gain against denoising steps"}


def test_a_world_that_ignores_actions_has_a_ratio_of_one(films, replay, episodes_of):
    world = replay(films, moves=False)
    figures = by_name(measure_honesty(world, episodes_of(world, films), PLAN))
    for name in ("shuffled-action ratio, mean of 16 frames", "shuffled-action ratio at frame 16"):
        assert figures[name].value == pytest.approx(1)
        assert figures[name].interval == pytest.approx((1, 1))
    assert figures["collapsed 40-frame rollouts"].value == 0
    assert figures["brightness of 40-frame rollouts over real"].value == pytest.approx(1, abs=0.1)
    assert figures["motion of 40-frame rollouts over real"].value == pytest.approx(0, abs=1e-9)
    exponent = figures["error growth exponent over 16 frames"]
    assert exponent.value == pytest.approx(exponent.floors["copy last frame"], rel=1e-5)


def test_a_world_without_actions_has_no_ratio(films, replay, episodes_of):
    silent = [replace(clip, actions=None) for clip in films]
    world = replay(silent, moves=False)
    suite = measure_honesty(world, episodes_of(world, silent), PLAN)
    assert suite.not_measured["shuffled-action ratio"] == "the world has no actions"


def test_batches_that_change_a_row_are_seen(films, replay, episodes_of):
    world = replay(films)
    decode = world.decode

    def leaky(source: Any) -> torch.Tensor:
        return decode(source) + 0.01 * source.latents.shape[1]

    world.decode = leaky
    figures = by_name(measure_honesty(world, episodes_of(world, films), PLAN))
    assert figures["batch invariance"].value == pytest.approx(0.01 * 7 * 255, rel=1e-3)


def test_image_statistics_of_known_pictures():
    frames = torch.zeros(1, 3, 3, 8, 8)
    frames[:, 1] = 1.0
    frames[:, 2, :, :, 4:] = 1.0
    brightness, contrast, edges, motion = image_statistics(frames)[0].unbind(-1)
    assert brightness.tolist() == pytest.approx([1, 0.5])
    assert contrast.tolist() == pytest.approx([0, 0.5], abs=0.01)
    assert edges.tolist() == pytest.approx([0, 0.5 / 7])
    assert motion.tolist() == pytest.approx([1, 0.5])


def test_what_turns_grey_wild_or_undefined_has_collapsed():
    real = torch.tensor([0.5, 0.2, 0.05, 0.01]) + 0.01 * torch.rand(200, 4)
    rollouts = torch.tensor([0.5, 0.2, 0.05, 0.01]).repeat(4, 32, 1)
    rollouts[1, -16:, 1] = 0.05
    rollouts[2, -16:, 2] = 0.3
    rollouts[3, -1, 0] = torch.nan
    assert collapsed(rollouts, real).tolist() == [False, True, True, True]


def test_correlation_is_pearsons():
    x, y = torch.randn(2, 50, dtype=torch.float64)
    y = y + x
    means = torch.stack([x, y, x * x, y * y, x * y], dim=1).mean(0)
    assert float(correlation(means)) == pytest.approx(float(torch.corrcoef(torch.stack([x, y]))[0, 1]))
