"""What each part of the Push-T recipe is worth: one change at a time, at equal operations, on the same episodes and with the same seed.

    python experiments/recipe_ablations.py --out runs/ablations --flops 1e13

Films Push-T (or reads --data, a folder of an earlier run's), trains one tokenizer, and then one world per variant until it has spent
--flops on its dynamics: a variant with fewer tokens sees more frames. Variants of the tokenizer train their own, for as many steps. Each is
measured on held-out episodes, 4 frames of prompt and 16 predicted. `base` is run with two seeds: what lies within their distance says
nothing. Goes on where it was broken off.

Writes OUT/table.json and prints a table; `--variants` names some, `--list` all.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldline.data import EpisodeStore
from worldline.dynamics import Dynamics, ShortcutObjective
from worldline.eval import evaluate_rollouts, imagine, sample_windows
from worldline.eval.tracking import track_block
from worldline.interfaces import ActionSpec, Batch
from worldline.recipes.corpus import Corpus
from worldline.recipes.flops import training_flops_per_frame
from worldline.recipes.push import collect_push, push_by_steps
from worldline.recipes.recipe import Recipe, encode_store, train_tokenizer, train_world, world_config
from worldline.tokenizer import Tokenizer, TokenizerObjective
from worldline.train import train as train_model
from worldline.world import World

NUM_WINDOWS = 128
PROMPT_FRAMES, NUM_FRAMES = 4, 16
_COUNTED_ROWS = 4
_AUXILIARY_WEIGHT = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One change to the recipe."""

    says: str
    change: Callable[[Recipe], Recipe]
    own_tokenizer: bool = False
    seed: int = 0
    auxiliary: Callable[[Tokenizer, ActionSpec], TokenizerObjective] | None = None


class Straightened(TokenizerObjective):
    """Also asks the pooled latents of a video to go straight on: 1 - cosine of one step and the next (Henaff et al., 2019)."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """As the tokenizer's, and `auxiliary`."""
        assert batch.frames is not None
        steps = self.tokenizer.encode(batch.frames).mean(2).diff(dim=1)
        moves = steps.square().mean(-1).sqrt()
        counts = (moves[:, 1:] * moves[:, :-1]).detach()  # what stands still has no direction
        bend = 1 - nn.functional.cosine_similarity(steps[:, 1:], steps[:, :-1], dim=-1)
        return super().loss(batch) | {"auxiliary": (bend * counts).sum() / counts.sum().clamp_min(1e-6)}


class Inverted(TokenizerObjective):
    """Also reads the action off the latents of two frames, as an inverse model would."""

    def __init__(self, tokenizer: Tokenizer, spec: ActionSpec):
        super().__init__(tokenizer)
        self.spec = spec
        pair = 2 * tokenizer.config.num_tokens * tokenizer.config.latent_dim
        self.inverse = nn.Sequential(nn.Linear(pair, 256), nn.GELU(), nn.Linear(256, spec.dim))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """As the tokenizer's, and `auxiliary`."""
        assert batch.frames is not None
        assert batch.actions is not None
        latents = self.tokenizer.encode(batch.frames).flatten(2)
        read = self.inverse(torch.cat([latents[:, :-1], latents[:, 1:]], dim=-1)).float()
        return super().loss(batch) | {"auxiliary": (read - self.spec.normalize(batch.actions[:, :-1].float())).square().mean()}


def _shortcut(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, shortcut=replace(recipe.shortcut, **changes))


def _training(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, dynamics_training=replace(recipe.dynamics_training, **changes))


def _recipe(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, **changes)


def _tokenizer(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, tokenizer=replace(recipe.tokenizer, **changes))


def _in_four_steps(change: Callable[[Recipe], Recipe]) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(change(recipe), sampler=replace(recipe.sampler, num_steps=4))


VARIANTS = {
    "base": Variant(says="the recipe without its late phase", change=lambda recipe: recipe),
    "seed": Variant(says="base, another seed, of the tokenizer too", change=lambda recipe: recipe, own_tokenizer=True, seed=1),
    "adamw": Variant(says="AdamW for all, no Muon", change=_training(muon_learning_rate=None)),
    "no_ema": Variant(says="no average of the weights", change=_training(ema_decay=0.0)),
    "plain_error": Variant(says="errors not weighted by the picture's metric", change=_shortcut(metric_share=0.0)),
    "ramp": Variant(says="Dreamer 4's ramp weight, 0.9 tau + 0.1", change=_shortcut(ramp=0.9)),
    "motion": Variant(says="moving tokens weigh 3 times as much", change=_shortcut(motion_weight=2.0)),
    "clean_past": Variant(says="no noise on the frame before", change=_shortcut(clean_context_share=1.0)),
    "noisy_past": Variant(
        says="noise on every frame before, levels 0.3 to 1", change=_shortcut(clean_context_share=0.0, context_signal=0.3)
    ),
    "forcing": Variant(says="levels from U(0, 1), drawn in 4 steps", change=_in_four_steps(_shortcut(start_share=0.0, mean_share=0.0))),
    "large_steps": Variant(says="large steps from the beginning", change=_shortcut(self_share=0.25, self_after=0)),
    "no_inverse": Variant(says="no inverse-dynamics term", change=_training(loss_weights={"inverse": 0.0, "reward": 0.05})),
    "longer": Variant(says="8 windows of 24 frames, not 16 of 12", change=_recipe(dynamics_batch=(8, 24))),
    "beyond": Variant(says="10 windows of 20 frames, looking back 12", change=_recipe(dynamics_batch=(10, 20), context_frames=12)),
    "small_batch": Variant(says="6 windows of 12 frames", change=_recipe(dynamics_batch=(6, 12))),
    "packed": Variant(says="4 packed tokens per frame", change=_recipe(packing=2)),
    "unrolled_1": Variant(
        says="a quarter of the windows drawn by itself, past taken as given", change=_shortcut(unroll_share=0.25, unroll_gradient=1)
    ),
    "unrolled_4": Variant(says="the same, gradients through 4 frames", change=_shortcut(unroll_share=0.25, unroll_gradient=4)),
    "straight": Variant(
        says="a tokenizer whose pooled latents go straight", change=lambda recipe: recipe, auxiliary=lambda net, _: Straightened(net)
    ),
    "inverse": Variant(says="a tokenizer that knows the action between two frames", change=lambda recipe: recipe, auxiliary=Inverted),
    "tokens_1": Variant(says="1 token of 512 channels", change=_tokenizer(grid=1, latent_dim=512), own_tokenizer=True),
    "tokens_4": Variant(says="4 tokens of 128 channels", change=_tokenizer(grid=2, latent_dim=128), own_tokenizer=True),
    "tokens_64": Variant(says="64 tokens of 8 channels", change=_tokenizer(grid=8, latent_dim=8), own_tokenizer=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="a folder of Push-T episodes, such as RUN/data; filmed if not given")
    parser.add_argument("--episodes", type=int, default=1200)
    parser.add_argument("--flops", type=float, default=1e13, help="of the dynamics' training, per variant")
    parser.add_argument("--tokenizer-steps", type=int, default=1200)
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{name:12} {variant.says}" for name, variant in VARIANTS.items()))
        return
    folder = arguments.data or arguments.out / "data"
    store = collect_push(folder, num_episodes=arguments.episodes, num_frames=40, size=64, seed=1, num_workers=1)
    train, held_out = store.split_by_source(0.1, seed=0)
    path = arguments.out / "table.json"
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in arguments.variants:
        if name not in rows:
            rows[name] = _run(name, train, held_out, arguments)
            path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(_line(name, rows[name]), flush=True)


def _run(name: str, train: EpisodeStore, held_out: EpisodeStore, arguments: argparse.Namespace) -> dict[str, Any]:
    variant = VARIANTS[name]
    recipe = variant.change(push_by_steps(arguments.tokenizer_steps, 1))
    corpus = Corpus.of(train, 1)
    recipe = replace(recipe, dynamics_training=replace(recipe.dynamics_training, steps=_steps(recipe, corpus, arguments.flops)))
    folder = arguments.out / name
    start = None
    if variant.auxiliary is not None:
        start = _with_auxiliary(variant.auxiliary, recipe, corpus, folder)
    elif not variant.own_tokenizer:
        _share_tokenizer(recipe, corpus, arguments.out / "shared", folder)
    world = train_world(recipe, train, folder, start=start, seed=variant.seed)
    windows = sample_windows(held_out, prompt_frames=PROMPT_FRAMES, num_frames=NUM_FRAMES, num_windows=NUM_WINDOWS)
    report, block = evaluate_rollouts(world, windows), track_block(windows, imagine(world, windows))
    return {
        "says": variant.says,
        "tokenizer": world.config.provenance["tokenizer"],
        "dynamics": world.config.provenance["dynamics"],
        "gain_db": report.mean_gain_db,
        "gain_interval_db": report.gain_interval_db,
        "gain_by_frame_db": report.gain_db,
        "shuffled_action_ratio": report.shuffled_action_ratio,
        "block": block.to_dict(),
    }


def _share_tokenizer(recipe: Recipe, corpus: Corpus[EpisodeStore], shared: Path, folder: Path) -> None:
    """One tokenizer and one set of latents for all variants that leave them alone."""
    tokenizer, _ = train_tokenizer(recipe, corpus, shared, num_workers=1, seed=0)
    corpus.mapped(lambda store: encode_store(tokenizer, store, shared / "latents"))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer").exists():
        shutil.copytree(shared / "tokenizer", folder / "tokenizer")
    if not (folder / "latents").exists():
        (folder / "latents").symlink_to((shared / "latents").absolute())


def _with_auxiliary(
    auxiliary: Callable[[Tokenizer, ActionSpec], TokenizerObjective], recipe: Recipe, corpus: Corpus[EpisodeStore], folder: Path
) -> World:
    """A tokenizer that was trained with one more term, before dynamics that know nothing."""
    torch.manual_seed(0)
    config = world_config(recipe, corpus)
    assert config.action_spec is not None
    windows, frames = recipe.tokenizer_batch
    loader = corpus.batches(batch_size=windows, num_frames=frames, seed=0, num_workers=1)
    objective = auxiliary(Tokenizer(recipe.tokenizer), config.action_spec)
    training = replace(recipe.tokenizer_training, loss_weights={"auxiliary": _AUXILIARY_WEIGHT})
    train_model(objective, loader, training, folder / "auxiliary")
    torch.manual_seed(0)
    return World(config, objective.tokenizer, Dynamics(config.dynamics))


def _line(name: str, row: dict[str, Any]) -> str:
    low, high = row["gain_interval_db"]
    block = row["block"]
    px, found = ("none" if (value := block[key][7]) is None else f"{value:.1f}" for key in ("distance_px", "found_share"))
    return (
        f"{name:12} {row['gain_db']:+.2f} dB ({low:+.2f} to {high:+.2f}), frame 16 {row['gain_by_frame_db'][-1]:+.2f}, ratio "
        f"{row['shuffled_action_ratio']:.2f}, block at frame 8 {px} px (found {found}); {row['dynamics']}; {row['says']}"
    )


def _steps(recipe: Recipe, corpus: Corpus[EpisodeStore], flops: float) -> int:
    """As many steps of the dynamics as `flops` pay for, counted on one small batch."""
    config = world_config(recipe, corpus)
    shape = config.dynamics
    metric = torch.eye(shape.latent_dim) if recipe.shortcut.metric_share else None
    objective = ShortcutObjective(Dynamics(shape), recipe.shortcut, config.action_spec, metric=metric)
    windows, frames = recipe.dynamics_batch
    batch = Batch(
        latents=torch.randn(_COUNTED_ROWS, frames, shape.num_tokens, shape.latent_dim),
        actions=torch.zeros(_COUNTED_ROWS, frames, shape.action_dim),
    )
    return round(flops / (training_flops_per_frame(objective, batch) * windows * frames))


if __name__ == "__main__":
    main()
