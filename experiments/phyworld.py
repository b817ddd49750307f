"""PhyWorld's protocol (Kang et al., 2024) on a world of balls, beside a baseline of equal size that sees pixels.

    python experiments/phyworld.py --film 12000 --motions uniform --minutes 40 --no-pixels --out runs/uniform    # one law, one world
    worldline collect zoo --domains balls --size 64 --episodes 3000 --out data/zoo
    python experiments/phyworld.py --data data/zoo --size nano --minutes 20 --out runs/phyworld    # all of them in one, through H.264

Trains the recipe `balls` (of a single motion, `one_law`), then the same dynamics network on plain patches of 8 x 8 pixels in place of a
tokenizer's latents (x-prediction, same loss, batches and learning rates) for as many operations as tokenizer and dynamics took together.
Both are measured on validation and out-of-distribution episodes: three frames shown, velocity errors in m/s in and out of distribution, and
their ratio. Goes on where it was broken off.

With --film no codec comes between: H.264 alone moves a ball's place in three frames by more than the bar of 0.02 m/s. Out of distribution
are then radii and speeds, as in the paper; colours and gravity stay usual.

Writes OUT/phyworld.json.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from rich.progress import track
from torch import Tensor, nn

from worldline.data import EpisodeStore, read_lerobot
from worldline.dynamics import Dynamics, ShortcutObjective, dynamics_config
from worldline.envs.record import Split, record
from worldline.envs.zoo import start_domain
from worldline.eval.suites.episodes import Episodes, EvalPlan
from worldline.eval.suites.phyworld import NUM_BALLS, measure_phyworld
from worldline.interfaces import Batch, Clip
from worldline.recipes.balls import balls, one_law
from worldline.recipes.corpus import Corpus
from worldline.recipes.flops import training_flops_per_frame
from worldline.recipes.recipe import Recipe, train_world, world_config
from worldline.recipes.zoo import FRAME_SKIPS, read_zoo
from worldline.recipes.zoo_figures import train_zoo
from worldline.tokenizer import Tokenizer, TokenizerConfig
from worldline.train import train
from worldline.world import World

PATCH = 8
_TRAINING_SEED, _HELD_OUT_SEED = 100_000, 10_000
_UNUSUAL = ("radius_m", "other_radius_m", "speed_m_s", "other_speed_m_s")
_COUNTED_ROWS = 4


class PixelPatches(nn.Module):
    """Stands where a tokenizer stands: patches as they are, each value brought to zero mean and unit variance over the data."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config = config
        self.encoder_position = nn.Parameter(torch.zeros(1), requires_grad=False)  # where the world looks for its device
        self.register_buffer("mean", torch.zeros(config.latent_dim))
        self.register_buffer("scale", torch.ones(config.latent_dim))

    def fit(self, frames: Tensor) -> None:
        """Take mean and deviation from frames (B, T, 3, H, W)."""
        values = self._patches(frames).flatten(0, 2)
        self.mean, self.scale = values.mean(0), values.std(0).clamp_min(1e-2)

    def encode(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, S, 3 P P)."""
        return (self._patches(frames) - self.mean) / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """(..., S, 3 P P) -> (..., 3, H, W)."""
        side, grid = self.config.patch, self.config.grid
        x = (latents * self.scale + self.mean).reshape(-1, grid, grid, 3, side, side).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(*latents.shape[:-2], 3, grid * side, grid * side)

    def _patches(self, frames: Tensor) -> Tensor:
        side, grid = self.config.patch, self.config.grid
        x = frames.reshape(*frames.shape[:2], 3, grid, side, grid, side).permute(0, 1, 3, 5, 2, 4, 6)
        return x.reshape(*frames.shape[:2], grid**2, -1)


class FromPixels(nn.Module):
    """The dynamics' objective on frames, turned into patches on the way."""

    def __init__(self, patches: PixelPatches, objective: ShortcutObjective):
        super().__init__()
        self.patches, self.objective = patches, objective

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """See `ShortcutObjective.loss`."""
        assert batch.frames is not None
        return self.objective.loss(replace(batch, frames=None, latents=self.patches.encode(batch.frames)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of a zoo that has the domain balls")
    source.add_argument("--film", type=int, help="film so many training episodes on the spot, without a codec")
    parser.add_argument("--motions", nargs="+", default=list(NUM_BALLS), choices=list(NUM_BALLS), help="with --film, only these")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="nano", choices=("nano", "tiny", "small"))
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=20.0, help="of the recipe's training")
    parser.add_argument("--windows", type=int, default=200, help="episodes measured, by kind of motion and split")
    parser.add_argument("--no-pixels", action="store_true", help="leave the baseline away")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    size, minutes, folder = arguments.image_size, arguments.minutes, arguments.out / "world_of_latents"
    if arguments.film and len(arguments.motions) == 1:
        recipe = one_law(size=arguments.size, image_size=size, minutes=minutes)
    else:
        recipe = balls(size=arguments.size, image_size=size, minutes=minutes, steps=(1_000_000, 1_000_000))
        recipe = replace(recipe, shortcut=replace(recipe.shortcut, self_share=0.0))  # sampled in one step
    if arguments.film:
        corpus = Corpus.of(_film_training(arguments), 1)
        clips = [clip for split in ("validation", "ood") for clip in _film(split, arguments.windows, _HELD_OUT_SEED, arguments)]
        world = train_world(recipe, corpus, folder, seed=arguments.seed)
    else:
        data = read_zoo(arguments.data, arguments.out / "data", image_size=size, only=("balls",))
        corpus = data.train
        clips = [clip for split in ("validation", "ood") for clip in read_lerobot(_data_set(arguments, split))]
        world = train_zoo(recipe, data, folder, seed=arguments.seed)[0].with_action_space("balls")
    flops = str(world.config.provenance["training FLOPs"])
    rows = {"latents": _measure(world, clips, arguments) | {"training FLOPs": flops}}
    if not arguments.no_pixels:
        pixels, spent = _pixels(recipe, corpus, float(flops), arguments)
        rows["pixels"] = _measure(pixels, clips, arguments) | {"training FLOPs": f"{spent:.3g}"}
    (arguments.out / "phyworld.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for name in rows["latents"]:
        print(name, *(f"{kind}: {row.get(name)}" for kind, row in rows.items()), sep="  ")


def _pixels(recipe: Recipe, corpus: Corpus[EpisodeStore], flops: float, arguments: argparse.Namespace) -> tuple[World, float]:
    """The baseline, and the operations that it spent."""
    shape = replace(recipe.tokenizer, grid=arguments.image_size // PATCH, latent_dim=3 * PATCH**2, window=1)
    of_pixels = replace(recipe, tokenizer=shape, shortcut=replace(recipe.shortcut, metric_share=0.0))
    config = replace(world_config(of_pixels, corpus), detail_tolerance=0.0)
    windows, frames = recipe.dynamics_batch
    torch.manual_seed(arguments.seed)
    dynamics = Dynamics(
        dynamics_config(
            arguments.size,
            num_tokens=shape.num_tokens,
            latent_dim=shape.latent_dim,
            action_dim=config.dynamics.action_dim,
            context_frames=frames,
            max_steps=recipe.max_steps,
        )
    )
    patches = PixelPatches(shape)
    loader = corpus.batches(batch_size=windows, num_frames=frames, seed=arguments.seed)
    first = loader.batch(0)
    assert first.frames is not None
    patches.fit(first.frames)
    objective = FromPixels(patches, ShortcutObjective(dynamics, of_pixels.shortcut, loader.action_spec))
    counted = replace(first, frames=first.frames[:_COUNTED_ROWS], actions=None, action_mask=None, rewards=None, reward_mask=None)
    per_step = training_flops_per_frame(objective, counted) * windows * frames
    steps = round(flops / per_step)
    training = replace(recipe.dynamics_training, steps=steps, duration_seconds=None, sample_every_steps=0)
    train(objective, loader, training, arguments.out / "dynamics_of_pixels")
    world = World(replace(config, dynamics=dynamics.config), cast(Tokenizer, patches), dynamics)
    return world.with_action_space("balls") if config.action_spaces else world, steps * per_step


def _film_training(arguments: argparse.Namespace) -> EpisodeStore:
    """The training episodes at the world's rate, filmed once into OUT/data."""
    folder, skip = arguments.out / "data", FRAME_SKIPS["balls"]
    if (folder / "store.json").is_file():
        return EpisodeStore.open(folder)
    clips = track(_film("train", arguments.film, arguments.seed + _TRAINING_SEED, arguments), "filming", total=arguments.film)
    kept = (replace(clip, frames=clip.frames[::skip], states=None, labels={}, rate_hz=clip.rate_hz / skip) for clip in clips)
    return EpisodeStore.build(folder, kept)


def _film(split: Split, count: int, first: int, arguments: argparse.Namespace) -> Iterator[Clip]:
    """Episodes of the motions that are asked for, one after the other of each."""
    simulator = start_domain("balls")
    unusual = _UNUSUAL if split == "ood" else ()
    for seed in range(first, first + count * (len(arguments.motions) if split != "train" else 1)):
        fixed = {"motion": arguments.motions[seed % len(arguments.motions)]}
        yield from record(simulator, seed=seed, split=split, sizes=(arguments.image_size,), unusual=unusual, fixed=fixed)


def _measure(world: World, clips: Sequence[Clip], arguments: argparse.Namespace) -> dict[str, Any]:
    suite = measure_phyworld(world, Episodes(clips, world), EvalPlan(num_windows=arguments.windows, num_seeds=1))
    found: dict[str, Any] = {}
    for figure in suite.figures:
        low, high = figure.interval or (float("nan"), float("nan"))
        floors = ", ".join(f"{name} {value:.3f}" for name, value in figure.floors.items())
        found[figure.name] = f"{figure.value:.4f} ({low:.4f} to {high:.4f}; {floors})"
    return found | dict(suite.not_measured)


def _data_set(arguments: argparse.Namespace, split: str) -> Path:
    folder = arguments.data / "balls" / split
    sized = folder / f"{arguments.image_size}px"
    return sized if sized.is_dir() else folder


if __name__ == "__main__":
    main()
