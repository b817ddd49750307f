"""What a recipe is, and how it becomes a world: train the tokenizer, cache the latents, train the dynamics, save.

Every stage resumes; running the same command again goes on where it was, and a finished stage returns at once.

May import: everything below cli. Refuses to know: where the videos come from (that is each recipe's own file).
"""

import dataclasses
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from worldline.data import EpisodeStore, LatentStore, cache_latents
from worldline.dynamics import Dynamics, SamplerConfig, ShortcutConfig, ShortcutObjective, Size, dynamics_config
from worldline.interfaces import Batch
from worldline.recipes.corpus import Corpus, with_label_share
from worldline.recipes.flops import training_flops_per_frame
from worldline.recipes.pseudo_labels import PseudoLabels, infer_labels
from worldline.recipes.start import begin, flops_of, tokenizer_cost, tokenizer_of
from worldline.scale import read_json, write_whole
from worldline.tokenizer import Tokenizer, TokenizerConfig, TokenizerObjective, pixel_metric, settled
from worldline.train import TrainConfig, TrainReport, to_device, train
from worldline.world import ActionSpace, World, WorldConfig

_COUNTED_ROWS = 4  # of a batch that operations are counted on; they are in proportion to its rows
_METRIC_FRAMES = 64
_SETTLING_BATCHES = 32
_ENCODED_AT_ONCE = 64  # episodes, on a GPU
_FURTHER_RATE = 0.3  # of a tokenizer's rates, when it is trained on

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
        dynamics_batch: (windows, frames) per step.
        context_frames: how far the world looks back; as far as `dynamics_batch` has frames if None. Shorter, and the later frames of a
            window are trained under a full past, as those of a long rollout are drawn.
        max_steps: finest number of sampling steps, k_max.
        packing: patches along a side of a token of the dynamics, see `DynamicsConfig`.
        num_layers: blocks of the dynamics; those of the size, or of the world to start from, if None. More than that world has, and the
            further ones have no effect until they are trained.
        frame_skip: recorded frames per frame of the world; the actions in between are put side by side. Of a single store: a `Corpus`
            brings its own.
        label_share: share of the episodes that keep their action labels; to the others they are unknown.
        infers_labels: where a part of a store's episodes has labels, infer the others' from the frames (`recipes.pseudo_labels`) if that
            part teaches how; unknown actions are the null action.
        measured_frames: (prompt, predicted) frames that the finished world is measured on; a third and two thirds of a training window if
            None.
        tracks_agent: also measure where Push-T's agent and block are in the imagined frames.
        new_dynamics: of a world to start from, take the tokenizer alone; the dynamics begin with weights of their own, in the size and
            packing that the recipe says.
        trains_tokenizer: of a world to start from, train the tokenizer further before the dynamics, for what it has not seen yet; it
            stays as it is otherwise.
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
    context_frames: int | None = None
    max_steps: int = 8
    packing: int = 1
    num_layers: int | None = None
    frame_skip: int = 1
    label_share: float = 1.0
    infers_labels: bool = True
    measured_frames: tuple[int, int] | None = None
    tracks_agent: bool = False
    new_dynamics: bool = False
    trains_tokenizer: bool = False

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
    recipe: Recipe,
    store: EpisodeStore | Corpus[EpisodeStore],
    folder: Path | str,
    *,
    start: World | None = None,
    watch: Watch | None = None,
    num_workers: int = 1,
    seed: int = 0,
) -> World:
    """Train a world on the episodes of `store` and save it in `folder/world`.

    On a GPU if there is one. The world's card says what it cost: frames, operations, minutes, hardware.

    Args:
        recipe: how.
        store: training episodes; hold yours out first, with `EpisodeStore.split_by_source`. Or several stores, each with a frame skip of
            its own; the world then has an action space for each (`World.with_action_space`).
        folder: holds `tokenizer/`, `latents/`, `dynamics/` and in the end `world/`.
        start: a trained world to go on from. Its tokenizer is kept as it is, unless the recipe says `trains_tokenizer`, and the dynamics
            begin with its weights and packing, and with further blocks if the recipe asks for more `num_layers`; those of the actions
            begin anew if its actions have other components, and all of them if the recipe says `new_dynamics`.
        watch: called with the averaged world, the folder for samples, and the step, whenever the dynamics are sampled; returns figures for
            the log.
        num_workers: threads that prepare batches.
        seed: of the initial weights, of the order of the data, and of which episodes keep their labels.

    Raises:
        TrainingInterruptedError: after SIGTERM or Ctrl-C; nothing is lost.
        ValueError: if `start` is of another shape than the recipe asks for.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = store if isinstance(store, Corpus) else Corpus.of(store, recipe.frame_skip)
    before = 0.0 if start is None else flops_of(start, anew=recipe.new_dynamics)
    if start is not None:
        recipe = _going_on(recipe, start)
    recipe = _as_deep(recipe)
    if start is None or recipe.trains_tokenizer:
        tokenizer, further = train_tokenizer(recipe, corpus, folder, num_workers, seed, start=start)
    else:
        tokenizer, further = tokenizer_of(start), None
    latents, inferred = labelled_latents(recipe, tokenizer, corpus, folder, seed)
    torch.manual_seed(seed)
    config = world_config(recipe, corpus)
    dynamics = Dynamics(config.dynamics)
    begun = {} if start is None else begin(dynamics, start, config, anew=recipe.new_dynamics)
    batch_size, num_frames = recipe.dynamics_batch
    loader = latents.batches(batch_size=batch_size, num_frames=num_frames, seed=seed, num_workers=num_workers)
    objective = ShortcutObjective(dynamics, recipe.shortcut, loader.action_spec, metric=metric_of(recipe, tokenizer, latents, seed))

    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        assert watch is not None
        return watch(World(config, tokenizer, dynamics), folder / "samples", step)

    report = train(objective, loader, recipe.dynamics_training, folder / "dynamics", evaluate=evaluate if watch else None)
    raise_if_interrupted(report)
    cost = _cost(report, objective, latents.batches(batch_size=_COUNTED_ROWS, num_frames=num_frames, seed=seed).batch(0))
    provenance = {
        "recipe": recipe.name,
        "size": recipe.size,
        "blocks": config.dynamics.num_layers,
        "training frames": corpus.num_frames,
        "tokenizer": str(further) if start is None else tokenizer_cost(start, str(further) if further else None),
        "dynamics": str(cost),
        "peak learning rates of the dynamics": _rates(recipe.dynamics_training),
        "training FLOPs": f"{before + (further.flops if further else 0.0) + cost.flops:.3g}",
        "hardware": _hardware(),
        "seed": seed,
        **begun,
    }
    if corpus.shares:
        provenance["shares of the windows, where not 1"] = dict(corpus.shares)
    if recipe.label_share < 1:
        provenance["share of episodes with action labels"] = recipe.label_share
    for name, report in inferred.items():
        provenance[f"inferred action labels{f' of {name}' if name else ''}"] = str(report)
    world = World(dataclasses.replace(config, provenance=provenance), tokenizer, dynamics)
    world.save_pretrained(folder / "world")
    return world


def _going_on(recipe: Recipe, start: World) -> Recipe:
    """The recipe in the shape of `start`, and the minutes of a tokenizer that stays given to the dynamics, whose late phases move along."""
    theirs = start.config.dynamics
    recipe = dataclasses.replace(recipe, tokenizer=start.config.tokenizer)
    if not recipe.new_dynamics:
        recipe = dataclasses.replace(recipe, packing=theirs.packing, num_layers=recipe.num_layers or theirs.num_layers)
    first, second = recipe.tokenizer_training.duration_seconds, recipe.dynamics_training.duration_seconds
    if first is None or second is None or recipe.trains_tokenizer:
        return recipe
    longer = (first + second) / second
    training = dataclasses.replace(recipe.dynamics_training, duration_seconds=first + second)
    return dataclasses.replace(recipe, dynamics_training=training, shortcut=_late_phases(recipe.shortcut, longer))


def _as_deep(recipe: Recipe) -> Recipe:
    """The recipe with late phases that begin sooner where minutes hold fewer steps, because there are more blocks than its size has."""
    own = dynamics_config(recipe.size, num_tokens=1, latent_dim=1, action_dim=0).num_layers
    if recipe.num_layers in (None, own) or recipe.dynamics_training.duration_seconds is None:
        return recipe
    return dataclasses.replace(recipe, shortcut=_late_phases(recipe.shortcut, own / recipe.num_layers))


def _late_phases(shortcut: ShortcutConfig, factor: float) -> ShortcutConfig:
    """They begin after `factor` times as many updates."""
    after = {name: round(factor * getattr(shortcut, name)) for name in ("self_after", "unroll_after")}
    return dataclasses.replace(shortcut, **after)


def labelled_latents(
    recipe: Recipe, tokenizer: Tokenizer, corpus: Corpus[EpisodeStore], folder: Path, seed: int
) -> tuple[Corpus[LatentStore], dict[str, PseudoLabels]]:
    """The latents of each store with the labels that the dynamics train on, and by name what was inferred where only a part was known."""
    stores: dict[str, LatentStore] = {}
    reports: dict[str, PseudoLabels] = {}
    for name, store in corpus.stores.items():
        stores[name] = with_label_share(encode_store(tokenizer, store, folder / "latents"), recipe.label_share, seed=seed)
        if recipe.infers_labels:
            skip, device = corpus.frame_skips[name], tokenizer.encoder_position.device
            stores[name], report = infer_labels(store, stores[name], folder / "labels", frame_skip=skip, device=device, seed=seed)
            if report is not None:
                reports[name] = report
    return corpus.holding(stores), reports


def metric_of(recipe: Recipe, tokenizer: Tokenizer, latents: Corpus[LatentStore], seed: int) -> torch.Tensor | None:
    """What an error of the dynamics does to the picture, if the recipe weighs errors by it."""
    if not recipe.shortcut.metric_share:
        return None
    sample = latents.batches(batch_size=_METRIC_FRAMES, num_frames=1, seed=seed).batch(0).latents
    assert sample is not None
    return pixel_metric(tokenizer, sample[:, 0].to(tokenizer.encoder_position), seed=seed).cpu()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a part of the training came to: frames seen, operations forward and backward, and minutes."""

    num_frames: int
    flops: float
    minutes: float

    def __str__(self) -> str:
        return f"{self.num_frames:,} frames seen, {self.flops:.3g} FLOPs, {self.minutes:.1f} min"


def _cost(report: TrainReport, objective: torch.nn.Module, batch: Batch) -> Cost:
    """What a finished training came to. The dynamics' loss costs more once large steps are trained, so it is counted before and after."""
    device = next(objective.parameters()).device
    batch = to_device(batch, device)
    late = training_flops_per_frame(objective, batch)
    per_frame = late
    if isinstance(objective, ShortcutObjective):
        updates = objective.updates.clone()
        objective.updates.zero_()
        early = training_flops_per_frame(objective, batch)
        objective.updates.copy_(updates)
        share = min(1.0, objective.config.self_after / max(report.step, 1))
        per_frame = share * early + (1 - share) * late
    return Cost(num_frames=report.num_frames, flops=per_frame * report.num_frames, minutes=report.elapsed_seconds / 60)


def world_config(recipe: Recipe, corpus: Corpus[EpisodeStore]) -> WorldConfig:
    """Everything about the world but its weights, and what is known of it only in the end."""
    specs, rates = corpus.action_specs, corpus.rates_hz
    alone = next(iter(specs)) if len(specs) == 1 else None
    return WorldConfig(
        tokenizer=recipe.tokenizer,
        dynamics=dynamics_config(
            recipe.size,
            num_tokens=recipe.tokenizer.num_tokens,
            latent_dim=recipe.tokenizer.latent_dim,
            action_dim=max((spec.dim for spec in specs.values() if spec is not None), default=0),
            context_frames=recipe.context_frames or recipe.dynamics_batch[1],
            max_steps=recipe.max_steps,
            packing=recipe.packing,
            num_layers=recipe.num_layers,
        ),
        sampler=recipe.sampler,
        rate_hz=None if alone is None else rates[alone],
        action_spec=None if alone is None else specs[alone],
        action_spaces={name: ActionSpace(spec=specs[name], rate_hz=rates[name]) for name in specs if name},
    )


def encode_store(tokenizer: Tokenizer, store: EpisodeStore, folder: Path) -> LatentStore:
    """The latents of every episode of `store`, cached on disk under the tokenizer's weights."""
    world_key = World.digest(tokenizer)
    device = tokenizer.encoder_position.device
    tokenizer.eval()
    return cache_latents(
        store,
        lambda frames: tokenizer.encode(frames.to(device)),
        key=world_key,
        folder=folder,
        chunk_frames=256,
        context_frames=tokenizer.config.window - 1,
        episodes_at_once=_ENCODED_AT_ONCE if device.type == "cuda" else 1,
    )


def train_tokenizer(
    recipe: Recipe, corpus: Corpus[EpisodeStore], folder: Path, num_workers: int, seed: int, *, start: World | None = None
) -> tuple[Tokenizer, Cost]:
    """Train the tokenizer of `recipe` in `folder/tokenizer`; returns it, and what that cost.

    With a world to start from, its tokenizer is trained further, at a part of the recipe's rates, so that what the dynamics know of its
    latents stays worth something.

    Raises:
        TrainingInterruptedError: after SIGTERM or Ctrl-C; nothing is lost.
    """
    torch.manual_seed(seed)
    tokenizer, training = Tokenizer(recipe.tokenizer), recipe.tokenizer_training
    if start is not None:
        tokenizer.load_state_dict(start.tokenizer.state_dict())
        training = training.at_rates(_FURTHER_RATE)
    batch_size, num_frames = recipe.tokenizer_batch
    loader = corpus.batches(batch_size=batch_size, num_frames=num_frames, seed=seed, num_workers=num_workers)
    held = corpus.batches(batch_size=64, num_frames=num_frames, seed=seed + 1).batch(0).frames
    assert held is not None
    others = corpus.batches(batch_size=batch_size, num_frames=num_frames, seed=seed + 2)

    def with_statistics() -> Tokenizer:
        device = tokenizer.encoder_position.device
        return settled(tokenizer, (to_device(others.batch(index), device) for index in range(_SETTLING_BATCHES)), seed=seed)

    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        frames = held.to(tokenizer.encoder_position.device)
        with torch.no_grad():
            error = (with_statistics().reconstruct(frames) - frames).square().mean()
        return {"reconstruction_psnr_db": -10 * float(error.log10())}

    objective = TokenizerObjective(tokenizer)
    report = train(objective, loader, training, folder / "tokenizer", evaluate=evaluate)
    raise_if_interrupted(report)
    path = folder / "tokenizer" / "statistics.json"
    if not path.is_file() and not (folder / "dynamics").is_dir():  # dynamics of an older version know the latents as they were
        found = {name: buffer.tolist() for name, buffer in with_statistics().normalize.named_buffers()}
        write_whole(path, json.dumps(found))
    if path.is_file():
        tokenizer.normalize.load_state_dict({name: torch.tensor(value) for name, value in read_json(path).items()})
    return tokenizer, _cost(report, objective, Batch(frames=held[:_COUNTED_ROWS]))


def _rates(training: TrainConfig) -> str:
    muon = training.muon_learning_rate
    return f"{training.learning_rate:g} (AdamW)" + ("" if muon is None else f", {muon:g} (Muon)")


def _hardware() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def raise_if_interrupted(report: TrainReport) -> None:
    """Raise TrainingInterruptedError if a training was asked to stop."""
    if report.interrupted:
        raise TrainingInterruptedError(f"stopped at step {report.step:,}, saved; run the same command again to go on")
