"""Real recordings: robot arms without action labels (`droid`) and small cars with steering and throttle (`cars`).

Both expect a folder laid out as described at their reader; nothing is downloaded. May import: recipes.recipe, recipes.by_the_clock, data,
and what they configure. Refuses to know: how training works.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from worldline.data import EpisodeStore, read_folder, read_video
from worldline.dynamics import SamplerConfig, ShortcutConfig
from worldline.interfaces import Clip
from worldline.recipes.by_the_clock import dynamics_training, tokenizer_training
from worldline.recipes.recipe import Recipe
from worldline.tokenizer import TokenizerConfig


def droid(*, tokenizer_minutes: float = 5, dynamics_minutes: float = 7) -> Recipe:
    """A `nano` world of unlabelled robot video at 64 px and 4 Hz; 12 minutes on one CPU core.

    So few minutes go further in a small network. Frames are drawn in one step, which gives the mean of what may come.
    """
    return Recipe(
        name="droid",
        size="nano",
        tokenizer=TokenizerConfig(
            image_size=64,
            grid=4,
            latent_dim=128,
            width=256,
            num_layers=2,
            window=1,
            latent_noise=0.05,
            motion_weight=1.0,
            linear_path=True,
        ),
        tokenizer_training=tokenizer_training(tokenizer_minutes),
        dynamics_training=dynamics_training(dynamics_minutes, sample_every_steps=250),
        shortcut=ShortcutConfig(metric_share=0.9, self_share=0.0),
        sampler=SamplerConfig(num_steps=1),
        tokenizer_batch=(32, 2),
        dynamics_batch=(16, 12),
        measured_frames=(4, 8),
    )


def cars(*, tokenizer_minutes: float = 4, dynamics_minutes: float = 5) -> Recipe:
    """A `nano` world of driving at 64 px and 4 Hz; the 5 recorded commands between two frames are one action of 10 numbers.

    Without the linear path: many channels of fine detail keep the dynamics from learning what moves (docs/log.md).
    """
    recipe = droid(tokenizer_minutes=tokenizer_minutes, dynamics_minutes=dynamics_minutes)
    return replace(recipe, name="cars", frame_skip=5, tokenizer=replace(recipe.tokenizer, latent_dim=64, linear_path=False))


def read_droid(folder: Path, store: Path, *, size: int = 64, rate_hz: float = 4.0, num_phases: int = 2) -> EpisodeStore:
    """Open or build the store of a folder with `clips.csv` (columns `file`, `site`, `instruction`) and `clips/*.mp4`; source: the site.

    Each clip is read `num_phases` times at `rate_hz`, with starts a fraction of a frame apart, so that little of a fast recording is lost.
    """
    if (store / "store.json").is_file():
        return EpisodeStore.open(store)

    def clips() -> Iterator[Clip]:
        with (folder / "clips.csv").open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
        for row in rows:
            for phase in range(num_phases):
                start_seconds = phase / num_phases / rate_hz
                clip = read_video(folder / "clips" / row["file"], size=size, rate_hz=rate_hz, start_seconds=start_seconds)
                yield replace(clip, source=row["site"], text=row["instruction"] or None)

    return EpisodeStore.build(store, clips())


def read_cars(folder: Path, store: Path, *, size: int = 64) -> EpisodeStore:
    """Open or build the store of a folder of places, each with `drive_*.mp4` at 20 Hz beside `drive_*.csv` (`steering`, `throttle`)."""
    if (store / "store.json").is_file():
        return EpisodeStore.open(store)
    clips = read_folder(folder, size=size, action_columns=("steering", "throttle"), source_of=lambda path: path.parent.name)
    return EpisodeStore.build(store, clips)
