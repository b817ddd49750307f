"""How many action labels does a world need: rollout quality over the share of the training episodes that keep theirs.

    python experiments/label_efficiency.py --data runs/push/data --size nano --steps 1500 600 --out runs/labels
    python experiments/label_efficiency.py --data data/zoo --domain push --steps 4000 8000 --out runs/labels

The first takes the Push-T episodes that `worldline train push` filmed, and its recipe; the second a domain of a zoo. One tokenizer for all
points, as it needs no labels. For each share the same world is trained with the labels of that share of the episodes, by three routes:

    labelled   the null action in the other episodes
    pseudo     labels in the other episodes from inverse models, which were fitted on the labelled ones (recipes.pseudo_labels); how far
               they are from the labels that were hidden is measured too
    latent     one world of latent actions, trained without any label at the same cost, and for each share a controller, real action ->
               latent action

Measured on the validation episodes of the domain, or on a tenth of the store that is held out. Goes on where it was broken off.

Writes OUT/curve.json and OUT/index.html.
"""

import argparse
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from worldline.data import EpisodeStore, LatentStore
from worldline.eval import Windows, evaluate_rollouts, sample_windows
from worldline.eval.page import Page, chart, paragraph, table
from worldline.recipes.corpus import Corpus, with_label_share
from worldline.recipes.latent_actions import ControlledWorld, fit_controller, train_latent_world
from worldline.recipes.push import push_by_steps
from worldline.recipes.recipe import Recipe, labelled_latents, train_tokenizer, train_world
from worldline.recipes.zoo import read_zoo, zoo
from worldline.world import World

SHARES = (1.0, 0.1, 0.03, 0.01, 0.0)
ROUTES = ("labelled", "pseudo", "latent")
PROMPT_FRAMES, NUM_FRAMES, NUM_WINDOWS = 4, 16, 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is trained on, how, and what it is measured on."""

    train: EpisodeStore
    frame_skip: int
    windows: Windows
    recipe: Recipe

    @property
    def corpus(self) -> Corpus[EpisodeStore]:
        """The training episodes at the world's rate."""
        return Corpus.of(self.train, self.frame_skip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an episode store of Push-T, or the folder of a zoo")
    parser.add_argument("--domain", default="push", help="of a zoo")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="tiny", choices=("nano", "tiny", "small"))
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--steps", type=int, nargs=2, default=(4000, 8000), help="of the tokenizer and of the dynamics")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--routes", nargs="+", default=ROUTES, choices=ROUTES)
    parser.add_argument("--num-workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    subject = _subject(arguments)
    points = []
    for share in sorted(arguments.shares, reverse=True):
        at_share = replace(subject, recipe=replace(subject.recipe, label_share=share))
        points.append({"share": share})
        if share in (0, 1) or "labelled" in arguments.routes:
            points[-1]["labelled"] = _labelled(at_share, arguments)
        if 0 < share < 1 and "pseudo" in arguments.routes:
            points[-1]["pseudo"] = _pseudo(at_share, arguments)
        if share and "latent" in arguments.routes:
            points[-1]["latent"] = _latent(at_share, arguments)
        print(json.dumps(points[-1]), flush=True)
    curve = {"settings": {name: str(value) for name, value in vars(arguments).items()}, "points": points}
    (arguments.out / "curve.json").write_text(json.dumps(curve, indent=1), encoding="utf-8")
    print(f"wrote {_write_page(arguments, points)}")


def _subject(arguments: argparse.Namespace) -> Subject:
    if (arguments.data / "store.json").is_file():
        train, held_out = EpisodeStore.open(arguments.data).split_by_source(0.1, seed=0)
        skip, recipe = 1, replace(push_by_steps(*arguments.steps), size=arguments.size)
    else:
        data = read_zoo(arguments.data, arguments.out / "data", image_size=arguments.image_size, only=(arguments.domain,))
        train, held_out = data.train.stores[arguments.domain], data.held_out["validation"][arguments.domain]
        skip = data.train.frame_skips[arguments.domain]
        recipe = zoo(size=arguments.size, image_size=arguments.image_size, steps=tuple(arguments.steps))
    windows = sample_windows(held_out, prompt_frames=PROMPT_FRAMES, num_frames=NUM_FRAMES, num_windows=NUM_WINDOWS, frame_skip=skip)
    return Subject(train=train, frame_skip=skip, windows=windows, recipe=recipe)


def _labelled(subject: Subject, arguments: argparse.Namespace) -> dict[str, Any]:
    folder = _folder_of(arguments, f"share_{subject.recipe.label_share:g}")
    recipe = replace(subject.recipe, infers_labels=False)
    world = train_world(recipe, subject.corpus, folder, num_workers=arguments.num_workers, seed=arguments.seed)
    return _figures(world, subject.windows)


def _pseudo(subject: Subject, arguments: argparse.Namespace) -> dict[str, Any]:
    folder = _folder_of(arguments, f"pseudo_{subject.recipe.label_share:g}")
    recipe = replace(subject.recipe, infers_labels=True)
    world = train_world(recipe, subject.corpus, folder, num_workers=arguments.num_workers, seed=arguments.seed)
    tokenizer, _ = train_tokenizer(recipe, subject.corpus, folder, arguments.num_workers, arguments.seed)
    latents, reports = labelled_latents(recipe, tokenizer, subject.corpus, folder, arguments.seed)
    return _figures(world, subject.windows) | {
        "inferred": asdict(reports[""]),
        "hidden_labels_explained": _hidden_explained(subject.train, latents.stores[""]),
    }


def _hidden_explained(store: EpisodeStore, latents: LatentStore) -> list[float] | None:
    """R2 of each component of the inferred labels over the ones that were hidden; None if nothing was inferred."""
    true = [store.rows("actions", episode) for episode in store.episodes]
    found = [latents.rows("actions", episode) for episode in latents.episodes]
    pairs = [(a, b) for a, b in zip(true, found, strict=True) if a is not None and b is not None and not torch.equal(a, b)]
    if not pairs:
        return None
    actions, inferred = (torch.cat(side) for side in zip(*pairs, strict=True))
    known = inferred.isfinite().all(-1)
    error = (inferred - actions)[known].square().mean(0)
    return (1 - error / actions[known].var(0, correction=0)).tolist()


def _folder_of(arguments: argparse.Namespace, name: str) -> Path:
    """The folder of a run, with the tokenizer and the latents of the run that has all labels."""
    folder, base = arguments.out / name, arguments.out / "share_1"
    if folder != base and (base / "latents").is_dir() and not folder.exists():
        shutil.copytree(base / "tokenizer", folder / "tokenizer")
        (folder / "latents").symlink_to((base / "latents").absolute())
    return folder


def _latent(subject: Subject, arguments: argparse.Namespace) -> dict[str, Any]:
    """With the world of latent actions, which is trained at the first call and loaded from then on."""
    folder = arguments.out / "share_1"
    world, actions, latents = train_latent_world(
        subject.recipe, subject.corpus, folder, num_workers=arguments.num_workers, seed=arguments.seed
    )
    labelled = with_label_share(latents, subject.recipe.label_share, seed=arguments.seed)
    controller = fit_controller(actions, labelled, subject.frame_skip, seed=arguments.seed)
    spec = subject.corpus.action_specs[""]
    assert spec is not None
    return _figures(cast(World, ControlledWorld(world, actions, controller, spec)), subject.windows)


def _figures(world: World, windows: Windows) -> dict[str, Any]:
    report = evaluate_rollouts(world, windows)
    return {
        "gain_db": report.mean_gain_db,
        "gain_interval_db": report.gain_interval_db,
        "shuffled_action_ratio": report.shuffled_action_ratio,
        "shuffled_action_interval": report.shuffled_action_interval,
    }


def _write_page(arguments: argparse.Namespace, points: list[dict[str, Any]]) -> Path:
    names = {"labelled": "labels on a share", "pseudo": "the others inferred", "latent": "latent actions, controller on a share"}
    names = {route: name for route, name in names.items() if any(route in point for point in points)}
    curves: dict[str, list[float | None]] = {
        name: [point[route]["gain_db"] if route in point else None for point in points] for route, name in names.items()
    }
    page = Page(
        "Labels that a world needs", f"{arguments.data.name}, {arguments.size}, {arguments.steps[1]:,} steps, seed {arguments.seed}."
    )
    rows = []
    for point in points:
        found = [point.get(route) for route in names]
        cells = ["" if one is None else f"{one['gain_db']:+.2f} ({one['shuffled_action_ratio'] or 1:.2f})" for one in found]
        rows.append((f"{point['share']:.0%}", *cells))
    caption = f"Gain over copying the last frame under the true actions, mean of {NUM_FRAMES} frames, {NUM_WINDOWS} windows."
    places = [float(len(points) - index) for index in range(len(points))]
    page.section(
        "Gain by share of labels",
        paragraph(caption + " In brackets the shuffled-action ratio. One training run each: no interval over runs."),
        chart(curves, caption, x=places, x_label="points, from the smallest share to the largest", y_label="gain, dB"),
        table(("labels", *(f"{name}, dB" for name in names.values())), rows),
        anchor="curve",
    )
    return page.write(arguments.out / "index.html")


if __name__ == "__main__":
    main()
