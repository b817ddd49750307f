"""Every domain that is installed keeps the contract of `Simulator`: the same checks for all, run on each."""

import re
import warnings

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from worldline.envs.gym import SimulatorEnv
from worldline.envs.record import draw_attributes, record, replay
from worldline.envs.simulator import Simulator
from worldline.envs.zoo import DOMAINS, load_domain, start_domain

SLOW = {"smoke": "long for a frame", "crafter": "long to make a world"}


def num_frames(simulator: Simulator) -> int:
    return 4 if simulator.name in SLOW else 8


@pytest.fixture(scope="module", params=list(DOMAINS))
def simulator(request: pytest.FixtureRequest) -> Simulator:
    try:
        return start_domain(request.param)
    except ImportError as error:
        pytest.skip(str(error))


def test_it_says_what_it_is(simulator: Simulator) -> None:
    assert DOMAINS[simulator.name].extra == simulator.extra
    assert simulator.rate_hz > 0
    for names in (simulator.state_names, simulator.event_names, simulator.policy_names):
        assert names
        assert len(set(names)) == len(names)
    kinds = {attribute.kind for attribute in simulator.attributes}
    assert {"appearance"} <= kinds
    assert any(attribute.unusual is not None for attribute in simulator.attributes)
    assert simulator.action_spec is None or (simulator.action_spec.names and "random" in simulator.policy_names)


def test_usual_and_unusual_attributes_do_not_meet(simulator: Simulator) -> None:
    for attribute in simulator.attributes:
        if attribute.unusual is None:
            continue
        usual, unusual = ([attribute.draw(np.random.default_rng(i), unusual=odd) for i in range(50)] for odd in (False, True))
        assert not set(usual) & set(unusual), attribute.name


def test_an_attribute_can_be_given(simulator: Simulator) -> None:
    drawn = draw_attributes(simulator, seed=5, split="train")
    others = [(attribute.name, attribute.draw(np.random.default_rng(1))) for attribute in simulator.attributes]
    name, value = next((name, value) for name, value in others if value != drawn[name])
    assert draw_attributes(simulator, seed=5, split="train", fixed={name: value}) == drawn | {name: value}
    (clip,) = record(simulator, seed=5, num_frames=2, sizes=(32,), fixed={name: value})
    assert clip.facts[f"attribute.{name}"] == value
    with pytest.raises(ValueError, match="no attribute size_of_moon; it has .*" + name):
        record(simulator, seed=5, num_frames=2, fixed={"size_of_moon": 1.0})


def test_an_episode_is_a_function_of_its_number(simulator: Simulator) -> None:
    first = record(simulator, seed=3, num_frames=num_frames(simulator), sizes=(32, 48))
    record(simulator, seed=4, split="ood", num_frames=3, sizes=(32,))
    (second,) = record(type(simulator)(), seed=3, num_frames=num_frames(simulator), sizes=(32,))
    assert torch.equal(first[0].frames, second.frames)
    assert first[0].facts == second.facts
    for name in first[0].labels:
        assert torch.equal(first[0].labels[name], second.labels[name]), name
    assert first[0].states is not None
    assert second.states is not None
    assert torch.equal(first[0].states, second.states)
    assert first[1].frames.shape[-1] == 48


def test_a_replay_is_the_same_episode_and_a_changed_one_is_not(simulator: Simulator) -> None:
    (clip,) = record(simulator, seed=5, num_frames=num_frames(simulator), sizes=(32,))
    again = replay(simulator, clip)
    assert torch.equal(again.frames, clip.frames)
    assert again.facts == clip.facts
    appearance = next(attribute for attribute in simulator.attributes if attribute.kind == "appearance")
    values = (appearance.draw(np.random.default_rng(index)) for index in range(50))
    other = next(value for value in values if value != clip.facts[f"attribute.{appearance.name}"])
    changed = replay(simulator, clip, **{appearance.name: other})
    assert not torch.equal(changed.frames, clip.frames)
    assert changed.states is not None
    assert clip.states is not None
    assert torch.equal(changed.states, clip.states), "an appearance changes the picture only"


def test_what_an_episode_says(simulator: Simulator) -> None:
    spec = simulator.action_spec
    for policy in simulator.policy_names:
        (clip,) = record(simulator, seed=1, split="ood", policy=policy, num_frames=num_frames(simulator), sizes=(32,))
        captions = str(clip.facts["captions"]).split("\n")
        assert len(set(captions)) >= 10
        assert clip.text == captions[0]
        assert all(caption.strip() == caption and caption and "None" not in caption for caption in captions)
        assert not [caption for caption in captions if re.search(r"\b[Aa] [aeio]", caption)], "an orange, not a orange"
        assert set(clip.labels) == {f"event.{name}" for name in simulator.event_names}
        assert not any(label[0] for label in clip.labels.values())
        assert clip.frames.float().std() > 5, "the picture shows nothing"
        assert (clip.actions is None) == (spec is None)
        if spec is not None:
            assert clip.actions is not None
            assert torch.equal(spec.clamp(clip.actions), clip.actions)


def test_rendering_changes_nothing(simulator: Simulator) -> None:
    simulator.reset(11, draw_attributes(simulator, seed=11, split="train"))
    before = simulator.state().copy()
    large, small = simulator.render(96).copy(), simulator.render(32).copy()
    assert np.array_equal(simulator.render(96), large)
    assert np.array_equal(simulator.render(32), small)
    assert np.array_equal(simulator.state(), before)


def test_gymnasium_accepts_it(simulator: Simulator) -> None:
    if simulator.name in SLOW:
        pytest.skip(f"{simulator.name} takes {SLOW[simulator.name]}, and the environment is the same for all domains")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*For Box action spaces, we recommend.*")
        warnings.filterwarnings("ignore", message=".*Box action space.*")
        check_env(SimulatorEnv(simulator, size=32), skip_render_check=True)


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of push"):
        load_domain("atlantis")
