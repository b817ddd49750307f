"""Find the world that `--world` names, the code of frames beside it, and the device that `--device` names.

May import: reward, world, torch. Refuses to know: what is done with it.
"""

from pathlib import Path

import torch

from worldline.reward import FrameCode, load_frame_code
from worldline.world import World, locate_world

FRAME_CODE = "frame_code.safetensors"


def load_world(name: str, num_steps: int | None = None, *, domain: str | None = None) -> World:
    """The world of a folder, of a training run's folder, of a hub repository, or one that comes with the package.

    Args:
        name: of the world.
        num_steps: denoising steps per frame; its own if None.
        domain: whose actions and rate it takes, of a world of several.

    Raises:
        FileNotFoundError: if there is none of that name.
        ValueError: if it is damaged, or cannot draw in `num_steps` steps, or does not know the domain.
    """
    world = World.load(_folder(name))
    world = world if domain is None else world.with_action_space(domain)
    return world if num_steps is None else world.with_sampling(num_steps)


def device_of(name: str) -> torch.device:
    """The device of a name, cpu or cuda.

    Raises:
        ValueError: if it is cuda and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device is cuda, and torch finds no GPU here; leave it out, or run `worldline doctor`")
    return torch.device(name)


def frame_code_of(name: str, world: World) -> FrameCode | None:
    """The code of frames that lies beside the world that `load_world` takes for `name`, or None.

    Raises:
        ValueError: if it is damaged, or of another tokenizer.
    """
    path = _folder(name) / FRAME_CODE
    return load_frame_code(path, tokenizer=World.digest(world.tokenizer)) if path.is_file() else None


def _folder(name: str) -> Path:
    """Of the world: inside a run's, or as `World.load` would find it."""
    inside = Path(name) / "world"
    return inside if (inside / "config.json").is_file() else locate_world(name)
