"""The in-context suite: a prompt that tells something, and one that tells nothing."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from worldline.eval.suites.episodes import EvalPlan
from worldline.eval.suites.in_context import measure_in_context, varying_physics

PLAN = EvalPlan(num_windows=24, num_seeds=1)


def fall(suite) -> Any:
    return next(figure for figure in suite.figures if figure.name.startswith("relative fall of the error at frame"))


def test_a_prompt_that_tells_nothing_lets_no_error_fall(films, replay, episodes_of):
    world = replay(films, moves=False)
    suite = measure_in_context(world, episodes_of(world, films), PLAN)
    assert fall(suite).value == pytest.approx(0, abs=1e-9)
    assert fall(suite).interval == pytest.approx((0, 0), abs=1e-9)
    assert "friction" in fall(suite).note
    errors = [figure for figure in suite.figures if figure.name.startswith("squared error at frame 8 after a prompt of")]
    assert len(errors) == 4
    assert all(figure.value == pytest.approx(figure.floors["copy last frame"], rel=1e-5) for figure in errors)


def test_a_prompt_that_tells_all_lets_the_whole_error_fall(films, replay, episodes_of):
    world = replay(films)
    prompt = world.prompt

    def remember(video: torch.Tensor, actions: torch.Tensor | None = None) -> Any:
        world.moves = video.shape[1] >= 16
        return prompt(video, actions)

    world.prompt = remember
    suite = measure_in_context(world, episodes_of(world, films), PLAN)
    assert fall(suite).value == pytest.approx(1)
    after_eight = next(figure for figure in suite.figures if figure.name.endswith("after a prompt of 8"))
    assert after_eight.value == pytest.approx(after_eight.floors["copy last frame"], rel=1e-5)


def test_a_context_that_is_shorter_than_the_prompt_is_said(films, replay, episodes_of):
    world = replay(films)
    world.config.dynamics.context_frames = 8
    suite = measure_in_context(world, episodes_of(world, films), PLAN)
    assert "the world looks back 8 frames" in suite.not_measured["prompts of more than 8 frames"]


def test_episodes_that_do_not_differ_are_not_measured(films, replay, episodes_of):
    same = [replace(clip, facts={"attribute.friction": 0.5, "attribute.color": str(i)}) for i, clip in enumerate(films)]
    world = replay(same)
    episodes = episodes_of(world, same)
    assert varying_physics(episodes) == ()
    suite = measure_in_context(world, episodes, PLAN)
    assert suite.figures == ()
    assert "no physical attribute" in suite.not_measured["error against prompt length"]
