import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore
from worldline.interfaces import ActionSpec, Clip

MakeClip = Callable[..., Clip]


@pytest.fixture
def clips(make_clip: MakeClip) -> list[Clip]:
    """Six episodes of three sources; the first and the fourth are unlabelled."""
    return [make_clip(8 + k, seed=k, labelled=k % 3 != 0, source=f"site_{k % 3}", text=f"task {k}" if k else None) for k in range(6)]


def test_episodes_come_back_exactly(tmp_path: Path, clips: list[Clip]) -> None:
    store = EpisodeStore.build(tmp_path / "store", iter(clips))
    assert len(store) == 6
    assert store.num_frames == sum(map(len, clips))
    assert store.frame_size == (16, 24)
    for index, clip in enumerate(clips):
        stored = EpisodeStore.open(tmp_path / "store").episode(index)
        assert (stored.source, stored.text, stored.rate_hz) == (clip.source, clip.text, clip.rate_hz)
        for name in ("frames", "actions", "states", "rewards"):
            expected, found = getattr(clip, name), getattr(stored, name)
            assert (expected is None and found is None) or torch.equal(expected, found), name


def test_episodes_share_memory_with_the_store_and_never_change_the_file(tmp_path: Path, clips: list[Clip]) -> None:
    store = EpisodeStore.build(tmp_path / "store", clips)
    episode = store.episode(2)
    start = store.episodes[2].start
    assert episode.frames.data_ptr() == store.video[start].data_ptr()
    before = (tmp_path / "store" / "frames.bin").read_bytes()
    episode.frames.zero_()
    assert (tmp_path / "store" / "frames.bin").read_bytes() == before


def test_action_bounds_are_given_or_estimated(tmp_path: Path, clips: list[Clip]) -> None:
    given = ActionSpec(low=(-1.0, -1.0), high=(9.0, 99.0), names=("seed", "time"))
    assert EpisodeStore.build(tmp_path / "given", clips, action_spec=given).action_spec == given
    assert EpisodeStore.open(tmp_path / "given").action_spec == given
    estimated = EpisodeStore.build(tmp_path / "estimated", clips).action_spec
    assert estimated is not None
    assert estimated.low[0] < 1
    assert estimated.high[0] > 5
    assert EpisodeStore.build(tmp_path / "unlabelled", [c for c in clips if c.actions is None]).action_spec is None
    with pytest.raises(ValueError, match="action_spec has 1 components, the clips' actions have 2"):
        EpisodeStore.build(tmp_path / "wrong", clips, action_spec=ActionSpec(low=(0.0,), high=(1.0,)))


def test_refused_clips_leave_nothing_behind(tmp_path: Path, make_clip: MakeClip) -> None:
    good = make_clip(8)
    assert good.actions is not None
    bad = {
        "no clips": [],
        "frames of shape": [good, dataclasses.replace(good, frames=good.frames[..., :8])],
        "actions of shape": [good, dataclasses.replace(good, actions=good.actions[:, :1])],
        "NaN or infinity": [dataclasses.replace(good, actions=good.actions / 0)],
        "without frames": [make_clip(0, labelled=False)],
    }
    for reason, clips in bad.items():
        with pytest.raises(ValueError, match=reason):
            EpisodeStore.build(tmp_path / "store", clips)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path, make_clip: MakeClip) -> None:
    def interrupted() -> object:
        yield make_clip(8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EpisodeStore.build(tmp_path / "store", interrupted())  # ty: ignore[invalid-argument-type]
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(tmp_path: Path, clips: list[Clip]) -> None:
    EpisodeStore.build(tmp_path / "store", clips[:1])
    with pytest.raises(FileExistsError, match="open it, remove it"):
        EpisodeStore.build(tmp_path / "store", clips)
    assert len(EpisodeStore.open(tmp_path / "store")) == 1
