"""Crowds: episodes repeat, the steered person goes where it is told, and events are what positions say."""

import numpy as np
import pytest

pytest.importorskip("jupedsim", reason="needs worldline[sim-crowd] and jupedsim installed with --no-deps")
pytest.importorskip("cv2", reason="needs worldline[sim-crowd]")

from worldline.envs.crowds.crowd import JAM_PEOPLE, MAX_PEOPLE, TOUCH_M, Bottleneck, Counterflow, Crowd
from worldline.envs.record import Split, draw_attributes, record, replay

DOMAINS = (Counterflow, Bottleneck)


def people(crowd: Crowd) -> np.ndarray:
    """Everybody's x, y, velocity and presence."""
    return crowd.state()[: 5 * MAX_PEOPLE].reshape(MAX_PEOPLE, 5)


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_episode_repeats_and_speed_changes_it(domain: type[Crowd]) -> None:
    crowd = domain()
    (first,) = record(crowd, seed=4, policy="cross", num_frames=12, sizes=(32,))
    again = replay(crowd, first)
    assert again.frames.equal(first.frames)
    assert again.states is not None
    assert first.states is not None
    assert again.states.equal(first.states)
    faster = replay(crowd, first, desired_speed_m_s=2.5)
    assert faster.states is not None
    assert not faster.states.equal(first.states)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("split", ["train", "ood"])
def test_events_are_what_positions_say(domain: type[Crowd], split: Split) -> None:
    crowd = domain()
    attributes = draw_attributes(crowd, seed=6, split=split)
    crowd.reset(6, attributes)
    assert not any(crowd.events().values())
    act = crowd.policy("cross", np.random.default_rng(0))
    before = people(crowd)
    for _ in range(40):
        crowd.step(act())
        now = people(crowd)
        present = now[:, 4] > 0
        here = now[present, :2]
        gaps = np.linalg.norm(here[:, None] - here[None], axis=-1)[np.triu_indices(len(here), 1)] - 2 * float(attributes["body_radius_m"])
        events = crowd.events()
        assert events["people_touch"] == bool(gaps.min() <= TOUCH_M)
        assert events["someone_leaves"] == bool(present.sum() < (before[:, 4] > 0).sum())
        assert events["jam"] == (crowd.state()[crowd.state_names.index("num_slow")] >= JAM_PEOPLE)
        before = now


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_steered_person_follows_its_goal(domain: type[Crowd]) -> None:
    crowd = domain()
    crowd.reset(1, draw_attributes(crowd, seed=1, split="train"))
    x, y = people(crowd)[0, :2]
    ends = []
    for goal in ((0.3, y), (x + 1.5, y)):
        crowd.reset(1, draw_attributes(crowd, seed=1, split="train"))
        for _ in range(15):
            crowd.step(np.array(goal))
        ends.append(people(crowd)[0, 0])
    assert ends[0] < ends[1] - 0.3


def test_a_wide_door_lets_more_people_out_than_a_narrow_one() -> None:
    crowd, left = Bottleneck(), {}
    attributes = draw_attributes(crowd, seed=2, split="train") | {"num_people": 19, "desired_speed_m_s": 1.6}
    for width in (0.7, 1.4):
        crowd.reset(2, attributes | {"width_m": width})
        act = crowd.policy("join", np.random.default_rng(0))
        for _ in range(64):
            crowd.step(act())
        left[width] = 19 - int(people(crowd)[:, 4].sum())
    assert left[1.4] > left[0.7]


@pytest.mark.parametrize("domain", DOMAINS)
def test_captions_are_many(domain: type[Crowd]) -> None:
    crowd = domain()
    crowd.reset(1, draw_attributes(crowd, seed=1, split="train") | {"first_color": "green"})
    captions = crowd.captions()
    assert len(set(captions)) >= 10
    assert sum("green" in caption for caption in captions) >= 5
    with pytest.raises(ValueError, match="no policy"):
        crowd.policy("fly", np.random.default_rng(0))
