"""Find the world that `--world` names, and the code of frames beside it.

May import: reward, world. Refuses to know: what is done with it.
"""

from pathlib import Path

from worldline.reward import FrameCode, load_frame_code
from worldline.world import World, bundled_worlds

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
    inside = Path(name) / "world"
    world = World.load(inside if (inside / "config.json").is_file() else name)
    world = world if domain is None else world.with_action_space(domain)
    return world if num_steps is None else world.with_sampling(num_steps)


def frame_code_of(name: str, world: World) -> FrameCode | None:
    """The code of frames that lies beside the world that `load_world` takes for `name`, or None.

    Raises:
        ValueError: if it is damaged, or of another tokenizer.
    """
    folders = (Path(name) / "world", Path(name), bundled_worlds().get(name.removeprefix("worldline/"), Path(name)))
    path = next((folder / FRAME_CODE for folder in folders if (folder / FRAME_CODE).is_file()), None)
    return None if path is None else load_frame_code(path, tokenizer=World.digest(world.tokenizer))
