"""Training a world of many domains, and measuring it on episodes of each that it never saw: figures, a table's worth of JSON, sheets.

May import: recipes.*, data, eval, world. Refuses to know: simulators, the command line.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from worldline.data import EpisodeStore, write_video
from worldline.eval import Windows, evaluate_rollouts, imagine, sample_windows
from worldline.eval.charts import png
from worldline.eval.panels import Panel, draw_panels
from worldline.recipes.recipe import Recipe, Watch, train_world
from worldline.recipes.watch import side_by_side
from worldline.recipes.zoo import Zoo
from worldline.scale import read_json, write_whole
from worldline.world import World

NUM_WINDOWS = 64
_WATCHED_WINDOWS = 8
_SHEET_WINDOWS, _SHEET_HEIGHT = 4, 96
_SHEET_FRAMES = (1, 2, 4, 8, 12, 16)  # predicted frames on a sheet, numbered from 1


def train_zoo(
    recipe: Recipe, zoo: Zoo, folder: Path, *, start: World | None = None, num_workers: int = 1, seed: int = 0
) -> tuple[World, dict[str, Any]]:
    """Train a world on the training sets of `zoo` and measure it on the others; `start` as in `train_world`.

    Writes `folder/world` with the figures on its card, `folder/figures.json`, and `folder/sheets/DOMAIN_SPLIT.png`. A run that was
    finished and measured returns its figures at once.

    Returns:
        The world, and the figures: `fingerprint`, `num_parameters`, `training` (episodes and frames by domain, FLOPs and so on),
        `domains`: domain -> split -> a `VideoReport` as a dict.

    Raises:
        TrainingInterruptedError: after SIGTERM or Ctrl-C; nothing is lost.
        ValueError: if the folder holds another run, or videos are too short.
    """
    world = train_world(recipe, zoo.train, folder, start=start, watch=watch_zoo(recipe, zoo), num_workers=num_workers, seed=seed)
    path = folder / "figures.json"
    figures: dict[str, Any] = read_json(path) if path.is_file() else {}
    if figures.get("fingerprint") != world.fingerprint():
        figures = {
            "fingerprint": world.fingerprint(),
            "num_parameters": sum(parameter.numel() for parameter in world.parameters()),
            "training": {
                **world.config.provenance,
                "domains": {name: {"num_episodes": len(one), "num_frames": one.num_frames} for name, one in zoo.train.stores.items()},
            },
            "domains": measure_zoo(world, zoo, folder / "sheets", prompt_and_future=recipe.prompt_and_future),
        }
        write_whole(path, json.dumps(figures, indent=1))
    world = World(replace(world.config, figures=_card(figures["domains"])), world.tokenizer, world.dynamics)
    world.save_pretrained(folder / "world")
    return world, figures


def measure_zoo(
    world: World, zoo: Zoo, sheets: Path, *, prompt_and_future: tuple[int, int] = (4, 16), num_windows: int = NUM_WINDOWS, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Rollout quality by domain and split, as JSON-able dictionaries; and a contact sheet of each below `sheets`.

    Frames are predicted up to what the domain's episodes hold. All figures of a domain are of the world with its action space.
    """
    sheets.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    for name in zoo.train.stores:
        own = world.with_action_space(name)
        for split, stores in zoo.held_out.items():
            if name not in stores:
                continue
            windows = _windows(stores[name], zoo.train.frame_skips[name], prompt_and_future, num_windows, seed=seed)
            report = evaluate_rollouts(own, windows, seed=seed)
            found.setdefault(name, {})[split] = report.to_dict()
            (sheets / f"{name}_{split}.png").write_bytes(png(_sheet(own, windows, seed=seed)))
    return found


def watch_zoo(recipe: Recipe, zoo: Zoo) -> Watch:
    """A callback for `train_world`: the gain on held-out windows of each domain, and an mp4, truth above imagination, a column for each."""
    split = next(iter(zoo.held_out), None)
    stores = {} if split is None else zoo.held_out[split]
    watched = {
        name: _windows(store, zoo.train.frame_skips[name], recipe.prompt_and_future, _WATCHED_WINDOWS, seed=1)
        for name, store in stores.items()
    }

    def watch(world: World, folder: Path, step: int) -> dict[str, float]:
        folder.mkdir(parents=True, exist_ok=True)
        figures: dict[str, float] = {}
        above, below = [], []
        for name, windows in watched.items():
            own = world.with_action_space(name)
            report = evaluate_rollouts(own, windows)
            figures[f"{name}_gain_db"] = report.mean_gain_db
            if report.shuffled_action_ratio is not None:
                figures[f"{name}_shuffled_action_ratio"] = report.shuffled_action_ratio
            one = _first(windows, 1)
            above.append(torch.cat([one.prompt, one.future], dim=1))
            below.append(torch.cat([one.prompt, imagine(own, one)], dim=1))
        if not watched:
            return {}
        length = min(video.shape[1] for video in above)
        video = side_by_side(torch.cat([one[:, :length] for one in above]), torch.cat([one[:, :length] for one in below]))
        write_video(folder / f"step_{step:07d}.mp4", video, rate_hz=5)
        gains = [value for name, value in figures.items() if name.endswith("gain_db")]
        return {"mean_gain_db": sum(gains) / len(gains), "least_gain_db": min(gains), **figures}

    return watch


def gain_and_ratio(report: Mapping[str, Any]) -> tuple[str, str]:
    """A report's gain and shuffled-action ratio in words, with their intervals."""
    low, high = report["gain_interval_db"]
    gain = f"{report['mean_gain_db']:+.2f} dB ({low:+.2f} to {high:+.2f})"
    if report["shuffled_action_ratio"] is None:
        return gain, "no actions"
    low, high = report["shuffled_action_interval"]
    return gain, f"{report['shuffled_action_ratio']:.2f} ({low:.2f} to {high:.2f})"


def _windows(store: EpisodeStore, frame_skip: int, prompt_and_future: tuple[int, int], num_windows: int, *, seed: int) -> Windows:
    prompt_frames, num_frames = prompt_and_future
    longest = max(episode.num_frames for episode in store.episodes) // frame_skip
    num_frames = max(1, min(num_frames, longest - prompt_frames))
    return sample_windows(
        store, prompt_frames=prompt_frames, num_frames=num_frames, num_windows=num_windows, frame_skip=frame_skip, seed=seed
    )


def _first(windows: Windows, count: int) -> Windows:
    actions = None if windows.actions is None else windows.actions[:count]
    return Windows(prompt=windows.prompt[:count], future=windows.future[:count], actions=actions)


def _sheet(world: World, windows: Windows, *, seed: int) -> torch.Tensor:
    """(3, H, W): for some windows the last prompt frame and predicted frames, the true ones above the imagined ones."""
    some = _first(windows, _SHEET_WINDOWS)
    imagined = imagine(world, some, seed=seed)
    shown = [frame for frame in _SHEET_FRAMES if frame <= some.future.shape[1]]
    rows = []
    for index in range(len(some)):
        for label, future in (("true", some.future[index]), ("world", imagined[index])):
            panels = [Panel(label="prompt", frames=some.prompt[index, -1:])]
            panels += [Panel(label=f"{label} {frame}", frames=future[frame - 1 : frame]) for frame in shown]
            rows.append(draw_panels(panels, min_height=_SHEET_HEIGHT)[0])
    return torch.cat(rows, dim=-2)


def _card(domains: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
    """The figures as the rows of a world's card."""
    rows: dict[str, str] = {}
    for name, splits in domains.items():
        for split, report in splits.items():
            gain, ratio = gain_and_ratio(report)
            rows[f"{name}, {split}"] = (
                f"gain over copying the last frame, mean of {len(report['gain_db'])} frames: {gain}; shuffled-action ratio: {ratio}; "
                f"{report['num_windows']} windows of {report['num_episodes']} episodes"
            )
    return rows
