"""`worldline code`: see `cli.arguments.Code`.

May import: recipes, data, reward, world, the other files of cli. Refuses to know: how a code is trained.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from worldline.cli.arguments import Code
from worldline.cli.load import FRAME_CODE, load_world
from worldline.cli.report import Report, interrupted, table
from worldline.data import LatentStore
from worldline.recipes import TrainingInterruptedError
from worldline.recipes.frame_code import FrameCodeRecipe, train_frame_code
from worldline.reward import save_frame_code
from worldline.train import TrainingDivergedError
from worldline.world import World, add_to_card


def run(arguments: Code) -> Report:
    """Train, save, and say what it can tell apart."""
    if arguments.steps < 1:
        raise ValueError(f"--steps is {arguments.steps}; give at least 1")
    if not arguments.runs:
        raise FileNotFoundError("no run given; name a folder that `worldline train` wrote")
    worlds = [load_world(str(folder)) for folder in arguments.runs]
    digests = {World.digest(world.tokenizer) for world in worlds}
    if len(digests) > 1:
        raise ValueError("the worlds of these runs have different tokenizers; give runs that were started from one world")
    latents = [store for folder in arguments.runs for store in _latents(folder)]
    usual = FrameCodeRecipe()
    training = replace(usual.training, steps=arguments.steps, seed=arguments.seed)
    recipe = replace(usual, training=training, near_seconds=arguments.near_seconds)
    run_folder = arguments.runs[0]
    try:
        code, figures = train_frame_code(latents, run_folder / "frame_code", recipe, seed=arguments.seed, num_workers=arguments.num_workers)
    except TrainingInterruptedError as reason:
        return interrupted(reason)
    except TrainingDivergedError as error:
        raise ValueError(str(error)) from error
    path = save_frame_code(code, arguments.out or run_folder / "world" / FRAME_CODE, tokenizer=digests.pop(), half=arguments.half)
    add_to_card(path.parent, "Code of frames", _card_of(recipe, figures, path.name))
    rows = [
        ("later frame found by the code", f"{figures['found']:.3f}"),
        ("by the latents", f"{figures['found by latents']:.3f}"),
        ("by chance", f"{figures['chance']:.3f}"),
    ]
    head = f"among one frame each of {figures['pairs']:.0f} episodes that it has not seen"
    text = f"{table((head, ''), rows)}\n\n{figures['steps']:,.0f} steps, {figures['minutes']:.1f} min; wrote {path}"
    return Report(figures={**figures, "path": str(path)}, text=text)


def _card_of(recipe: FrameCodeRecipe, figures: Mapping[str, float], name: str) -> str:
    least, most = recipe.near_seconds
    return (
        f"`{name}` holds a code of frames (`worldline code`), for this world's tokenizer. It was trained for {figures['steps']:,.0f} steps "
        f"to find the frame that comes {least:g} to {most:g} s later, and finds {figures['found']:.3f} of them among "
        f"{figures['pairs']:.0f} episodes that it has not seen (latents {figures['found by latents']:.3f}, chance {figures['chance']:.3f})."
    )


def _latents(folder: Path) -> list[LatentStore]:
    stores = [LatentStore.open(path.parent) for path in sorted((folder / "latents").glob("*/store.json"))]
    if not stores:
        raise FileNotFoundError(f"{folder} has no latents; give a folder that `worldline train` wrote, with what it left there")
    return stores
