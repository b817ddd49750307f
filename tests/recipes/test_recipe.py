"""A recipe becomes a world: it learns, it is saved, it resumes to the bit wherever it was stopped."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldline.data import EpisodeStore
from worldline.eval import evaluate_rollouts, sample_windows
from worldline.recipes import Recipe, TrainingInterruptedError, encode_store, train_world, watch_rollouts
from worldline.world import World


@pytest.fixture
def short(dot_recipe) -> Recipe:
    return dot_recipe(tokenizer_steps=12, dynamics_steps=22, sample_every_steps=2)


def test_a_nano_world_learns_a_dot_that_does_as_told(dot_recipe, make_dot_store, tmp_path):
    """Trained and measured on the same few episodes: everything from pixels to rollouts has to work for this to come out."""
    store = make_dot_store(6, num_frames=16)
    recipe = dot_recipe(tokenizer_steps=150, dynamics_steps=200, sample_every_steps=200)
    recipe = replace(recipe, tokenizer_batch=(16, 2), dynamics_batch=(8, 6))
    watch = watch_rollouts(store, prompt_frames=2, num_frames=4, num_windows=8)
    world = train_world(recipe, store, tmp_path / "run", watch=watch)
    report = evaluate_rollouts(world, sample_windows(store, prompt_frames=2, num_frames=4, num_windows=64))
    assert min(report.gain_db) > 0
    assert report.gain_interval_db[0] > 0.5
    assert report.shuffled_action_ratio is not None
    assert report.shuffled_action_interval is not None
    assert report.shuffled_action_ratio > 1.15
    assert report.shuffled_action_interval[0] > 1
    assert [path.suffix for path in (tmp_path / "run" / "samples").iterdir()] == [".mp4"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "dynamics" / "metrics.jsonl").read_text().splitlines()]
    logged = {name for row in rows for name in row}
    assert any("rollout_gain_db" in name for name in logged)
    assert any("shuffled_action_ratio" in name for name in logged)

    assert World.load(tmp_path / "run" / "world").fingerprint() == world.fingerprint()
    assert world.config.rate_hz == 5.0
    assert world.config.provenance["training frames"] == store.num_frames
    assert world.config.dynamics.context_frames == 6
    again = train_world(recipe, store, tmp_path / "run")
    assert again.fingerprint() == world.fingerprint(), "a finished run returns at once"


class FragileStore(EpisodeStore):
    """Fails once when it has been read a number of times, as a disk does that is pulled out."""

    reads_left = 1 << 60

    @property
    def video(self) -> Tensor:
        type(self).reads_left -= 1
        if type(self).reads_left == 0:
            raise OSError("the disk is gone")
        return super().video


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_run_that_is_stopped_ten_times_ends_in_the_same_weights(short, dot_store, tmp_path, num_workers):
    """The bar: bit-identical weights, with 1 and 2 workers. Crashes hit the tokenizer, SIGTERM the dynamics."""
    unbroken = train_world(short, dot_store, tmp_path / "unbroken", num_workers=1)
    stops = set(range(2, 22, 2))
    num_crashes = num_stops = 0

    def stop(world: World, folder: Path, step: int) -> dict[str, float]:
        if step in stops:
            stops.remove(step)
            signal.raise_signal(signal.SIGTERM)
        return {}

    FragileStore.reads_left = 9
    world = None
    while world is None:
        store = FragileStore.open(tmp_path / "dots")
        try:
            world = train_world(short, store, tmp_path / "broken", watch=stop, num_workers=num_workers)
        except OSError:
            num_crashes += 1
        except TrainingInterruptedError:
            num_stops += 1
    assert (num_crashes, num_stops) == (1, 10)
    assert world.fingerprint() == unbroken.fingerprint()


def test_another_seed_gives_another_world(dot_recipe, dot_store, tmp_path):
    recipe = dot_recipe(tokenizer_steps=2, dynamics_steps=2)
    fingerprints = {train_world(recipe, dot_store, tmp_path / str(seed), seed=seed).fingerprint() for seed in (0, 1)}
    assert len(fingerprints) == 2


def test_frame_skip_puts_actions_side_by_side(dot_recipe, dot_store, tmp_path):
    recipe = replace(dot_recipe(tokenizer_steps=2, dynamics_steps=2), frame_skip=2)
    world = train_world(recipe, dot_store, tmp_path / "run")
    assert world.action_spec is not None
    assert (world.action_spec.dim, world.config.rate_hz) == (4, 2.5)


def test_unlabelled_video_gives_a_world_without_actions(dot_recipe, make_dot_store, tmp_path):
    world = train_world(dot_recipe(tokenizer_steps=2, dynamics_steps=2), make_dot_store(4, labelled=False), tmp_path / "run")
    assert world.action_spec is None
    assert world.config.dynamics.action_dim == 0


def test_latents_are_cached_under_the_weights_that_made_them(dot_recipe, dot_store, tmp_path):
    tokenizer = World(train_world(dot_recipe(tokenizer_steps=2, dynamics_steps=2), dot_store, tmp_path / "run").config).tokenizer
    latents = encode_store(tokenizer, dot_store, tmp_path / "latents")
    assert latents.latent_shape == (4, 8)
    with torch.no_grad():
        expected = tokenizer.encode(dot_store.episode(0).frames[None] / 255)[0]
    torch.testing.assert_close(latents.rows("latents", latents.episodes[0]), expected.half(), rtol=1e-2, atol=1e-2)
    encode_store(tokenizer, dot_store, tmp_path / "latents")
    assert len(list((tmp_path / "latents").iterdir())) == 1
    with torch.no_grad():
        tokenizer.to_latent.weight.add_(0.1)
    encode_store(tokenizer, dot_store, tmp_path / "latents")
    assert len(list((tmp_path / "latents").iterdir())) == 2


def test_averaged_weights_have_statistics_of_their_own(dot_recipe, dot_store, tmp_path):
    """Latents over the training set, masked as in training or not, are about normalised; a run of an older version keeps what it had."""
    recipe = dot_recipe(tokenizer_steps=30, dynamics_steps=2)
    recipe = replace(recipe, tokenizer=replace(recipe.tokenizer, max_mask=0.0))
    world = train_world(recipe, dot_store, tmp_path / "run")
    frames = dot_store.video[:].float().unsqueeze(0) / 255
    with torch.no_grad():
        latents = world.tokenizer.encode(frames).flatten(0, 2)
    assert latents.mean(0).abs().max() < 0.15
    assert (latents.std(0) - 1).abs().max() < 0.15
    path = tmp_path / "run" / "tokenizer" / "statistics.json"
    assert set(json.loads(path.read_text())) == {"running_mean", "running_var", "num_batches_tracked"}
    assert train_world(recipe, dot_store, tmp_path / "run").fingerprint() == world.fingerprint()
    (tmp_path / "old" / "dynamics").mkdir(parents=True)
    train_world(recipe, dot_store, tmp_path / "old")
    assert not (tmp_path / "old" / "tokenizer" / "statistics.json").exists()
