"""Training that ends with figures: on videos that were never trained on, beside their floors, in a file and on the world's card.

May import: recipes.recipe, recipes.watch, eval, data, world. Refuses to know: where the videos come from.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldline.data import EpisodeStore
from worldline.eval import evaluate_rollouts, imagine, sample_windows
from worldline.eval.tracking import track_agent, track_block
from worldline.recipes.recipe import Recipe, train_world
from worldline.recipes.watch import watch_rollouts
from worldline.scale import read_json, write_whole
from worldline.world import World

NUM_WINDOWS = 128
_FEWEST_EPISODES = 2


def train_and_measure(
    recipe: Recipe,
    train: EpisodeStore,
    held_out: EpisodeStore,
    folder: Path,
    *,
    start: World | None = None,
    num_workers: int = 1,
    seed: int = 0,
) -> tuple[World, dict[str, Any]]:
    """Train a world, measure its rollouts on `held_out`, and save both: `folder/world` with the figures on its card, `folder/figures.json`.

    `recipe.prompt_and_future` says how many frames are prompt and how many are predicted. A run that was finished and measured
    returns its figures at once.

    Args:
        recipe: how.
        train: episodes to learn from.
        held_out: episodes without a source in common with `train`.
        folder: of the run; holds all that is written.
        start: a trained world to go on from, see `train_world`.
        num_workers: threads that prepare batches.
        seed: of the training.

    Returns:
        The world, and the figures: `held_out` and `training` (sources, frames), `num_parameters`, `fingerprint` of the weights, `rollouts`
        (a `VideoReport` as a dict).

    Raises:
        TrainingInterruptedError: after SIGTERM or Ctrl-C; nothing is lost.
        ValueError: if the folder holds another run, or videos are too short.
    """
    prompt_frames, num_frames = recipe.prompt_and_future
    watch = watch_rollouts(held_out, prompt_frames=prompt_frames, num_frames=num_frames, frame_skip=recipe.frame_skip)
    world = train_world(recipe, train, folder, start=start, watch=watch, num_workers=num_workers, seed=seed)
    path = folder / "figures.json"
    figures = read_json(path) if path.is_file() else {}
    if figures.get("fingerprint") != world.fingerprint():
        windows = sample_windows(
            held_out,
            prompt_frames=prompt_frames,
            num_frames=num_frames,
            num_windows=NUM_WINDOWS,
            frame_skip=recipe.frame_skip,
        )
        figures = {
            "fingerprint": world.fingerprint(),
            "num_parameters": sum(parameter.numel() for parameter in world.parameters()),
            "training": _described(train),
            "held_out": _described(held_out) | {"sources": list(held_out.sources)},
            "rollouts": evaluate_rollouts(world, windows).to_dict(),
        }
        if recipe.tracks_agent:
            imagined = imagine(world, windows)
            figures |= {"agent": track_agent(windows, imagined).to_dict(), "block": track_block(windows, imagined).to_dict()}
        write_whole(path, json.dumps(figures, indent=1))
    world = World(replace(world.config, figures=_card(figures)), world.tokenizer, world.dynamics)
    world.save_pretrained(folder / "world")
    return world, figures


def _described(store: EpisodeStore) -> dict[str, Any]:
    return {"num_sources": len(store.sources), "num_episodes": len(store), "num_frames": store.num_frames}


def interval_in_words(rollouts: Mapping[str, Any], name: str, sign: str = "") -> str:
    """An interval of the report in brackets, with its sign for "+"; or why there is none."""
    if rollouts.get("num_episodes", _FEWEST_EPISODES) < _FEWEST_EPISODES:
        return "(no interval: one held-out episode says nothing of others)"
    low, high = rollouts[name]
    return f"(95 %: {low:{sign}.2f} to {high:{sign}.2f})"


def _card(figures: Mapping[str, Any]) -> dict[str, str]:
    """The figures as the rows of a world's card."""
    rollouts, held_out = figures["rollouts"], figures["held_out"]
    windows = f"{rollouts['num_windows']} windows of {held_out['num_sources']} held-out source(s)"
    rows = {
        "measured on": f"{windows}, {rollouts['prompt_frames']} frames of prompt",
        "PSNR of each predicted frame": _decibels(rollouts["world"]["psnr_db"]),
        "the same of copying the last frame": _decibels(rollouts["floors"]["copy last frame"]["psnr_db"]),
        "mean gain over copying the last frame": f"{rollouts['mean_gain_db']:+.2f} dB "
        + interval_in_words(rollouts, "gain_interval_db", "+"),
    }
    if rollouts["shuffled_action_ratio"] is not None:
        ratio = f"{rollouts['shuffled_action_ratio']:.2f} "
        rows["shuffled-action ratio (1: actions are ignored)"] = ratio + interval_in_words(rollouts, "shuffled_action_interval")
    if "block" in figures:
        block = figures["block"]
        world, copy = (
            ", ".join(
                "not found" if None in (px, deg) else f"{px:.1f} px {deg:.1f}°"
                for px, deg in zip(block[a][3::4], block[b][3::4], strict=True)
            )
            for a, b in (("distance_px", "angle_deg"), ("copy_last_px", "copy_last_deg"))
        )
        rows["block at every fourth frame, median off the truth"] = f"{world} (copying: {copy})"
    return rows


def _decibels(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values) + " dB"
