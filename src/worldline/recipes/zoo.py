"""One world of many kinds of video: what `worldline collect zoo` filmed, or any folder of data sets laid out like it.

    FOLDER/DOMAIN/train, FOLDER/DOMAIN/validation, FOLDER/DOMAIN/ood    each a LeRobotDataset, or 64px/ (or another size) with one in it

Each domain runs at a rate of its own (`FRAME_SKIPS`). The recorded actions between two frames of the world are put side by side, as
elsewhere. Their mean would do for forces and velocities, and their last for targets, but either loses what the policy did in between, and
none is needed: with crafter's 17 components in the zoo the widest action is no wider for it, and planners and `worldline eval` know the
layout.

May import: recipes.*, data, and what a recipe configures; of envs only the list of domains. Refuses to know: what a domain shows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worldline.data import EpisodeStore, action_spec_of, read_lerobot
from worldline.dynamics import SamplerConfig, ShortcutConfig, Size
from worldline.envs.zoo import DOMAINS, load_domain
from worldline.interfaces import ActionSpec
from worldline.recipes.corpus import Corpus
from worldline.recipes.recipe import Recipe
from worldline.scale import read_json, write_whole
from worldline.tokenizer import TokenizerConfig
from worldline.train import TrainConfig

SPLITS = ("train", "validation", "ood")

FRAME_SKIPS: Mapping[str, int] = {
    "push": 2,  # 2.5 Hz: long enough for the disc to arrive where the action sends it
    "two_room": 2,
    "balls": 2,  # 10 Hz, as in PhyWorld
    "occluder": 2,
    "reacher": 3,
    "ball_in_cup": 2,
    "cube": 2,
    "fetch_push": 2,
    "pong": 2,
    "crafter": 1,  # a step is a whole square
    "towers": 3,
    "dominoes": 3,
    "jenga": 3,
    "cloth": 3,
    "soft": 3,
    "pouring": 3,
    "sand": 3,
    "magnifier": 2,
    "mirror": 2,
    "liquid_jelly_snow": 3,
    "ink": 3,
    "smoke": 2,
    "counterflow": 2,
    "bottleneck": 2,
    "painting": 2,
}
"""Recorded frames per frame of the world. So many that something visible happens from frame to frame, and few enough that 20 frames (4 of
prompt, 16 predicted) fit into the zoo's episodes of 64."""

_USUAL_RATE_HZ, _MOST_SKIPPED = 5.0, 3  # of a domain that the table does not know

_TOKENIZER_SHARE = 0.3
_SHORTEST_WINDOW = 3


def zoo(
    *,
    size: Size = "tiny",
    image_size: int = 64,
    minutes: float | None = None,
    steps: tuple[int, int] | None = None,
    label_share: float = 1.0,
) -> Recipe:
    """A world of many domains. `tiny` is for hours on a CPU core or two, `small` and more for a GPU.

    Args:
        size: of the dynamics network; the tokenizer grows with it.
        image_size: side of the square frames, pixels, a multiple of 16.
        minutes: limit of the training time, shared 30 : 70 between tokenizer and dynamics; none if None.
        steps: of the tokenizer and of the dynamics. Runs of equal steps cost equal FLOPs, which a fair specialist needs.
        label_share: see `Recipe`.
    """
    on_processor = size in ("nano", "tiny")
    tokenizer_steps, dynamics_steps = steps or ((8_000, 20_000) if on_processor else (30_000, 100_000))
    training = TrainConfig(
        steps=tokenizer_steps,
        learning_rate=1e-3,
        muon_learning_rate=1e-2,
        warmup_steps=100,
        decay_fraction=0.3,
        sample_every_steps=1000 if on_processor else 5000,
        loss_weights={"inverse": 0.05},
        duration_seconds=None if minutes is None else 60 * minutes * _TOKENIZER_SHARE,
    )
    return Recipe(
        name="zoo",
        size=size,
        tokenizer=TokenizerConfig(
            image_size=image_size,
            grid=image_size // (16 if on_processor else 8),
            latent_dim=64 if on_processor else 32,
            width={"nano": 128, "tiny": 192}.get(size, 384),
            num_layers=2 if on_processor else 4,
            window=1,
            latent_noise=0.05,
            motion_weight=2.0,
        ),
        tokenizer_training=replace(training, loss_weights={}),
        dynamics_training=replace(
            training,
            steps=dynamics_steps,
            learning_rate=2e-3 if on_processor else 1e-3,
            muon_learning_rate=1e-2 if on_processor else 5e-3,
            duration_seconds=None if minutes is None else 60 * minutes * (1 - _TOKENIZER_SHARE),
        ),
        shortcut=ShortcutConfig(metric_share=0.9, self_after=round(0.8 * dynamics_steps)),
        sampler=SamplerConfig(num_steps=1),
        tokenizer_batch=(32, 2) if on_processor else (128, 2),
        dynamics_batch=(10, 20) if on_processor else (64, 20),
        context_frames=16,
        label_share=label_share,
        measured_frames=(4, 16),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Zoo:
    """The data of a zoo: a store per split and domain. `held_out[split][domain]`, for `validation` and `ood`, as far as there are any."""

    train: Corpus[EpisodeStore]
    held_out: Mapping[str, Mapping[str, EpisodeStore]]


def read_zoo(data: Path, folder: Path, *, image_size: int = 64, only: Sequence[str] = (), rate_hz: float | None = None) -> Zoo:
    """Read the data sets of a zoo into stores below `folder`, or open those that are there.

    The bounds of a domain's actions are its simulator's, where that is installed, so that planners can act in it; else the least and the
    largest of its training episodes. They are settled when a store is built.

    Args:
        data: folder of the domains.
        folder: of the stores.
        image_size: side of the square frames, pixels; data sets of that size are taken where there are several.
        only: domains; all that are there if empty.
        rate_hz: frames per second of domains that `FRAME_SKIPS` does not know; about 5 if None.

    Raises:
        FileNotFoundError: if there is no domain with a training set.
        ValueError: if one of `only` is not there, or an episode shows that data sets were exchanged under existing stores.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"{data}: no such folder; film one with `worldline collect zoo --out {data}`")
    found = sorted(path.name for path in data.iterdir() if _data_set(path / "train", image_size) is not None)
    missing = sorted(set(only) - set(found))
    if missing or not found:
        raise FileNotFoundError(
            f"{data} has no {', '.join(missing) or 'domain'} with a training set (DOMAIN/train/meta, or DOMAIN/train/{image_size}px/meta); "
            f"it has {', '.join(found) or 'none'}"
        )
    names = [name for name in found if name in only or not only]
    stores: dict[str, dict[str, EpisodeStore]] = {split: {} for split in SPLITS}
    for name in names:
        for split in SPLITS:
            source = _data_set(data / name / split, image_size)
            if source is not None:
                training_set = _data_set(data / name / "train", image_size)
                assert training_set is not None
                stores[split][name] = _store(name, source, folder / name / split, training_set, image_size)
    skips = {name: FRAME_SKIPS.get(name) or _usual_skip(store, rate_hz) for name, store in stores["train"].items()}
    return Zoo(
        train=Corpus(stores=stores["train"], frame_skips=skips),
        held_out={split: stores[split] for split in SPLITS[1:] if stores[split]},
    )


def fit_windows(recipe: Recipe, corpus: Corpus[EpisodeStore]) -> Recipe:
    """The recipe with training windows for which every domain has an episode, and about as many frames per batch as before.

    The zoo's own episodes of 64 recorded frames are long enough for the recipe as it is. Where a domain has less than 3 frames of the
    world, nothing is changed, and the training says which numbers do not fit.
    """
    rows, frames = recipe.dynamics_batch
    longest = min(
        max((episode.num_frames for episode in store.episodes), default=0) // corpus.frame_skips[name]
        for name, store in corpus.stores.items()
    )
    if not _SHORTEST_WINDOW <= longest < frames:
        return recipe
    context = min(recipe.context_frames or frames, longest)
    return replace(recipe, dynamics_batch=(rows * frames // longest, longest), context_frames=context)


def _data_set(folder: Path, image_size: int) -> Path | None:
    """The LeRobotDataset in a folder: its own, the one of the wanted size, or that of the next larger size."""
    if (folder / "meta" / "info.json").is_file():
        return folder
    sizes = sorted(int(path.name.removesuffix("px")) for path in folder.glob("*px") if path.name.removesuffix("px").isdigit())
    wanted = [size for size in sizes if size >= image_size] + [size for size in reversed(sizes) if size < image_size]
    places = (folder / f"{size}px" for size in wanted)
    return next((place for place in places if (place / "meta" / "info.json").is_file()), None)


def _store(domain: str, source: Path, store: Path, training_set: Path, image_size: int) -> EpisodeStore:
    """The store of a data set; a note beside it says which one it was read from."""
    note = store.with_name(f"{store.name}.json")
    asked = {"source": str(source.absolute()), "image_size": image_size, "info": (source / "meta" / "info.json").read_text("utf-8")}
    if (store / "store.json").is_file():
        if not note.is_file() or read_json(note) != asked:
            raise ValueError(f"{store} was read from another data set than {source}; repeat that one, or give another output folder")
        return EpisodeStore.open(store)
    store.parent.mkdir(parents=True, exist_ok=True)
    write_whole(note, json.dumps(asked, indent=1))
    spec = _bounds(domain, action_spec_of(training_set))
    return EpisodeStore.build(store, read_lerobot(source, size=image_size), action_spec=spec)


def _bounds(domain: str, found: ActionSpec | None) -> ActionSpec | None:
    """The simulator's own bounds, if it can be asked and they hold what was `found` in the data; else these."""
    if found is None or domain not in DOMAINS:
        return found
    try:
        spec = load_domain(domain).action_spec
    except ImportError:
        return found
    if spec is None or spec.dim != found.dim:
        return found
    room = [1e-4 * (high - low) for low, high in zip(spec.low, spec.high, strict=True)]
    holds = all(low - slack <= least for low, least, slack in zip(spec.low, found.low, room, strict=True))
    holds &= all(high + slack >= most for high, most, slack in zip(spec.high, found.high, room, strict=True))
    return spec if holds else found


def _usual_skip(store: EpisodeStore, rate_hz: float | None) -> int:
    rate = store.episodes[0].rate_hz
    return min(_MOST_SKIPPED, max(1, round(rate / (rate_hz or _USUAL_RATE_HZ))))
