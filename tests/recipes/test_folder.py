from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore, write_lerobot, write_video
from worldline.interfaces import Clip
from worldline.recipes.folder import SourceConfig, folder, frame_skip_of, read_source

RATE_HZ = 10.0


def write_folder(root: Path, names: tuple[str, ...], *, labelled: bool = False, num_frames: int = 20) -> Path:
    for index, name in enumerate(names):
        path = root / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, torch.full((num_frames, 3, 16, 24), 0.1 * index), RATE_HZ)
        if labelled:
            path.with_suffix(".csv").write_text("\n".join(["speed,turn", *(f"{index},{time}" for time in range(num_frames))]))
    return root


@pytest.fixture
def config(tmp_path: Path) -> SourceConfig:
    return SourceConfig(paths=(write_folder(tmp_path / "videos", ("a/one", "a/two", "b/one")),), image_size=16)


def test_a_folder_becomes_a_store_at_the_worlds_rate(config: SourceConfig, tmp_path: Path) -> None:
    store = read_source(config, tmp_path / "out" / "data")
    assert store.sources == ("a/one", "a/two", "b/one")
    assert store.frame_size == (16, 16)
    assert {episode.rate_hz for episode in store.episodes} == {5.0}
    assert store.num_frames == 3 * 10
    assert frame_skip_of(store, 5.0) == 1


def test_whole_folders_can_be_sources(config: SourceConfig, tmp_path: Path) -> None:
    assert read_source(replace(config, one_source_per_folder=True), tmp_path / "data").sources == ("a", "b")


def test_sources_of_several_folders_do_not_mix(config: SourceConfig, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "more", ("a/one",))
    store = read_source(replace(config, paths=(*config.paths, other)), tmp_path / "data")
    assert store.sources == ("more/a/one", "videos/a/one", "videos/a/two", "videos/b/one")


def test_a_store_is_read_once(config: SourceConfig, tmp_path: Path) -> None:
    first = read_source(config, tmp_path / "data")
    (config.paths[0] / "a" / "one.mp4").unlink()
    assert read_source(config, tmp_path / "data").fingerprint == first.fingerprint


@pytest.mark.parametrize("change", [{"image_size": 32}, {"rate_hz": 2.0}, {"fit": "pad"}, {"paths": ()}, {"one_source_per_folder": True}])
def test_a_store_that_was_read_otherwise_is_not_taken(change: dict, config: SourceConfig, tmp_path: Path) -> None:
    read_source(config, tmp_path / "data")
    with pytest.raises(ValueError, match=f"read otherwise: {next(iter(change))} was"):
        read_source(replace(config, **change), tmp_path / "data")


def test_labelled_video_keeps_the_actions_between_frames(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "drives", ("one", "two"), labelled=True)
    config = SourceConfig(paths=(root,), image_size=16, rate_hz=5.0, action_columns=("speed", "turn"))
    store = read_source(config, tmp_path / "data")
    assert {episode.rate_hz for episode in store.episodes} == {RATE_HZ}
    assert frame_skip_of(store, 5.0) == 2
    actions = store.episode(1).actions
    assert actions is not None
    assert torch.equal(actions, torch.tensor([[1.0, time] for time in range(20)]))
    for named in (store, read_source(config, tmp_path / "data")):
        assert named.action_spec is not None
        assert named.action_spec.names == ("speed", "turn")


def test_a_lerobot_dataset_keeps_its_bounds(make_clip: Callable[[str], Clip], tmp_path: Path) -> None:
    root = tmp_path / "robot"
    write_lerobot(root, [make_clip("one"), make_clip("two")])
    store = read_source(SourceConfig(paths=(root,), image_size=16), tmp_path / "data")
    assert store.sources == ("one", "two")
    assert store.action_spec is not None
    assert (store.action_spec.low, store.action_spec.high) == ((0.0, -1.0), (11.0, 1.0))
    assert frame_skip_of(store, 5.0) == 2
    assert frame_skip_of(store, None) == 1


@pytest.fixture
def make_clip() -> Callable[[str], Clip]:
    def make(source: str) -> Clip:
        steps = torch.arange(12.0)
        frames = torch.zeros(12, 3, 16, 16, dtype=torch.uint8)
        return Clip(frames=frames, rate_hz=RATE_HZ, source=source, actions=torch.stack([steps, steps % 3 - 1], 1))

    return make


def test_rates_that_do_not_fit_together_are_refused(make_clip: Callable[[str], Clip], tmp_path: Path) -> None:
    store = EpisodeStore.build(tmp_path / "data", [make_clip("one"), replace(make_clip("two"), rate_hz=30.0)])
    with pytest.raises(ValueError, match=r"\[10.0, 30.0\]"):
        frame_skip_of(store, 5.0)


def test_what_is_no_folder_of_videos_is_refused(config: SourceConfig, tmp_path: Path) -> None:
    store = tmp_path / "data"
    with pytest.raises(FileNotFoundError, match="no videos given"):
        read_source(replace(config, paths=()), store)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_source(replace(config, paths=(tmp_path / "missing",)), store)
    with pytest.raises(ValueError, match="is a file; give the folder"):
        read_source(replace(config, paths=(config.paths[0] / "a" / "one.mp4",)), store)
    assert not store.exists()
    assert len(read_source(config, store)) == 3  # a mended call works


def test_the_recipe_fits_its_videos() -> None:
    recipe = folder(size="nano", image_size=96, frame_skip=3, context_frames=10, minutes=10)
    assert recipe.tokenizer.num_tokens == 36
    assert recipe.dynamics_batch[1] == 10
    assert recipe.frame_skip == 3
    durations = (recipe.tokenizer_training.duration_seconds, recipe.dynamics_training.duration_seconds)
    assert durations == pytest.approx((240, 360))


@pytest.mark.parametrize("wrong", [{"image_size": 50}, {"image_size": 0}, {"context_frames": 2}, {"minutes": 0}])
def test_a_recipe_that_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"give|needs"):
        folder(**wrong)
