"""Push-T: a disc that goes where it is told and shoves a T-shaped block. Data from the real `gym-pusht`, collected on the spot.

May import: recipes.recipe, recipes.by_the_clock, envs, data, what they configure, rich. Refuses to know: how training works.
"""

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from worldline.data import EpisodeStore, concatenate_spec
from worldline.dynamics import SamplerConfig, ShortcutConfig
from worldline.envs.pusht import PolicyName, collect_pusht, pusht_action_spec
from worldline.recipes.by_the_clock import dynamics_training, tokenizer_training
from worldline.recipes.recipe import Recipe
from worldline.tokenizer import TokenizerConfig

FRAME_SKIP = 4
"""Simulator steps of 0.1 s per frame: at 2.5 Hz a step is long enough for the disc to arrive where the action sends it."""

_LATE_SHARE = 0.75  # of the steps
_LATE_STEPS_PER_MINUTE = 143  # about that share of what one core of a server processor comes to


def push(*, tokenizer_minutes: float = 9, dynamics_minutes: float = 14, steps: tuple[int, int] | None = None) -> Recipe:
    """A `nano` world of Push-T at 64 px and 2.5 Hz: 23 minutes on one CPU core, and never more than the minutes given.

    So few minutes go further in a small network. Frames are drawn in one step, as the mean of what may come. Large steps, and windows that
    the network draws itself, are trained late: a network far from trained pays for them (docs/log.md).

    Args:
        tokenizer_minutes: of the tokenizer.
        dynamics_minutes: of the dynamics.
        steps: of the tokenizer and of the dynamics, in place of the minutes: where a core's pace says nothing, as on a GPU.
    """
    late = round(_LATE_STEPS_PER_MINUTE * dynamics_minutes if steps is None else _LATE_SHARE * steps[1])
    recipe = _push(tokenizer_minutes, dynamics_minutes, late)
    return recipe if steps is None else _by_steps(recipe, *steps)


def _by_steps(recipe: Recipe, tokenizer_steps: int, dynamics_steps: int) -> Recipe:
    return replace(
        recipe,
        tokenizer_training=replace(recipe.tokenizer_training, steps=tokenizer_steps, duration_seconds=None),
        dynamics_training=replace(
            recipe.dynamics_training, steps=dynamics_steps, duration_seconds=None, sample_every_steps=max(1000, dynamics_steps // 5)
        ),
    )


def _push(tokenizer_minutes: float, dynamics_minutes: float, late: int) -> Recipe:
    return Recipe(
        name="push",
        size="nano",
        tokenizer=TokenizerConfig(image_size=64, grid=4, latent_dim=32, width=128, num_layers=2, window=2),
        tokenizer_training=tokenizer_training(tokenizer_minutes),
        dynamics_training=dynamics_training(dynamics_minutes, sample_every_steps=1000),
        shortcut=ShortcutConfig(metric_share=0.9, self_after=late, unroll_share=0.25, unroll_after=late),
        sampler=SamplerConfig(num_steps=1),
        tokenizer_batch=(16, 4),
        dynamics_batch=(10, 20),
        context_frames=12,
        measured_frames=(4, 16),
        tracks_agent=True,
    )


def push_by_steps(tokenizer_steps: int, dynamics_steps: int) -> Recipe:
    """The recipe by optimiser steps instead of minutes, without its late phase: for runs that are to be compared at equal cost."""
    recipe = _by_steps(push(), tokenizer_steps, dynamics_steps)
    return replace(
        recipe,
        shortcut=replace(recipe.shortcut, self_share=0.0, unroll_share=0.0, unroll_after=0),
        dynamics_training=replace(recipe.dynamics_training, sample_every_steps=0),
    )


def collect_push(
    folder: Path,
    *,
    num_episodes: int,
    num_frames: int,
    size: int,
    seed: int,
    num_workers: int,
    policy: PolicyName = "mixture",
    frame_skip: int = FRAME_SKIP,
    acts_per_frame: int = 1,
) -> EpisodeStore:
    """Open the Push-T episodes in `folder`, or collect them there first; `policy`, `frame_skip`, `acts_per_frame` as in `collect_pusht`."""
    if (folder / "store.json").is_file():
        return EpisodeStore.open(folder)
    clips = collect_pusht(
        num_episodes,
        num_frames=num_frames,
        size=size,
        seed=seed,
        policy=policy,
        frame_skip=frame_skip,
        acts_per_frame=acts_per_frame,
        num_workers=num_workers,
    )
    shown = track(clips, "filming", total=num_episodes, console=Console(stderr=True))
    return EpisodeStore.build(folder, shown, action_spec=concatenate_spec(pusht_action_spec(), acts_per_frame))
