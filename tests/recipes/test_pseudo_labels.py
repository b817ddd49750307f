"""Labels for all from labels of a few: true ones stay, hidden ones are never looked at, and what was not learnt stays unknown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldline.data import EpisodeStore, LatentStore, Loader, cache_latents
from worldline.recipes import Recipe, pseudo_labels, train_world
from worldline.recipes.corpus import Corpus, with_label_share
from worldline.recipes.inverse_model import InverseConfig
from worldline.recipes.pseudo_labels import infer_labels

QUICK = InverseConfig(num_points=4, steps=150, num_frames=8, noise=0.0, learning_rate=1e-2, dropout=0.0)
HASTY = replace(QUICK, steps=1)


def latents_of(store: EpisodeStore, folder: Path) -> LatentStore:
    return cache_latents(store, lambda frames: frames.mean(-1).transpose(2, 3), key="mean", folder=folder, progress=False)


def labelled(store: LatentStore) -> list[int]:
    return [index for index, episode in enumerate(store.episodes) if "actions" in episode.labels]


@pytest.fixture
def stores(make_dot_store: Callable[..., EpisodeStore], tmp_path: Path) -> tuple[EpisodeStore, LatentStore]:
    """A view of most of 40 episodes, so that rows of frames and of latents differ; a quarter of them keep their labels."""
    train, _ = make_dot_store(40).split_by_source(0.1)
    return train, with_label_share(latents_of(train, tmp_path / "latents"), 0.25)


def test_the_others_get_what_was_hidden(stores: tuple[EpisodeStore, LatentStore], tmp_path: Path) -> None:
    store, some = stores
    known = labelled(some)
    filled, report = infer_labels(store, some, tmp_path / "labels", config=QUICK)
    assert report is not None
    assert (report.num_known, report.num_inferred, report.reason) == (len(known), len(store) - len(known), "")
    assert labelled(filled) == list(range(len(store)))
    assert filled.fingerprint not in (some.fingerprint, store.fingerprint)
    errors, spread, num_unknown = [], [], 0
    for index, episode in enumerate(filled.episodes):
        true, found = store.rows("actions", store.episodes[index]), filled.rows("actions", episode)
        assert true is not None
        assert found is not None
        if index in known:
            assert torch.equal(found, true), "true labels stay"
            continue
        assert found[-1].isnan().all(), "nothing shows what the last frame led to"
        sure = found.isfinite().all(-1)
        num_unknown += int((~sure[:-1]).sum())
        errors.append((found - true)[sure])
        spread.append(true[sure])
    explained = 1 - float(torch.cat(errors).square().mean() / torch.cat(spread).var())
    assert explained > 0.6
    assert report.explained is not None
    assert abs(report.explained - explained) < 0.25, "what the card says of unseen labels is so"
    assert report.left_out == pytest.approx(num_unknown / (13 * report.num_inferred))
    assert f"R2 {report.explained:.3f}" in str(report)


def test_hidden_labels_are_not_looked_at(stores: tuple[EpisodeStore, LatentStore], tmp_path: Path) -> None:
    store, some = stores
    blind = LatentStore(some.folder, some.episodes, dict(some.arrays), some.action_spec, some.fingerprint)
    actions = torch.full_like(some.arrays["actions"], 1e9)
    for index in labelled(some):
        rows = some.rows("actions", some.episodes[index])
        assert rows is not None
        actions[some.episodes[index].start :][: len(rows)] = rows
    blind.arrays["actions"] = actions
    eyeless = EpisodeStore(
        store.folder, store.episodes, store.arrays | {"actions": torch.full_like(store.arrays["actions"], 1e9)}, None, ""
    )
    config = replace(QUICK, steps=2)
    pseudo_labels_of = [
        infer_labels(*given, tmp_path / str(number), config=config)[1] for number, given in enumerate(((store, some), (eyeless, blind)))
    ]
    assert pseudo_labels_of[0] == pseudo_labels_of[1]


def test_a_second_call_reads_what_the_first_wrote(
    stores: tuple[EpisodeStore, LatentStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, some = stores
    monkeypatch.setattr(pseudo_labels, "MIN_EXPLAINED", -1e9)
    first, report = infer_labels(store, some, tmp_path / "labels", config=HASTY)
    monkeypatch.setattr(pseudo_labels, "fit_inverse_model", None)
    again, read = infer_labels(store, some, tmp_path / "labels", config=HASTY)
    assert read == report
    assert again.fingerprint == first.fingerprint
    assert torch.equal(again.arrays["actions"].nan_to_num(7), first.arrays["actions"].nan_to_num(7))
    with pytest.raises(TypeError):
        infer_labels(store, some, tmp_path / "labels", config=HASTY, seed=1)


def test_guesses_that_are_no_good_are_not_trained_on(stores: tuple[EpisodeStore, LatentStore], tmp_path: Path) -> None:
    store, some = stores
    same, report = infer_labels(store, some, tmp_path / "labels", config=HASTY)
    assert same is some
    assert report is not None
    assert report.num_inferred == 0
    assert "of unseen actions, less than 0.5" in str(report)


def test_frames_that_the_models_disagree_about_stay_unknown(
    stores: tuple[EpisodeStore, LatentStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, some = stores
    monkeypatch.setattr(pseudo_labels, "MIN_EXPLAINED", -1e9)
    monkeypatch.setattr(pseudo_labels, "MAX_DISAGREEMENT", 0.0)
    filled, report = infer_labels(store, some, tmp_path / "labels", config=HASTY)
    assert report is not None
    assert report.left_out == 1
    batch = Loader(filled, batch_size=64, num_frames=3).batch(0)
    expected = Loader(some, batch_size=64, num_frames=3).batch(0)
    assert torch.equal(present(batch.action_mask), present(expected.action_mask))
    assert torch.equal(present(batch.actions)[present(batch.action_mask)], present(expected.actions)[present(expected.action_mask)])


def present(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


@pytest.mark.parametrize(
    ("share", "report"), [(1.0, None), (0.0, None), (0.03, "none: 13 known actions, fewer than 100, teach too little")]
)
def test_with_all_labels_or_none_or_too_few_nothing_changes(
    make_dot_store: Callable[..., EpisodeStore], tmp_path: Path, share: float, report: str | None
) -> None:
    store = make_dot_store(40)
    some = with_label_share(latents_of(store, tmp_path / "latents"), share)
    same, found = infer_labels(store, some, tmp_path / "labels", config=HASTY)
    assert same is some
    assert (None if found is None else str(found)) == report


def test_one_long_episode_is_enough(make_dot_store: Callable[..., EpisodeStore], tmp_path: Path) -> None:
    """It is cut into parts; each is guessed by a model of the others."""
    store = make_dot_store(3, num_frames=120)
    some = with_label_share(latents_of(store, tmp_path / "latents"), 0.01)
    assert len(labelled(some)) == 1
    filled, report = infer_labels(store, some, tmp_path / "labels", config=QUICK)
    assert report is not None
    assert (report.num_known, report.num_inferred) == (1, 2)
    assert labelled(filled) == [0, 1, 2]


def test_other_episodes_than_those_of_the_latents_are_refused(stores: tuple[EpisodeStore, LatentStore], tmp_path: Path) -> None:
    store, some = stores
    with pytest.raises(ValueError, match="different episodes"):
        infer_labels(store.split_by_source(0.5)[0], some, tmp_path / "labels")


@pytest.mark.parametrize("infers", [True, False])
def test_a_world_of_a_few_labels_says_where_the_others_are_from(
    dot_recipe: Callable[..., Recipe],
    make_dot_store: Callable[..., EpisodeStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    infers: bool,
) -> None:
    monkeypatch.setattr(pseudo_labels, "InverseConfig", lambda: HASTY)
    monkeypatch.setattr(pseudo_labels, "MIN_EXPLAINED", -1e9)
    recipe = replace(dot_recipe(tokenizer_steps=2, dynamics_steps=2), label_share=0.25, infers_labels=infers)
    world = train_world(recipe, make_dot_store(40), tmp_path / "run")
    said = world.config.provenance.get("inferred action labels")
    assert said is None if not infers else str(said).startswith("of 30 episodes, by inverse models of the 10 with labels; R2 ")
    assert (tmp_path / "run" / "labels").exists() == infers


def test_a_run_with_all_labels_is_what_it_was(
    dot_recipe: Callable[..., Recipe], make_dot_store: Callable[..., EpisodeStore], tmp_path: Path
) -> None:
    store = make_dot_store(8)
    recipe = dot_recipe(tokenizer_steps=2, dynamics_steps=2)
    worlds = [train_world(replace(recipe, infers_labels=infers), Corpus.of(store, 1), tmp_path / str(infers)) for infers in (True, False)]
    assert worlds[0].fingerprint() == worlds[1].fingerprint()
    assert "inferred action labels" not in worlds[0].config.provenance
