"""worldline: show it a video, get a world you can step, differentiate and plan in."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldline import agent, control, reward
    from worldline.interfaces import ActionSpec, Batch, Clip, Event, Plan, Rollout, State
    from worldline.world import World, WorldConfig

__all__ = ["ActionSpec", "Batch", "Clip", "Event", "Plan", "Rollout", "State", "World", "WorldConfig", "agent", "control", "reward"]

_ROOMS = ("agent", "control", "reward")


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch takes seconds, and many commands do without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    home = importlib.import_module("worldline.world" if name.startswith("World") else "worldline.interfaces")
    value = globals()[name] = getattr(home, name)
    return value
