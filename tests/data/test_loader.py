import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore, Loader, cache_latents, concatenate_actions, concatenate_spec, to_float
from worldline.interfaces import ActionSpec, Batch, BatchSource, Clip

MakeClip = Callable[..., Clip]


@pytest.fixture
def store(tmp_path: Path, make_clip: MakeClip) -> EpisodeStore:
    """Five episodes of 3, 10, 11, 12 and 13 frames; the second is unlabelled."""
    lengths = (3, 10, 11, 12, 13)
    return EpisodeStore.build(tmp_path / "store", [make_clip(n, seed=k, labelled=k != 1) for k, n in enumerate(lengths)])


def same(one: Batch, other: Batch) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(Batch)]
    return all((a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def test_windows_carry_the_labels_of_their_frames(store: EpisodeStore) -> None:
    loader = Loader(store, batch_size=16, num_frames=4)
    assert isinstance(loader, BatchSource)
    for batch in itertools.islice(loader, 10):
        assert batch.frames is not None
        assert batch.actions is not None
        assert batch.action_mask is not None
        assert batch.rewards is not None
        assert batch.reward_mask is not None
        assert batch.frames.shape == (16, 4, 3, 16, 24)
        for row in range(16):
            if not batch.action_mask[row].any():
                assert batch.actions[row].eq(0).all()
                assert batch.rewards[row].eq(0).all()
                expected = store.episode(1).frames.unfold(0, 4, 1).movedim(-1, 1)
                assert any(torch.equal(batch.frames[row], to_float(window)) for window in expected)
                continue
            assert batch.action_mask[row].all()
            assert batch.reward_mask[row].all()
            seed, start = int(batch.actions[row, 0, 0]), int(batch.actions[row, 0, 1])
            clip = store.episode(seed)
            assert clip.actions is not None
            assert clip.rewards is not None
            assert torch.equal(batch.frames[row], to_float(clip.frames[start : start + 4]))
            assert torch.equal(batch.actions[row], clip.actions[start : start + 4])
            assert torch.equal(batch.rewards[row], clip.rewards[start : start + 4])


def test_windows_are_uniform_over_all_that_fit(store: EpisodeStore) -> None:
    loader = Loader(store, batch_size=500, num_frames=10)
    assert loader.num_windows == 0 + 1 + 2 + 3 + 4
    counts: Counter[tuple[int, int]] = Counter()
    for batch in itertools.islice(loader, 8):
        assert batch.actions is not None
        counts.update((int(seed), int(start)) for seed, start in batch.actions[:, 0])
    assert set(counts) == {(0, 0)} | {(seed, start) for seed in (2, 3, 4) for start in range(seed)}
    expected = 4000 / 10
    assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values()), counts


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_the_stream_is_the_same_for_any_number_of_workers(store: EpisodeStore, num_workers: int) -> None:
    expected = [Loader(store, batch_size=4, num_frames=3, seed=7).batch(index) for index in range(12)]
    found = itertools.islice(Loader(store, batch_size=4, num_frames=3, seed=7, num_workers=num_workers), 12)
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    other = Loader(store, batch_size=4, num_frames=3, seed=8)
    assert not any(same(expected[index], other.batch(index)) for index in range(12))


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("position", [0, 1, 5])
def test_resume_hands_out_what_would_have_come(store: EpisodeStore, num_workers: int, position: int) -> None:
    loader = Loader(store, batch_size=4, num_frames=3, num_workers=num_workers)
    stream = iter(loader)
    for _ in range(position):
        next(stream)
    saved = json.loads(json.dumps(loader.state_dict()))
    assert saved["next_batch"] == position, "only what was handed out counts, not what was prefetched"
    expected = [next(stream) for _ in range(6)]
    resumed = Loader(store, batch_size=4, num_frames=3, num_workers=2 - num_workers)
    resumed.load_state_dict(saved)
    assert all(same(a, b) for a, b in zip(expected, itertools.islice(resumed, 6), strict=True))
    loader.load_state_dict(saved)  # Also in the middle of iterating: a roll-back after a spike.
    assert all(same(batch, next(stream)) for batch in expected)


def test_a_position_in_another_stream_is_refused(store: EpisodeStore) -> None:
    saved = Loader(store, batch_size=4, num_frames=3).state_dict()
    with pytest.raises(ValueError, match="seed was 0, is 1"):
        Loader(store, batch_size=4, num_frames=3, seed=1).load_state_dict(saved)
    with pytest.raises(ValueError, match="store was"):
        Loader(store.split_by_source(0.5)[0], batch_size=4, num_frames=3).load_state_dict(saved)


def test_global_random_state_is_left_alone(store: EpisodeStore) -> None:
    before = torch.get_rng_state()
    Loader(store, batch_size=4, num_frames=3).batch(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_frame_skip_keeps_all_that_was_done_in_between(store: EpisodeStore) -> None:
    loader = Loader(store, batch_size=32, num_frames=3, frame_skip=3)
    batch = loader.batch(0)
    assert batch.frames is not None
    assert batch.actions is not None
    assert batch.action_mask is not None
    assert batch.rewards is not None
    assert batch.actions.shape == (32, 3, 6)
    assert batch.action_mask.any()
    for row in batch.action_mask.all(1).nonzero().flatten().tolist():
        seed, start = int(batch.actions[row, 0, 0]), int(batch.actions[row, 0, 1])
        times = torch.arange(start, start + 9, dtype=torch.float32)
        assert torch.equal(batch.actions[row, :, 1::2].flatten(), times)
        assert torch.equal(batch.rewards[row], torch.stack([times[0], times[1:4].sum(), times[4:7].sum()]))
        assert torch.equal(batch.frames[row], to_float(store.episode(seed).frames[start : start + 9 : 3]))


def test_concatenated_actions_match_their_bounds() -> None:
    actions = torch.arange(12.0).reshape(1, 6, 2)
    assert concatenate_actions(actions, 3).tolist() == [[[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]]
    spec = concatenate_spec(ActionSpec(low=(0.0, 1.0), high=(2.0, 3.0), names=("x", "y")), 2)
    assert spec == ActionSpec(low=(0.0, 1.0, 0.0, 1.0), high=(2.0, 3.0, 2.0, 3.0), names=("x", "y", "x+1", "y+1"))
    with pytest.raises(ValueError, match="do not divide into groups of 4"):
        concatenate_actions(actions, 4)


def test_latents_load_like_frames(tmp_path: Path, store: EpisodeStore) -> None:
    latents = cache_latents(store, lambda frames: frames.mean(-1).transpose(2, 3), key="mean", folder=tmp_path / "cache", progress=False)
    pixels, features = Loader(store, batch_size=8, num_frames=4).batch(3), Loader(latents, batch_size=8, num_frames=4).batch(3)
    assert features.frames is None
    assert features.latents is not None
    assert pixels.frames is not None
    assert features.latents.shape == (8, 4, 16, 3)
    assert torch.equal(features.latents, pixels.frames.mean(-1).transpose(2, 3).half().float())
    assert same(dataclasses.replace(pixels, frames=None, latents=features.latents), features)


def test_unlabelled_video_gives_no_actions(tmp_path: Path, make_clip: MakeClip) -> None:
    store = EpisodeStore.build(tmp_path / "plain", [make_clip(9, labelled=False)])
    loader = Loader(store, batch_size=2, num_frames=4)
    batch = loader.batch(0)
    assert [batch.actions, batch.action_mask, batch.rewards, batch.reward_mask, loader.action_spec] == [None] * 5


@pytest.mark.parametrize("frame_skip", [1, 2])
def test_a_label_that_is_no_number_is_unknown(store: EpisodeStore, frame_skip: int) -> None:
    holes = EpisodeStore(store.folder, store.episodes, dict(store.arrays), store.action_spec, "with holes")
    actions = store.arrays["actions"].clone()
    actions[::5, 0] = torch.nan
    holes.arrays["actions"] = actions
    given, whole = (Loader(one, batch_size=32, num_frames=4, frame_skip=frame_skip).batch(0) for one in (holes, store))
    assert given.actions is not None
    assert given.action_mask is not None
    assert whole.actions is not None
    assert whole.action_mask is not None
    assert given.actions.isfinite().all()
    assert torch.equal(given.actions[given.action_mask], whole.actions[given.action_mask])
    assert not (given.action_mask & ~whole.action_mask).any()
    lost = float(given.action_mask.sum() / whole.action_mask.sum())
    assert 0.6 / frame_skip < lost < 1 - 0.1 * frame_skip


def test_too_short_episodes_and_bad_numbers_say_what_to_change(store: EpisodeStore) -> None:
    with pytest.raises(ValueError, match=r"7 frames x frame_skip 2 = 14 recorded frames, the longest of 5 episodes has 13"):
        Loader(store, batch_size=2, num_frames=7, frame_skip=2)
    with pytest.raises(ValueError, match="must be at least 1"):
        Loader(store, batch_size=0, num_frames=2)
