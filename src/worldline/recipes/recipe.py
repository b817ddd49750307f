"""What a recipe is, and how it becomes a world: train the tokenizer, cache the latents, train the dynamics, save.

Every stage resumes; running the same command again goes on where it was, and a finished stage returns at once.

May import: everything below cli. Refuses to know: where the videos come from (that is each recipe's own file).
"""

import dataclasses
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from worldline.data import EpisodeStore, LatentStore, Loader, cache_latents, concatenate_spec
from worldline.dynamics import Dynamics, SamplerConfig, ShortcutConfig, ShortcutObjective, Size, dynamics_config
from worldline.interfaces import Batch
from worldline.tokenizer import Tokenizer, TokenizerConfig, TokenizerObjective
from worldline.train import TrainConfig, TrainReport, train
from worldline.world import World, WorldConfig

Watch = Callable[[World, Path, int], dict[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A full, frozen description of a training run. A derived recipe changes two fields with `dataclasses.replace`.

    Attributes:
        name: for folders and cards.
        size: of the dynamics network.
        tokenizer: shape of the tokenizer.
        shortcut: noise levels and terms of the dynamics' loss.
        sampler: how the finished world draws frames.
        tokenizer_training: optimisation of the tokenizer.
        dynamics_training: optimisation of the dynamics.
        tokenizer_batch: (windows, frames) per step.
        dynamics_batch: (windows, frames) per step; its frames are also the world's `context_frames`.
        max_steps: finest number of sampling steps, k_max.
        frame_skip: recorded frames per frame of the world; the actions in between are put side by side.
        measured_frames: (prompt, predicted) frames that the finished world is measured on; a third and two thirds of a training window if
            None.
        tracks_agent: also measure where Push-T's agent is in the imagined frames.
    """

    name: str
    size: Size
    tokenizer: TokenizerConfig
    tokenizer_training: TrainConfig
    dynamics_training: TrainConfig
    shortcut: ShortcutConfig = field(default_factory=ShortcutConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    tokenizer_batch: tuple[int, int] = (16, 4)
    dynamics_batch: tuple[int, int] = (16, 16)
    max_steps: int = 8
    frame_skip: int = 1
    measured_frames: tuple[int, int] | None = None
    tracks_agent: bool = False

    @property
    def prompt_and_future(self) -> tuple[int, int]:
        """Frames of prompt, and predicted frames, that the finished world is measured on."""
        if self.measured_frames is not None:
            return self.measured_frames
        num_frames = self.dynamics_batch[1]
        prompt_frames = max(1, num_frames // 3)
        return prompt_frames, num_frames - prompt_frames


class TrainingInterruptedError(Exception):
    """Training was asked to stop and saved its state; the same command goes on."""


def train_world(
    recipe: Recipe, store: EpisodeStore, folder: Path | str, *, watch: Watch | None = None, num_workers: int = 1, seed: int = 0
) -> World:
    """Train a world on the episodes of `store` and save it in `folder/world`.

    Args:
        recipe: how.
        store: training episodes; hold yours out first, with `EpisodeStore.split_by_source`.
        folder: holds `tokenizer/`, `latents/`, `dynamics/` and in the end `world/`.
        watch: called with the averaged world, the folder for samples, and the step, whenever the dynamics are sampled; returns figures for
            the log.
        num_workers: threads that prepare batches.
        seed: of the initial weights and of the order of the data.

    Raises:
        TrainingInterruptedError: after SIGTERM or Ctrl-C; nothing is lost.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, tokenizer_report = _train_tokenizer(recipe, store, folder, num_workers, seed)
    latents = encode_store(tokenizer, store, folder / "latents")
    spec = None if latents.action_spec is None else concatenate_spec(latents.action_spec, recipe.frame_skip)
    torch.manual_seed(seed)
    config = WorldConfig(
        tokenizer=recipe.tokenizer,
        dynamics=dynamics_config(
            recipe.size,
            num_tokens=recipe.tokenizer.num_tokens,
            latent_dim=recipe.tokenizer.latent_dim,
            action_dim=0 if spec is None else spec.dim,
            context_frames=recipe.dynamics_batch[1],
            max_steps=recipe.max_steps,
        ),
        sampler=recipe.sampler,
        rate_hz=_rate_of(store, recipe.frame_skip),
        action_spec=spec,
    )
    dynamics = Dynamics(config.dynamics)
    batch_size, num_frames = recipe.dynamics_batch
    loader = Loader(latents, batch_size=batch_size, num_frames=num_frames, frame_skip=recipe.frame_skip, seed=seed, num_workers=num_workers)
    objective = ShortcutObjective(dynamics, recipe.shortcut, spec)

    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        assert watch is not None
        averaged = World(config, tokenizer, dynamics)
        return watch(averaged, folder / "samples", step)

    report = train(objective, loader, recipe.dynamics_training, folder / "dynamics", evaluate=evaluate if watch else None)
    _raise_if_interrupted(report)
    provenance = {
        "recipe": recipe.name,
        "size": recipe.size,
        "training frames": store.num_frames,
        "tokenizer": f"{tokenizer_report.num_frames:,} frames seen, {tokenizer_report.elapsed_seconds / 60:.1f} min",
        "dynamics": f"{report.num_frames:,} frames seen, {report.elapsed_seconds / 60:.1f} min",
        "hardware": _hardware(),
        "seed": seed,
    }
    world = World(dataclasses.replace(config, provenance=provenance), tokenizer, dynamics)
    world.save_pretrained(folder / "world")
    return world


def encode_store(tokenizer: Tokenizer, store: EpisodeStore, folder: Path) -> LatentStore:
    """The latents of every episode of `store`, cached on disk under the tokenizer's weights."""
    world_key = World.digest(tokenizer)
    tokenizer.eval()
    return cache_latents(
        store,
        tokenizer.encode,
        key=world_key,
        folder=folder,
        chunk_frames=256,
        context_frames=tokenizer.config.window - 1,
    )


def _train_tokenizer(recipe: Recipe, store: EpisodeStore, folder: Path, num_workers: int, seed: int) -> tuple[Tokenizer, TrainReport]:
    torch.manual_seed(seed)
    tokenizer = Tokenizer(recipe.tokenizer)
    batch_size, num_frames = recipe.tokenizer_batch
    loader = Loader(store, batch_size=batch_size, num_frames=num_frames, frame_skip=recipe.frame_skip, seed=seed, num_workers=num_workers)
    held: Batch = Loader(store, batch_size=64, num_frames=num_frames, frame_skip=recipe.frame_skip, seed=seed + 1).batch(0)

    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        assert held.frames is not None
        with torch.no_grad():
            error = (tokenizer.reconstruct(held.frames) - held.frames).square().mean()
        return {"reconstruction_psnr_db": -10 * float(error.log10())}

    report = train(TokenizerObjective(tokenizer), loader, recipe.tokenizer_training, folder / "tokenizer", evaluate=evaluate)
    _raise_if_interrupted(report)
    return tokenizer, report


def _rate_of(store: EpisodeStore, frame_skip: int) -> float | None:
    rates = {round(episode.rate_hz, 3) for episode in store.episodes}
    return rates.pop() / frame_skip if len(rates) == 1 else None


def _hardware() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def _raise_if_interrupted(report: TrainReport) -> None:
    if report.interrupted:
        raise TrainingInterruptedError(f"stopped at step {report.step:,}, saved; run the same command again to go on")
