"""The probe's suite: ground truth that the latents hold, and what is asked of them."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worldline.eval.suites.episodes import EvalPlan
from worldline.eval.suites.physics import measure_physics, probe_targets

PLAN = EvalPlan(num_windows=16, num_seeds=1)
NAMES = ("ball_x", "ball_y", "ball_velocity_x", "ball_velocity_y")


def by_name(suite: Any) -> dict[str, Any]:
    return {figure.name: figure for figure in suite.figures}


def reading_world(world: Any, clips: Any) -> Any:
    """The true world with an encoder that gives its own latents: position, and what velocity two positions show."""

    def encode(frames: torch.Tensor) -> torch.Tensor:
        rows = [world.prompt(frames[:, : time + 1]).latent for time in range(frames.shape[1])]
        return torch.stack(rows, dim=1).float()

    world.tokenizer = SimpleNamespace(encode=encode, encoder_position=torch.zeros(1))
    return world


def test_latents_that_hold_the_state_have_a_correlation_of_one(films, true_world, episodes_of):
    world = reading_world(true_world, films)
    suite = measure_physics(world, episodes_of(world, films, state_names=NAMES), PLAN)
    figures = by_name(suite)
    for name in ("ball_x", "ball_y"):
        assert figures[f"probe r of {name}"].value > 0.999
    # The velocity at a frame is known from two positions but for half a frame's push.
    assert figures["probe r, mean of 2 velocity components"].value > 0.9
    position = figures["probe r, mean of 2 position components"]
    assert position.interval[0] > 0.999
    assert position.floors["chance"] == 0
    assert position.floors["probe of 8 x 8 pixels"] < position.value
    ahead = figures["ball at imagined frame 16, median error"]
    assert ahead.value < 0.5 * ahead.floors["copy last frame"]
    assert {"object permanence", "PhyWorld velocity error"} <= set(suite.not_measured)


def test_a_probe_may_be_fitted_on_other_episodes(films, true_world, episodes_of):
    world = reading_world(true_world, films)
    measured, others = (episodes_of(world, clips, state_names=NAMES) for clips in (films[:12], films[12:]))
    figures = by_name(measure_physics(world, measured, PLAN, probe_episodes=others))
    assert figures["probe r, mean of 2 position components"].value > 0.999
    assert "of 12 other episodes" in figures["probe r, mean of 2 position components"].note
    assert figures["ball at imagined frame 16, median error"].value < 0.2


def test_a_code_is_probed_beside_the_latents(films, true_world, episodes_of):
    """Of a thing that turns as it goes: its place is in the latents, the sine of its angle is a sum of the features alone."""
    world = reading_world(true_world, films)
    clips = [replace(clip, states=torch.cat([clip.states[:, :2], 8 * clip.states[:, :1]], 1)) for clip in films]
    episodes = episodes_of(world, clips, state_names=("ball_x", "ball_y", "ball_angle"))

    def features(latents: torch.Tensor) -> torch.Tensor:
        x = 8 * latents[..., 0, :1]
        return torch.cat([x.sin(), x.cos()], dim=-1)

    plain = by_name(measure_physics(world, episodes, PLAN))
    figures = by_name(measure_physics(world, episodes, PLAN, features=features))
    assert plain.keys() < figures.keys()
    assert all(figures[name].value == figure.value for name, figure in plain.items())
    angle = figures["probe r with the frame code, mean of 2 angle components"]
    assert angle.value > 0.99
    assert angle.floors["probe of the latents"] == plain["probe r, mean of 2 angle components"].value < 0.97
    assert "features of their code" in angle.note


def test_what_is_missing_is_said(films, true_world, episodes_of):
    def why(clips: Any, **options: Any) -> str:
        return measure_physics(true_world, episodes_of(true_world, clips, **options), PLAN).not_measured["linear probe"]

    assert "--state-names" in why(films)
    assert "states" in why([replace(clip, states=None) for clip in films])
    assert "10 episodes" in why(films[:9], state_names=NAMES)
    with pytest.raises(ValueError, match="3 state names for states of"):
        why(films, state_names=("a", "b", "c"))


def test_components_that_do_not_vary_are_left_out(films, true_world, episodes_of):
    world = reading_world(true_world, films)
    clips = [replace(clip, states=torch.cat([clip.states[:, :2], torch.ones(len(clip), 1)], 1)) for clip in films]
    suite = measure_physics(world, episodes_of(world, clips, state_names=("ball_x", "ball_y", "weight")), PLAN)
    assert suite.not_measured["probe of weight"] == "does not vary"
    assert "probe r of change of ball_x" in by_name(suite)


def test_targets_of_states():
    states = torch.tensor([[0.0, 1.0, math.pi / 2, 5.0, 7.0], [0.5, 1.0, math.pi, 6.0, 7.5]], dtype=torch.float64)
    values, labels = probe_targets(states, ("block_x", "block_y", "block_angle", "block_velocity_x", "coverage"), 2.0)
    named = dict(zip([name for name, _ in labels], values[0].tolist(), strict=True))
    assert named == pytest.approx(
        {
            "block_x": 0.5,
            "block_y": 1.0,
            "change of block_y": 0.0,
            "sin block_angle": 0.0,
            "cos block_angle": -1.0,
            "block_velocity_x": 6.0,
            "coverage": 7.5,
        },
        abs=1e-12,
    )
    assert dict(labels)["coverage"] == "other"
