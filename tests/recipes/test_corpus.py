"""Several stores in one batch, and labels that are kept for a share of the episodes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore, Loader
from worldline.interfaces import ActionSpec, Clip
from worldline.recipes.corpus import Corpus, with_label_share

WIDE = ActionSpec(low=(0.0, 0.0), high=(10.0, 4.0), names=("x", "y"))
NARROW = ActionSpec(low=(-2.0,), high=(2.0,))


def clips(brightness: int, spec: ActionSpec | None, *, count: int = 3, num_frames: int = 12, rate_hz: float = 10.0) -> Iterator[Clip]:
    """Frames of one brightness; the action says the number of its frame, as a share of the bounds."""
    for index in range(count):
        share = torch.linspace(-1, 1, num_frames)
        actions = None if spec is None else spec.denormalize(share[:, None].expand(-1, spec.dim))
        frames = torch.full((num_frames, 3, 4, 4), brightness, dtype=torch.uint8)
        yield Clip(frames=frames, rate_hz=rate_hz, source=f"{brightness}/{index}", actions=actions)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus[EpisodeStore]:
    given = {"wide": (51, WIDE), "narrow": (102, NARROW), "film": (204, None)}
    stores = {name: EpisodeStore.build(tmp_path / name, clips(shade, spec), action_spec=spec) for name, (shade, spec) in given.items()}
    return Corpus(stores=stores, frame_skips={"wide": 1, "narrow": 3, "film": 2})


def test_every_batch_mixes_all_stores_evenly(corpus: Corpus[EpisodeStore]) -> None:
    loader = corpus.batches(batch_size=9, num_frames=4, seed=2)
    assert loader.action_spec == ActionSpec(low=(-1.0,) * 3, high=(1.0,) * 3)
    for index in range(4):
        batch = loader.batch(index)
        assert batch.frames is not None
        assert batch.actions is not None
        assert batch.action_mask is not None
        shades = (batch.frames[:, 0, 0, 0, 0] * 255).round().int().tolist()
        assert all(shades.count(shade) in (2, 3, 4) for shade in (51, 102, 204))
        for row, shade in enumerate(shades):
            actions, known = batch.actions[row], bool(batch.action_mask[row].all())
            assert known == (shade != 204)
            if shade == 51:  # one action per frame, as two equal shares of its bounds; filled up with zeros
                assert torch.allclose(actions[:, 0], actions[:, 1])
                assert torch.allclose(actions[1:, 0] - actions[:-1, 0], torch.tensor(2 / 11), atol=1e-5)
                assert actions[:, 2].eq(0).all()
            elif shade == 102:  # three recorded actions side by side
                assert torch.allclose(actions.flatten().diff(), torch.tensor(2 / 11), atol=1e-5)
            else:
                assert actions.eq(0).all()


@pytest.mark.parametrize("alone", [True, False])
def test_half_of_the_windows_are_labelled_where_few_episodes_are(tmp_path: Path, alone: bool) -> None:
    store = with_label_share(EpisodeStore.build(tmp_path / "many", clips(51, WIDE, count=20), action_spec=WIDE), 0.1)
    film = EpisodeStore.build(tmp_path / "film", clips(204, None), action_spec=None)
    stores = {"many": store} if alone else {"many": store, "film": film}
    loader = Corpus(stores=stores, frame_skips=dict.fromkeys(stores, 1)).batches(batch_size=200, num_frames=4)
    batch = loader.batch(0)
    assert batch.frames is not None
    assert batch.action_mask is not None
    known = batch.action_mask.all(1)[batch.frames[:, 0, 0, 0, 0] < 0.5]
    assert 0.35 < float(known.double().mean()) < 0.65
    assert not bool(batch.action_mask[batch.frames[:, 0, 0, 0, 0] > 0.5].any())


def test_one_store_is_read_as_it_always_was(corpus: Corpus[EpisodeStore]) -> None:
    alone = Corpus.of(corpus.stores["narrow"], 3).batches(batch_size=5, num_frames=3, seed=1)
    expected = Loader(corpus.stores["narrow"], batch_size=5, num_frames=3, frame_skip=3, seed=1)
    assert alone.state_dict() == expected.state_dict()
    assert alone.action_spec == expected.action_spec


def test_each_store_has_its_own_actions_and_rate(corpus: Corpus[EpisodeStore]) -> None:
    assert corpus.action_specs["wide"] == WIDE
    assert corpus.action_specs["narrow"] == ActionSpec(low=NARROW.low * 3, high=NARROW.high * 3)
    assert corpus.action_specs["film"] is None
    assert corpus.rates_hz == {"wide": 10.0, "narrow": pytest.approx(10 / 3), "film": 5.0}
    assert corpus.num_frames == 3 * 3 * 12


def test_names_must_agree(corpus: Corpus[EpisodeStore]) -> None:
    with pytest.raises(ValueError, match="name the same ones"):
        Corpus(stores=corpus.stores, frame_skips={"wide": 1})


def test_shares_say_how_often_a_store_is_drawn(corpus: Corpus[EpisodeStore]) -> None:
    batch = replace(corpus, shares={"film": 4.0}).batches(batch_size=120, num_frames=2).batch(0)
    assert batch.frames is not None
    shades = (batch.frames[:, 0, 0, 0, 0] * 255).round().int().tolist()
    assert abs(shades.count(204) - 80) <= 3
    assert abs(shades.count(51) - 20) <= 3
    assert replace(corpus, shares={"film": 4.0}).mapped(lambda store: store).shares == {"film": 4.0}


@pytest.mark.parametrize(("shares", "says"), [({"cloth": 2.0}, "there is film, narrow, wide"), ({"film": 0.0}, "positive")])
def test_shares_are_positive_and_of_stores_that_are_there(corpus: Corpus[EpisodeStore], shares: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(corpus, shares=shares)


def kept(store: EpisodeStore) -> set[str]:
    return {episode.source for episode in store.episodes if "actions" in episode.labels}


@pytest.mark.parametrize(("share", "count"), [(1.0, 40), (0.1, 4), (0.03, 1), (0.001, 1), (0.0, 0)])
def test_a_share_of_the_episodes_keeps_its_labels(tmp_path: Path, share: float, count: int) -> None:
    store = EpisodeStore.build(tmp_path / "store", clips(9, NARROW, count=40), action_spec=NARROW)
    some = with_label_share(store, share)
    assert len(kept(some)) == count
    assert kept(some) == kept(with_label_share(store, share))
    assert some.action_spec == NARROW
    assert some.num_frames == store.num_frames
    assert (some.fingerprint == store.fingerprint) == (count == 40)


def test_a_smaller_share_is_part_of_a_larger_one_and_seeds_differ(tmp_path: Path) -> None:
    store = EpisodeStore.build(tmp_path / "store", clips(9, NARROW, count=40), action_spec=NARROW)
    few, more = with_label_share(store, 0.1), with_label_share(store, 0.3)
    assert kept(few) < kept(more) < kept(store)
    assert few.fingerprint != more.fingerprint
    assert kept(few) != kept(with_label_share(store, 0.1, seed=1))


def test_a_hidden_action_is_masked_in_the_batch(tmp_path: Path) -> None:
    store = EpisodeStore.build(tmp_path / "store", clips(9, NARROW, count=10), action_spec=NARROW)
    batch = Loader(with_label_share(store, 0.5), batch_size=64, num_frames=2).batch(0)
    assert batch.action_mask is not None
    assert 0.2 < batch.action_mask.float().mean() < 0.8
    assert Loader(with_label_share(store, 0.0), batch_size=4, num_frames=2).batch(0).actions is None


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_a_share(tmp_path: Path, share: float, make_dot_store: Callable[..., EpisodeStore]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        with_label_share(make_dot_store(2), share)


def test_rates_that_differ_by_less_than_a_hundredth_are_one(tmp_path: Path) -> None:
    def films(*rates: float) -> Iterator[Clip]:
        for index, rate_hz in enumerate(rates):
            yield from (replace(clip, source=f"{index}/{clip.source}") for clip in clips(9, None, count=1, rate_hz=rate_hz))

    alike = EpisodeStore.build(tmp_path / "alike", films(30.0, 29.97, 29.97))
    assert Corpus.of(alike, 6).rates_hz == {"": pytest.approx(29.97 / 6)}
    apart = EpisodeStore.build(tmp_path / "apart", films(30.0, 25.0))
    assert Corpus.of(apart, 6).rates_hz == {"": None}
