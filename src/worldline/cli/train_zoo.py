"""`worldline train zoo` and `worldline train balls`: see `cli.arguments.Train`.

May import: recipes, the other files of cli. Refuses to know: how training works.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldline.cli.arguments import Train
from worldline.cli.report import Report, interrupted, table
from worldline.recipes import Recipe, TrainingInterruptedError
from worldline.recipes.balls import balls, data_of_balls
from worldline.recipes.zoo import fit_windows, read_zoo, zoo
from worldline.recipes.zoo_figures import gain_and_ratio, train_zoo
from worldline.train import TrainingDivergedError
from worldline.world import World

RECIPES = ("zoo", "balls")


def run(arguments: Train, *, start: World | None = None, before: Callable[[], None]) -> Report:
    """Read, train, measure.

    Args:
        arguments: of a recipe of `RECIPES`.
        start: a trained world to go on from.
        before: called when the data is read and the training begins.
    """
    assert arguments.data is not None
    chosen = zoo if arguments.recipe == "zoo" else balls
    recipe = chosen(
        size=arguments.size or "tiny",
        image_size=arguments.image_size,
        minutes=arguments.minutes,
        steps=arguments.steps,
    )
    recipe = as_asked(recipe, arguments)
    data, only = arguments.data, arguments.only
    if arguments.recipe == "balls":
        if only or arguments.shares:
            raise ValueError("--only and --shares belong to the recipe zoo; balls is one domain")
        data, only = data_of_balls(data), ("balls",)
    found = read_zoo(data, arguments.out / "data", image_size=arguments.image_size, only=only, rate_hz=arguments.rate_hz)
    found = replace(found, train=replace(found.train, shares=arguments.shares))
    recipe = fit_windows(recipe, found.train)
    before()
    try:
        _, figures = train_zoo(recipe, found, arguments.out, start=start, num_workers=arguments.num_workers, seed=arguments.seed)
    except TrainingInterruptedError as reason:
        return interrupted(reason)
    except TrainingDivergedError as error:
        raise ValueError(str(error)) from error
    return Report(figures=figures, text=_text(arguments.out, figures))


def as_asked(recipe: Recipe, arguments: Train) -> Recipe:
    """The recipe with what may be asked of every one: labels, packing, windows, rates, new dynamics, and a tokenizer that is trained on."""
    windows, frames = recipe.dynamics_batch
    return replace(
        recipe,
        dynamics_batch=(arguments.windows or windows, frames),
        tokenizer_training=recipe.tokenizer_training.at_rates(arguments.lr_scale),
        dynamics_training=recipe.dynamics_training.at_rates(arguments.lr_scale),
        label_share=arguments.label_share,
        infers_labels=arguments.infer_labels,
        packing=recipe.packing if arguments.packing is None else arguments.packing,
        num_layers=arguments.layers,
        new_dynamics=arguments.new_dynamics,
        trains_tokenizer=arguments.train_tokenizer,
    )


def _text(out: Path, figures: dict[str, Any]) -> str:
    rows = []
    for name, splits in figures["domains"].items():
        for split, report in splits.items():
            gain, ratio = gain_and_ratio(report)
            last = f"{report['world']['psnr_db'][-1]:.1f} / {report['floors']['copy last frame']['psnr_db'][-1]:.1f}"
            rows.append([name, split, f"{len(report['gain_db'])}", gain, last, ratio])
    training = figures["training"]
    return "\n".join(
        [
            f"{figures['num_parameters']:,} parameters; tokenizer: {training['tokenizer']}; dynamics: {training['dynamics']}; "
            f"{training['training FLOPs']} FLOPs in all; {training['hardware']}",
            "",
            table(["domain", "split", "frames", "gain over copying", "last frame, world / copy, dB", "shuffled-action ratio"], rows),
            "",
            f"wrote {out / 'world'}, {out / 'figures.json'} and {out / 'sheets'}",
        ]
    )
