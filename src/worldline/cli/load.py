"""Find the world that `--world` names.

May import: world. Refuses to know: what is done with it.
"""

from pathlib import Path

from worldline.world import World


def load_world(name: str, num_steps: int | None = None) -> World:
    """The world of a folder, of a training run's folder, of a hub repository, or one that comes with the package.

    Raises:
        FileNotFoundError: if there is none of that name.
        ValueError: if it is damaged, or cannot draw in `num_steps` steps.
    """
    inside = Path(name) / "world"
    world = World.load(inside if (inside / "config.json").is_file() else name)
    return world if num_steps is None else world.with_sampling(num_steps)
