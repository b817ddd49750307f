"""Balls that are filmed again are the episode that the data holds, without what a codec did to it."""

from dataclasses import replace

import pytest
import torch

from worldline.eval.suites.refilm import refilm
from worldline.interfaces import Clip


@pytest.fixture(scope="module")
def clip() -> Clip:
    pytest.importorskip("Box2D", reason="balls need the extra sim-2d")
    from worldline.envs.balls import Balls
    from worldline.envs.record import record

    (clip,) = record(Balls(), seed=3, split="ood", num_frames=6, sizes=(24,))
    return clip


def test_the_frames_are_those_before_the_codec(clip: Clip) -> None:
    blurred = replace(clip, frames=clip.frames // 2)
    again = refilm([blurred, blurred])
    assert again is not None
    assert all(torch.equal(one.frames, clip.frames) for one in again)
    assert again[0].facts == clip.facts


def test_another_episode_under_the_same_name_is_not_taken_for_it(clip: Clip) -> None:
    assert clip.states is not None
    assert refilm([replace(clip, states=clip.states + 1)]) is None
    assert refilm([replace(clip, states=None)]) is None


def test_what_cannot_be_filmed_again_is_none() -> None:
    frames = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    assert refilm([Clip(frames=frames, rate_hz=5.0, source="a video", states=torch.zeros(4, 2))]) is None
    assert refilm([Clip(frames=frames, rate_hz=5.0, source="a", facts={"domain": "chess"})]) is None


def test_facts_that_do_not_say_which_episode_it_was(clip: Clip) -> None:
    assert refilm([replace(clip, facts={"domain": "balls"})]) is None
