"""Balls after PhyWorld (Kang et al., 2024, How Far is Video Generation from World Model): unlabelled video of one law of mechanics at a
time, uniform motion, collision and parabola, in one world.

Usual radii, speeds and gravities to train on, unusual ones to measure on, as the domain `balls` films them (`worldline collect balls`, up
to 30,000 videos). Velocity errors are those of `worldline eval --suite physics`.

May import: recipes.zoo, and what a recipe configures. Refuses to know: the simulator.
"""

from dataclasses import replace
from pathlib import Path

from worldline.dynamics import Size
from worldline.recipes.recipe import Recipe
from worldline.recipes.zoo import zoo


def balls(
    *,
    size: Size = "tiny",
    image_size: int = 64,
    minutes: float | None = None,
    steps: tuple[int, int] | None = None,
    label_share: float = 1.0,
) -> Recipe:
    """A world of balls at 10 Hz, without actions; the arguments are those of `zoo`. PhyWorld shows 3 frames and asks for the rest.

    More weight on what moves: a ball is a hundredth of the picture. A long past, and windows that are longer still: speed and gravity
    are read off it, the better the longer it is.
    """
    recipe = zoo(size=size, image_size=image_size, minutes=minutes, steps=steps, label_share=label_share)
    tokenizer = replace(recipe.tokenizer, motion_weight=4.0)
    return replace(recipe, name="balls", tokenizer=tokenizer, dynamics_batch=(8, 24), context_frames=16, measured_frames=(3, 16))


def data_of_balls(data: Path) -> Path:
    """The folder of the domains, also where `data` is that of the domain `balls` itself.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"{data}: no such folder; film one with `worldline collect zoo --domains balls --out {data}`")
    return data.parent if data.name == "balls" and (data / "train").is_dir() else data
