"""An actor on disk, see `control.storage`.

May import: `worldline.interfaces`, `control.storage` and the actor. Refuses to know: worlds, how actors are trained.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from worldline.control.actor.network import Actor, ActorConfig
from worldline.control.storage import Kind, load_policy, save_policy
from worldline.interfaces import ActionSpec

_KIND = Kind(name="actor", format="worldline-actor-1")


def save_actor(actor: Actor, path: str | Path) -> Path:
    """Write an actor to a file such as `policy.safetensors`; it appears whole or not at all, and replaces what was there.

    Raises:
        ValueError: if a weight is not finite; nothing is written.
        OSError: if it cannot be written.
    """
    return save_policy(actor, _KIND, path, config=actor.config, action_spec=actor.action_spec)


def load_actor(path: str | Path) -> Actor:
    """An actor that `save_actor` wrote, in evaluation mode: the same actions for the same latents, bit for bit.

    It acts on latents of the world that it was trained in, seen in the same way (`RecentFrames`, readings); of another world's it makes
    nothing sensible, and where their shape differs an error.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or holds something else.
    """

    def make(settings: Mapping[str, Any], action_spec: ActionSpec, weights: Mapping[str, Tensor]) -> Actor:
        mean, std = weights["mean"], weights["std"]
        return Actor(tuple(mean.shape), action_spec, ActorConfig(**settings), mean=mean, std=std).to(mean.dtype)

    return load_policy(path, _KIND, make, article="an")
