"""Find the world that `--world` names.

May import: world. Refuses to know: what is done with it.
"""

from pathlib import Path

from worldline.world import World


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
