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

_TOKENIZER_SHARE = 1 / 8  # of the minutes of one law


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


def one_law(*, size: Size = "nano", image_size: int = 64, minutes: float = 40) -> Recipe:
    """A world of one motion that is certain, and has to be carried on exactly: 40 minutes of one core, 5 of them for the tokenizer.

    Patches of 8 pixels and not 16: an edge is nearly straight in its patch, and balls are redrawn within hundredths of a pixel. Inside
    the dynamics 16 of them are one token, so that a frame costs no more. What follows is certain, so all of the training goes to frames
    drawn in one step, nearly always after a past that is clean.

    Args:
        size: of the dynamics network.
        image_size: side of the square frames, pixels, a multiple of 32.
        minutes: of training, tokenizer and dynamics together.
    """
    recipe = balls(size=size, image_size=image_size, minutes=minutes, steps=(1_000_000, 1_000_000))
    return replace(
        recipe,
        name="balls of one law",
        tokenizer=replace(recipe.tokenizer, grid=image_size // 8, latent_dim=8, width=64, head_dim=32, max_mask=0.0),
        tokenizer_training=replace(recipe.tokenizer_training, duration_seconds=60 * minutes * _TOKENIZER_SHARE),
        tokenizer_batch=(16, 2),
        dynamics_training=replace(recipe.dynamics_training, duration_seconds=60 * minutes * (1 - _TOKENIZER_SHARE)),
        shortcut=replace(recipe.shortcut, start_share=0.9, mean_share=1.0, clean_context_share=0.9, self_share=0.0),
        dynamics_batch=(16, 24),
        packing=4,
    )


def data_of_balls(data: Path) -> Path:
    """The folder of the domains, also where `data` is that of the domain `balls` itself.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"{data}: no such folder; film one with `worldline collect zoo --domains balls --out {data}`")
    return data.parent if data.name == "balls" and (data / "train").is_dir() else data
