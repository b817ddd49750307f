from collections.abc import Callable

import numpy as np
import pytest

from worldline.data.inspection.alignment import Alignment, measure_alignment
from worldline.data.inspection.statistics import look_at
from worldline.interfaces import Clip

BuildClips = Callable[..., list[Clip]]


def aligned(clips: list[Clip], **options: int) -> Alignment:
    seen = look_at(clips, 10**6)
    return measure_alignment(seen.actions, seen.motions, **options)


@pytest.mark.parametrize("smooth", [0.0, 0.9])
@pytest.mark.parametrize("lag", [-3, -1, 0, 1, 2, 3])
def test_the_lag_is_found_for_nervous_and_for_smooth_actions(steered_clips: BuildClips, lag: int, smooth: float) -> None:
    found = aligned(steered_clips(lag=lag, smooth=smooth))
    for estimate in (found.joint, *found.components):
        assert estimate.lag == lag
        assert estimate.is_misaligned == (lag != 0)
    assert found.joint.agreement > 0.95
    assert found.joint.curve[lag] == max(found.joint.curve.values())


def test_a_larger_lag_is_found_by_looking_further(steered_clips: BuildClips) -> None:
    assert aligned(steered_clips(lag=8, num_frames=60)).joint.lag == 8


def test_known_latency_counts_as_aligned(steered_clips: BuildClips) -> None:
    clips = steered_clips(lag=2)
    assert not aligned(clips, expected_lag=2).joint.is_misaligned
    assert aligned(clips, expected_lag=1).joint.is_misaligned
    assert aligned(steered_clips(), expected_lag=2).joint.is_misaligned


def test_one_component_alone_is_found(steered_clips: BuildClips) -> None:
    seen = look_at(steered_clips(num_frames=50), 10**6)
    actions = [np.stack([rows[:, 0], np.roll(rows[:, 1], -2)], axis=1) for rows in seen.actions]
    found = measure_alignment(actions, seen.motions)
    assert [component.lag for component in found.components] == [0, 2]
    assert [component.is_misaligned for component in found.components] == [False, True]


@pytest.mark.parametrize("others", [1, 4, 7])
def test_actions_of_other_episodes_raise_no_alarm(steered_clips: BuildClips, others: int) -> None:
    seen = look_at(steered_clips(), 10**6)
    found = measure_alignment([*seen.actions[others:], *seen.actions[:others]], seen.motions)
    assert found.joint.lag is None
    assert not any(component.is_misaligned for component in found.components)
    assert "tells nothing" in found.joint.reason


def test_components_that_never_change_and_clocks_do_no_harm(steered_clips: BuildClips) -> None:
    clips = steered_clips(lag=1, idle=1)
    seen = look_at(clips, 10**6)
    actions = [np.concatenate([rows, 1e12 + 50.0 * np.arange(len(rows))[:, None]], axis=1) for rows in seen.actions]
    found = measure_alignment(actions, seen.motions)
    assert found.joint.lag == 1
    assert found.components[2].lag is None
    assert found.components[2].reason == "it never changes"
    assert found.components[3].lag is None


def test_too_little_is_said_to_be_too_little(steered_clips: BuildClips) -> None:
    assert "fewer than 200 frames" in aligned(steered_clips(num_clips=3, num_frames=20)).joint.reason
    assert "fewer than 200 frames" in aligned(steered_clips(num_frames=12)).joint.reason
    assert "fewer than 200 frames" in measure_alignment([], []).joint.reason


def pushed(shift: int, course: float = 0.0) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Forces (60, 2), and the motion of what they push, which goes on; the rows are `shift` frames early. All episodes share a course."""
    generator = np.random.default_rng(0)
    shared = course * generator.normal(size=(66, 2))
    actions, motions = [], []
    for _ in range(30):
        force = generator.normal(size=(66, 2)) + shared
        speed, moved = np.zeros(2), []
        for push in force:
            moved.append(speed + push / 2)
            speed = 0.9 * speed + push
        seen = np.stack(moved)[3:62] + 0.5 * generator.normal(size=(59, 2))
        actions.append(force[3 + shift : 63 + shift])
        motions.append([seen, np.zeros((59, 1))])
    return actions, motions


@pytest.mark.parametrize("shift", [-3, -2, -1, 0, 1, 2, 3])
def test_what_is_pushed_goes_on_and_still_answers_at_once(shift: int) -> None:
    joint = measure_alignment(*pushed(shift)).joint
    assert joint.lag == shift
    assert joint.is_misaligned == (shift != 0)
    assert joint.curve[shift + 1] > 0.5 * joint.curve[shift]
    assert joint.interval is not None
    assert joint.position is not None
    assert joint.interval[0] <= joint.position <= joint.interval[1]
    assert joint.interval[1] - joint.interval[0] < 1


def test_a_course_that_all_episodes_share_does_not_hide_what_is_their_own() -> None:
    actions, motions = pushed(2, course=1.0)
    assert measure_alignment(actions, motions).joint.lag == 2
    others = measure_alignment([*actions[3:], *actions[:3]], motions)
    assert others.joint.lag is None
    assert "other episodes" in others.joint.reason


def test_copies_of_one_episode_prove_nothing() -> None:
    actions, motions = pushed(0)
    found = measure_alignment([actions[1]] * 12, [motions[0]] * 12)
    assert found.joint.lag is None
    assert not any(component.is_misaligned for component in found.components)


def test_an_answer_that_grows_beyond_the_nearest_lags_is_looked_at_whole() -> None:
    generator = np.random.default_rng(0)
    actions = [generator.normal(size=(80, 1)) for _ in range(30)]
    answers = [
        [np.roll(rows, lag, 0)[:-1] + noise * generator.normal(size=(79, 1)) for lag, noise in ((4, 1.6), (5, 1.2), (6, 0.7))]
        for rows in actions
    ]
    motions = [[np.concatenate(answer, axis=1)] for answer in answers]
    joint = measure_alignment(actions, motions).joint
    assert max(joint.curve, key=lambda lag: joint.curve[lag]) == 6
    assert joint.lag == 5
