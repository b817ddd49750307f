"""Occluder: what the label calls hidden is in no pixel, and what is hidden goes on as mechanics says."""

import numpy as np
import pytest

from worldline.envs.record import draw_attributes

pytest.importorskip("Box2D", reason="needs the extra sim-2d")
pytest.importorskip("cv2", reason="needs the extra sim-2d")

from worldline.envs.colors import COLORS
from worldline.envs.occluder import FLOOR_M, VIEW_M, Occluder


def start(seed: int, course: str, split: str = "train") -> Occluder:
    occluder = Occluder()
    attributes = draw_attributes(occluder, seed=seed, split="ood" if split == "ood" else "train")
    occluder.reset(seed, attributes | {"course": course, "ball_color": "magenta", "other_color": "lime"})
    return occluder


def seen(picture: np.ndarray, color: str) -> int:
    """Pixels of a colour that nothing else has."""
    return int((np.abs(picture.astype(int) - COLORS[color]).max(-1) < 40).sum())


@pytest.mark.parametrize("course", ["rolls", "bounces", "returns", "meets"])
@pytest.mark.parametrize("split", ["train", "ood"])
def test_the_label_agrees_with_the_pixels(course: str, split: str) -> None:
    occluder = start(5, course, split)
    names = {name: index for index, name in enumerate(occluder.state_names)}
    hidden_frames = 0
    for _ in range(63):
        occluder.step(None)
        state, events, picture = occluder.state(), occluder.events(), occluder.render(96)
        gone = []
        for ball, color in (("ball", "magenta"), ("other", "lime"))[: 2 if course == "meets" else 1]:
            x, y, radius = (state[names[f"{ball}_{what}"]] for what in ("x", "y", "radius"))
            left, right, top = (state[names[f"screen_{what}"]] for what in ("left", "right", "top"))
            behind = x - radius >= left and x + radius <= right and y + radius <= top
            gone.append(behind)
            slack = min(x - radius - left, right - x - radius)
            if abs(slack) > 0.2 and abs(x) < VIEW_M - radius - 0.1 and x > radius + 0.1:  # away from where it is a matter of one pixel
                assert (seen(picture, color) == 0) == behind
        assert events["hidden"] == any(gone)
        hidden_frames += any(gone)
    assert hidden_frames >= 3


def test_it_vanishes_and_reappears_where_hidden_begins_and_ends() -> None:
    occluder = start(2, "rolls")
    before, changes = False, []
    for _ in range(63):
        occluder.step(None)
        events = occluder.events()
        assert events["vanishes"] == (events["hidden"] and not before)
        assert events["reappears"] == (before and not events["hidden"])
        changes += [name for name in ("vanishes", "reappears") if events[name]]
        before = events["hidden"]
    assert changes == ["vanishes", "reappears"]


def test_a_hidden_ball_rolls_on_at_its_speed() -> None:
    occluder = start(3, "rolls")
    x, speed = occluder.state()[[0, 2]]
    for frame in range(1, 64):
        occluder.step(None)
        assert occluder.state()[0] == pytest.approx(x + speed * frame / occluder.rate_hz, abs=1e-3)


def test_a_hidden_ball_comes_back_from_the_post_with_the_restitution() -> None:
    occluder = start(4, "returns")
    speed = occluder.state()[2]
    restitution = float(draw_attributes(occluder, seed=4, split="train")["restitution"])
    for _ in range(63):
        occluder.step(None)
        state, events = occluder.state(), occluder.events()
        if events["hits_post"]:
            assert events["hidden"]
            assert state[0] + state[4] == pytest.approx(state[-1], abs=0.2)
    assert occluder.state()[2] == pytest.approx(-restitution * speed, rel=1e-3)


def test_balls_that_meet_behind_the_screen_exchange_momentum() -> None:
    occluder = start(6, "meets")
    momentum = occluder.state()[[2, 7]].sum()
    met = False
    for _ in range(63):
        occluder.step(None)
        met |= occluder.events()["collision"]
        assert occluder.state()[[2, 7]].sum() == pytest.approx(momentum, abs=1e-4)
    assert met
    assert occluder.state()[2] < 0 < occluder.state()[7]


def test_a_thrown_ball_never_sinks_into_the_floor() -> None:
    occluder = start(7, "bounces")
    falls = 0.0
    for _ in range(63):
        occluder.step(None)
        state, events = occluder.state(), occluder.events()
        assert state[1] - state[4] > FLOOR_M - 0.05
        assert not events["bounce"] or (falls < 0 < state[3])
        falls = state[3]


@pytest.mark.parametrize("split", ["train", "ood"])
def test_every_episode_hides_something_after_half_a_second_and_shows_it_again(split: str) -> None:
    occluder = Occluder()
    for seed in range(40):
        occluder.reset(seed, draw_attributes(occluder, seed=seed, split="ood" if split == "ood" else "train"))
        hidden = []
        for _ in range(63):
            occluder.step(None)
            hidden.append(occluder.events()["hidden"])
        first = hidden.index(True)
        assert first >= 9
        assert False in hidden[first:], seed
