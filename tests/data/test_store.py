from collections.abc import Callable
from pathlib import Path

import pytest

from worldline.data import EpisodeStore, LatentStore
from worldline.interfaces import Clip


@pytest.fixture
def store(tmp_path: Path, make_clip: Callable[..., Clip]) -> EpisodeStore:
    """Twenty episodes of ten sources."""
    return EpisodeStore.build(tmp_path / "store", [make_clip(6, seed=k, source=f"site_{k % 10}") for k in range(20)])


@pytest.mark.parametrize(("fraction", "count"), [(0.2, 2), (0.01, 1), (0.99, 9)])
def test_a_split_shares_no_source(store: EpisodeStore, fraction: float, count: int) -> None:
    train, held_out = store.split_by_source(fraction)
    assert len(held_out.sources) == count
    assert set(train.sources) | set(held_out.sources) == set(store.sources)
    assert not set(train.sources) & set(held_out.sources)
    assert len(train) + len(held_out) == len(store)
    assert {held_out.episode(index).source for index in range(len(held_out))} == set(held_out.sources)


def test_the_draw_depends_on_the_seed_only(store: EpisodeStore) -> None:
    draws = [store.split_by_source(0.3, seed=seed)[1].sources for seed in range(8)]
    assert draws == [store.split_by_source(0.3, seed=seed)[1].sources for seed in range(8)]
    assert len(set(draws)) > 1


def test_sources_can_be_named(store: EpisodeStore) -> None:
    assert store.split_by_source("site_3")[1].sources == ("site_3",)
    assert store.split_by_source(["site_3", "site_5"])[1].sources == ("site_3", "site_5")


def test_impossible_splits_say_why(store: EpisodeStore) -> None:
    with pytest.raises(ValueError, match="no source site_99; the sources are site_0"):
        store.split_by_source(["site_99"])
    for held_out in (store.sources, ()):
        with pytest.raises(ValueError, match="leaves one side empty"):
            store.split_by_source(held_out)
    with pytest.raises(ValueError, match="a fraction between 0 and 1"):
        store.split_by_source(1.0)
    only = store.split_by_source("site_3")[1]
    with pytest.raises(ValueError, match="a split needs two or more"):
        only.split_by_source(0.5)


def test_the_fingerprint_follows_content_and_choice(tmp_path: Path, store: EpisodeStore, make_clip: Callable[..., Clip]) -> None:
    assert EpisodeStore.open(tmp_path / "store").fingerprint == store.fingerprint
    train, held_out = store.split_by_source(0.5)
    one = EpisodeStore.build(tmp_path / "one", [make_clip(6, seed=1)])
    other = EpisodeStore.build(tmp_path / "other", [make_clip(6, seed=2)])
    assert len({each.fingerprint for each in (store, train, held_out, one, other)}) == 5


def test_what_is_not_a_whole_store_is_refused(tmp_path: Path, store: EpisodeStore) -> None:
    with pytest.raises(FileNotFoundError, match=r"store\.json is missing"):
        EpisodeStore.open(tmp_path)
    with pytest.raises(ValueError, match="not a store of latents"):
        LatentStore.open(store.folder)
    frames = tmp_path / "store" / "frames.bin"
    frames.write_bytes(frames.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged, build it again"):
        EpisodeStore.open(tmp_path / "store")
