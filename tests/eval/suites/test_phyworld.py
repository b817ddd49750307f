"""The protocol of PhyWorld on films of balls whose velocities are known."""

from dataclasses import replace

import pytest
import torch

from worldline.envs.colors import COLORS
from worldline.eval.suites.episodes import EvalPlan
from worldline.eval.suites.phyworld import measure_phyworld
from worldline.interfaces import Clip

SIZE, VIEW, RATE_HZ, FRAMES = 24, 12.0, 5.0, 14
PLAN = EvalPlan(num_windows=8, num_seeds=1)
NAMES = tuple(f"{ball}_{what}" for ball in ("first", "second") for what in ("x", "y", "velocity_x", "velocity_y", "radius"))
NAME = "PhyWorld velocity error, uniform, in distribution"


def draw(x: float, y: float, radius: float) -> torch.Tensor:
    fine = (torch.arange(SIZE * 8) + 0.5) / 8 * VIEW / SIZE
    inside = ((fine[None] - x) ** 2 + (VIEW - fine[:, None] - y) ** 2 < radius**2).float().view(SIZE, 8, SIZE, 8).mean((1, 3))
    red, white = (torch.tensor(COLORS[name])[:, None, None].float() for name in ("red", "white"))
    return (inside * red + (1 - inside) * white).round().to(torch.uint8)


def balls(split: str, speeds: tuple[float, ...]) -> list[Clip]:
    clips = []
    for index, speed in enumerate(speeds):
        x = 2 + speed / RATE_HZ * torch.arange(FRAMES)
        y = 3.0 + index % 5
        states = torch.zeros(FRAMES, 10)
        states[:, 0], states[:, 1], states[:, 2], states[:, 4] = x, y, speed, 1.5
        clips.append(
            Clip(
                frames=torch.stack([draw(float(one), y, 1.5) for one in x]),
                rate_hz=RATE_HZ,
                source=f"{split}/{index}",
                states=states,
                facts={
                    "split": split,
                    "attribute.motion": "uniform",
                    "attribute.ball_color": "red",
                    "attribute.other_color": "orange",
                    "attribute.background_color": "white",
                },
            )
        )
    return clips


def test_a_world_that_is_right_is_as_good_as_the_parser(replay, episodes_of):
    clips = [*balls("validation", (1.0, 1.5, 2.0, 2.5, 3.0)), *balls("ood", (3.2, 3.4, 3.6))]
    world = replay(clips)
    suite = measure_phyworld(world, episodes_of(world, clips, state_names=NAMES), PLAN)
    figures = {figure.name: figure for figure in suite.figures}
    usual = figures[NAME]
    assert usual.value == pytest.approx(usual.floors["the parser on true frames"])
    assert usual.value == pytest.approx(usual.floors["true frames encoded and decoded"])
    assert usual.value < 0.02
    assert usual.floors["copy last frame"] == pytest.approx(2.0, rel=1e-4), "the error of not moving is the speed"
    assert usual.sample.num_episodes == 5
    assert figures["PhyWorld velocity error, uniform, out of distribution"].sample.num_episodes == 3
    assert figures["PhyWorld velocity error, uniform, out of over in distribution"].value > 0
    assert suite.not_measured == {}


def test_a_world_that_stops_the_ball_has_the_error_of_copying(replay, episodes_of):
    clips = balls("validation", (1.0, 1.5, 2.0, 2.5))
    world = replay(clips, moves=False)
    suite = measure_phyworld(world, episodes_of(world, clips, state_names=NAMES), PLAN)
    (figure,) = suite.figures
    assert figure.value == pytest.approx(figure.floors["copy last frame"], rel=1e-6)
    assert "two episodes" in suite.not_measured["PhyWorld velocity error, uniform, out of distribution"]


def test_data_without_what_it_takes_is_not_measured(films, true_world, replay, episodes_of):
    suite = measure_phyworld(true_world, episodes_of(true_world, films), PLAN)
    assert "attribute.motion" in suite.not_measured["PhyWorld velocity error"]
    clips = balls("validation", (1.0, 2.0))
    world = replay(clips)
    assert "first_x" in measure_phyworld(world, episodes_of(world, clips), PLAN).not_measured["PhyWorld velocity error"]
    odd = [replace(clip, facts={**clip.facts, "attribute.ball_color": "mauve"}) for clip in clips]
    suite = measure_phyworld(world, episodes_of(world, odd, state_names=NAMES), PLAN)
    assert "mauve" in suite.not_measured["PhyWorld velocity error"]
