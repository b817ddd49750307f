import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore, Loader, Mixture
from worldline.interfaces import ActionSpec, BatchSource, Clip

MakeClip = Callable[..., Clip]
BOUNDS = {"arm": ActionSpec(low=(0.0, 0.0), high=(4.0, 20.0)), "car": ActionSpec(low=(0.0,), high=(20.0,)), "film": None}


@pytest.fixture
def loaders(tmp_path: Path, make_clip: MakeClip) -> dict[str, Loader]:
    """Two components at 16 x 24, one at 16 x 12, and video without labels."""
    arm = make_clip(12, seed=1)
    assert arm.actions is not None
    car = Clip(frames=arm.frames[..., :12], rate_hz=5.0, source="car", actions=arm.actions[:, 1:])
    stores = {
        name: EpisodeStore.build(tmp_path / name, [clip], action_spec=BOUNDS[name])
        for name, clip in {"arm": arm, "car": car, "film": make_clip(12, labelled=False)}.items()
    }
    return {name: Loader(store, batch_size=2, num_frames=3) for name, store in stores.items()}


def test_a_batch_is_of_one_data_set_and_says_which(loaders: dict[str, Loader]) -> None:
    mixture = Mixture(loaders, seed=4)
    assert isinstance(mixture, BatchSource)
    for index, batch in enumerate(itertools.islice(mixture, 12)):
        assert batch.frames is not None
        assert batch.dataset == mixture.name_of(index)
        expected = loaders[batch.dataset].batch(index)
        assert expected.frames is not None
        assert torch.equal(batch.frames, expected.frames)
        width = None if batch.actions is None else batch.actions.shape[-1]
        assert width == {"arm": 2, "car": 1, "film": None}[batch.dataset]
    assert mixture.action_specs == BOUNDS
    with pytest.raises(ValueError, match="several action spaces"):
        _ = mixture.action_spec


def test_proportions_hold_over_any_stretch(loaders: dict[str, Loader]) -> None:
    mixture = Mixture(loaders, weights={"arm": 5.0, "car": 3.0, "film": 2.0})
    for start in (0, 137, 100_000):
        counts = Counter(mixture.name_of(index) for index in range(start, start + 100))
        assert all(abs(counts[name] - share) <= 3 for name, share in {"arm": 50, "car": 30, "film": 20}.items()), counts
    equal = Counter(Mixture(loaders).name_of(index) for index in range(300))
    assert all(abs(count - 100) <= 3 for count in equal.values())


def test_shared_actions_are_normalised_by_their_own_bounds(loaders: dict[str, Loader]) -> None:
    mixture = Mixture(loaders, shared_actions=True)
    assert mixture.action_spec == ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0))
    seen = set()
    for index, batch in enumerate(itertools.islice(mixture, 12)):
        assert batch.dataset is not None
        seen.add(batch.dataset)
        own = loaders[batch.dataset].batch(index).actions
        if own is None:
            assert batch.actions is None
            continue
        assert batch.actions is not None
        if batch.dataset == "car":
            assert torch.equal(batch.actions[..., :1], own / 10 - 1)
            assert batch.actions[..., 1:].eq(0).all()
        else:
            assert torch.equal(batch.actions, torch.stack([own[..., 0] / 2 - 1, own[..., 1] / 10 - 1], -1))
    assert seen == set(loaders)


def test_it_resumes_exactly(loaders: dict[str, Loader]) -> None:
    mixture = Mixture(loaders, num_workers=2, seed=1)
    stream = iter(mixture)
    for _ in range(5):
        next(stream)
    saved = json.loads(json.dumps(mixture.state_dict()))
    expected = [next(stream) for _ in range(5)]
    resumed = Mixture(loaders, seed=1)
    resumed.load_state_dict(saved)
    for one, other in zip(expected, itertools.islice(resumed, 5), strict=True):
        assert one.dataset == other.dataset
        assert one.frames is not None
        assert other.frames is not None
        assert torch.equal(one.frames, other.frames)
    with pytest.raises(ValueError, match="weights was"):
        Mixture(loaders, seed=1, weights={"arm": 2, "car": 1, "film": 1}).load_state_dict(saved)


def test_weights_must_name_the_streams(loaders: dict[str, Loader]) -> None:
    for weights in ({"arm": 1.0}, {"arm": 1.0, "car": 0.0, "film": 1.0}):
        with pytest.raises(ValueError, match="give each stream a positive weight"):
            Mixture(loaders, weights=weights)


def test_parts_are_put_together_in_one_batch(tmp_path: Path, make_clip: MakeClip) -> None:
    clips = {"arm": make_clip(12, seed=1), "film": make_clip(12, labelled=False, seed=2)}
    stores = {name: EpisodeStore.build(tmp_path / name, [clip], action_spec=BOUNDS[name]) for name, clip in clips.items()}
    rows = {name: Loader(store, batch_size=2, num_frames=3) for name, store in stores.items()}
    mixture, single = Mixture(rows, shared_actions=True, parts=5, seed=3), Mixture(rows, shared_actions=True, seed=3)
    for index in range(3):
        batch, parts = mixture.batch(index), [single.batch(number) for number in range(5 * index, 5 * index + 5)]
        assert batch.dataset is None
        assert batch.frames is not None
        assert batch.actions is not None
        assert batch.action_mask is not None
        assert torch.equal(batch.frames, torch.cat([part.frames for part in parts if part.frames is not None]))
        for place, part in enumerate(parts):
            rows_of_part = slice(2 * place, 2 * place + 2)
            known = part.actions is not None
            assert batch.action_mask[rows_of_part].all() == known
            expected = part.actions if part.actions is not None else torch.zeros(2, 3, 2)
            assert torch.equal(batch.actions[rows_of_part], expected)
    assert mixture.state_dict()["parts"] == 5
    with pytest.raises(ValueError, match="at least 1"):
        Mixture(rows, parts=0)


def test_parts_need_one_meaning_of_actions(loaders: dict[str, Loader]) -> None:
    with pytest.raises(ValueError, match="several action spaces"):
        Mixture(loaders, parts=2)
