"""One world of three domains, from the data sets that a collection leaves to figures of each."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore, read_lerobot, write_lerobot
from worldline.envs.zoo import DOMAINS
from worldline.interfaces import ActionSpec, Clip
from worldline.recipes.balls import balls, data_of_balls, one_law
from worldline.recipes.corpus import Corpus
from worldline.recipes.recipe import world_config
from worldline.recipes.zoo import FRAME_SKIPS, fit_windows, read_zoo, zoo
from worldline.recipes.zoo_figures import train_zoo
from worldline.world import World

SIZE = 16
ACTIONS = {"push": 2, "arm": 1, "balls": 0}
EPISODES = {"train": 3, "validation": 2, "ood": 1}


def dots(domain: str, split: str) -> Iterator[Clip]:
    """A dot that goes from left to right; actions, where there are any, from 0 to 7."""
    dim = ACTIONS[domain]
    for index in range(EPISODES[split]):
        frames = torch.full((24, 3, SIZE, SIZE), 60, dtype=torch.uint8)
        for time in range(24):
            frames[time, :, 4:8, time % 12 : time % 12 + 4] = 230
        actions = (torch.arange(24)[:, None] % 8).float().expand(-1, dim)
        source = f"{domain}/{split}/{index}"
        yield Clip(frames=frames, rate_hz=10.0, source=source, actions=actions if dim else None, facts={"domain": domain, "split": split})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    for domain in ACTIONS:
        for split in EPISODES:
            place = folder / domain / split / "16px" if domain == "push" else folder / domain / split
            place.parent.mkdir(parents=True, exist_ok=True)
            write_lerobot(place, dots(domain, split), robot_type=domain)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of a few steps."""
    out = tmp_path_factory.mktemp("runs") / "zoo"
    recipe = zoo(size="nano", image_size=SIZE, steps=(3, 4))
    recipe = replace(recipe, dynamics_batch=(6, 5), measured_frames=(2, 4))
    train_zoo(recipe, read_zoo(data, out / "data", image_size=SIZE), out)
    return out


def test_windows_are_no_longer_than_episodes(data: Path, run: Path) -> None:
    corpus = read_zoo(data, run / "data", image_size=SIZE).train
    recipe = zoo(size="nano", image_size=SIZE)
    assert recipe.dynamics_batch == (10, 20)
    assert recipe.context_frames == 16
    fitted = fit_windows(recipe, corpus)
    assert (fitted.dynamics_batch, fitted.context_frames) == ((16, 12), 12)  # 24 recorded frames, every other one
    short = replace(recipe, dynamics_batch=(6, 5), context_frames=None)
    assert fit_windows(short, corpus) == short
    none_fits = Corpus(stores=corpus.stores, frame_skips=dict.fromkeys(corpus.frame_skips, 12))
    assert fit_windows(recipe, none_fits) == recipe


def test_every_domain_is_read_with_its_splits_and_rate(data: Path, run: Path) -> None:
    found = read_zoo(data, run / "data", image_size=SIZE)
    assert {name: len(store) for name, store in found.train.stores.items()} == dict.fromkeys(ACTIONS, 3)
    assert {split: len(stores["push"]) for split, stores in found.held_out.items()} == {"validation": 2, "ood": 1}
    assert found.train.frame_skips == {"push": FRAME_SKIPS["push"], "arm": 2, "balls": FRAME_SKIPS["balls"]}  # 10 Hz down to about 5
    names = ("target_x", "target_y", "target_x+1", "target_y+1")
    assert found.train.action_specs["push"] == ActionSpec(low=(0.0,) * 4, high=(512.0,) * 4, names=names)  # the simulator's
    assert found.train.action_specs["arm"] == ActionSpec(low=(0.0,) * 2, high=(7.0,) * 2)  # the data's
    assert found.train.action_specs["balls"] is None


def test_the_world_knows_each_domains_actions(run: Path) -> None:
    world = World.load(run / "world")
    assert world.action_spec is None
    assert world.config.dynamics.action_dim == 4
    assert set(world.config.action_spaces) == set(ACTIONS)
    push = world.with_action_space("push")
    assert push.action_spec is not None
    assert push.action_spec.high == (512.0,) * 4
    assert push.config.rate_hz == 5.0
    assert world.with_action_space("balls").action_spec is None
    with pytest.raises(ValueError, match="it has arm, balls, push"):
        world.with_action_space("chess")


def test_figures_of_each_domain_and_split_are_written(run: Path) -> None:
    figures = json.loads((run / "figures.json").read_text())
    for domain, dim in ACTIONS.items():
        for split in ("validation", "ood"):
            report = figures["domains"][domain][split]
            assert len(report["gain_db"]) == 4
            assert (report["shuffled_action_ratio"] is None) == (dim == 0)
            assert (run / "sheets" / f"{domain}_{split}.png").read_bytes().startswith(b"\x89PNG")
    card = (run / "world" / "README.md").read_text()
    assert "FLOPs" in card
    assert "push, ood" in card
    assert f"{figures['domains']['push']['ood']['mean_gain_db']:+.2f} dB" in card
    assert figures["training"]["training FLOPs"] in card


def test_a_finished_run_returns_its_figures(data: Path, run: Path) -> None:
    weights = (run / "world" / "model.safetensors").read_bytes()
    recipe = replace(zoo(size="nano", image_size=SIZE, steps=(3, 4)), dynamics_batch=(6, 5), measured_frames=(2, 4))
    _, figures = train_zoo(recipe, read_zoo(data, run / "data", image_size=SIZE), run)
    assert figures == json.loads((run / "figures.json").read_text())
    assert (run / "world" / "model.safetensors").read_bytes() == weights


def test_a_specialist_is_of_one_domain_and_has_its_actions_at_once(data: Path, tmp_path: Path) -> None:
    found = read_zoo(data, tmp_path / "data", image_size=SIZE, only=("arm",))
    recipe = replace(zoo(size="nano", image_size=SIZE, steps=(2, 2)), dynamics_batch=(4, 4), measured_frames=(2, 3))
    world, figures = train_zoo(recipe, found, tmp_path)
    assert set(figures["domains"]) == {"arm"}
    assert world.action_spec == world.with_action_space("arm").action_spec == ActionSpec(low=(0.0, 0.0), high=(7.0, 7.0))


def test_stores_of_other_data_are_not_taken_for_these(data: Path, run: Path) -> None:
    with pytest.raises(ValueError, match="read from another data set"):
        read_zoo(data, run / "data", image_size=32)


def test_what_is_not_there_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no cube with a training set"):
        read_zoo(data, tmp_path, only=("cube",))
    with pytest.raises(FileNotFoundError, match="worldline collect zoo"):
        read_zoo(tmp_path / "nowhere", tmp_path)


def test_each_domain_has_a_rate_and_20_frames_fit_into_64() -> None:
    assert DOMAINS.keys() <= FRAME_SKIPS.keys()
    assert all(20 * skip <= 64 for skip in FRAME_SKIPS.values())


def test_equal_steps_and_a_limit_of_time() -> None:
    recipe = zoo(steps=(10, 20), minutes=10)
    assert (recipe.tokenizer_training.steps, recipe.dynamics_training.steps) == (10, 20)
    seconds = [recipe.tokenizer_training.duration_seconds, recipe.dynamics_training.duration_seconds]
    assert sum(value for value in seconds if value is not None) == pytest.approx(600)
    assert zoo(size="small").dynamics_batch[0] > zoo(size="tiny").dynamics_batch[0]


def test_balls_are_the_domain_of_their_own(data: Path, tmp_path: Path) -> None:
    assert balls().measured_frames == (3, 16)
    assert data_of_balls(data) == data
    assert data_of_balls(data / "balls") == data
    with pytest.raises(FileNotFoundError, match="--domains balls"):
        data_of_balls(tmp_path / "nowhere")


def test_one_law_spends_its_minutes_in_few_tokens(data: Path, tmp_path: Path) -> None:
    recipe = one_law(minutes=16)
    seconds = (recipe.tokenizer_training.duration_seconds, recipe.dynamics_training.duration_seconds)
    assert seconds == (pytest.approx(120), pytest.approx(840))
    config = world_config(recipe, Corpus.of(EpisodeStore.build(tmp_path / "store", read_lerobot(data / "balls" / "train")), 2))
    assert config.dynamics.num_packed == 4
    assert config.dynamics.context_frames < recipe.dynamics_batch[1]
