"""One dial, `size`, from which the width and depth of a dynamics network follow.

May import: dynamics.network. Refuses to know: data, training.
"""

from typing import Literal, get_args

from worldline.dynamics.network import DynamicsConfig

Size = Literal["nano", "tiny", "small", "base", "large"]
_WIDTH_DEPTH_HEAD = {
    "nano": (128, 4, 32),
    "tiny": (320, 4, 64),
    "small": (512, 8, 64),
    "base": (1024, 10, 64),
    "large": (2048, 17, 128),
}


def dynamics_config(
    size: Size,
    *,
    num_tokens: int,
    latent_dim: int,
    action_dim: int,
    context_frames: int = 16,
    max_steps: int = 8,
    packing: int = 1,
    num_layers: int | None = None,
) -> DynamicsConfig:
    """Config of a named size: `nano` (0.9M parameters), `tiny` (6M), `small` (30M), `base` (150M), `large` (1B).

    `num_layers` blocks in place of its own, if given.

    Raises:
        ValueError: for an unknown size.
    """
    if size not in get_args(Size):
        raise ValueError(f"size {size!r} is not one of {', '.join(get_args(Size))}")
    width, depth, head_dim = _WIDTH_DEPTH_HEAD[size]
    return DynamicsConfig(
        num_tokens=num_tokens,
        latent_dim=latent_dim,
        action_dim=action_dim,
        width=width,
        num_layers=depth if num_layers is None else num_layers,
        head_dim=head_dim,
        context_frames=context_frames,
        max_steps=max_steps,
        packing=packing,
    )
