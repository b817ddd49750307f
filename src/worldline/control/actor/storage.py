"""An actor on disk: one safetensors file, with its sizes and the bounds of its actions in the header. Reading it can run no code.

May import: torch, safetensors, `worldline.interfaces` and the actor. Refuses to know: worlds, how actors are trained.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from worldline.control.actor.network import Actor, ActorConfig
from worldline.interfaces import ActionSpec

_FORMAT = "worldline-actor-1"


def save_actor(actor: Actor, path: str | Path) -> Path:
    """Write an actor to a file such as `policy.safetensors`; it appears whole or not at all, and replaces what was there.

    Raises:
        ValueError: if a weight is not finite; nothing is written.
        OSError: if it cannot be written.
    """
    path = Path(path)
    weights = {name: value.detach().cpu().contiguous() for name, value in actor.state_dict().items()}
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError(f"this actor has weights that are not finite, and is not written to {path}")
    about = {"format": _FORMAT, "config": json.dumps(asdict(actor.config)), "action_spec": json.dumps(asdict(actor.action_spec))}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(weights, partial, metadata=about)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_actor(path: str | Path) -> Actor:
    """An actor that `save_actor` wrote, in evaluation mode: the same actions for the same latents, bit for bit.

    It acts on latents of the world that it was trained in, seen in the same way (`RecentFrames`, readings); of another world's it makes
    nothing sensible, and where their shape differs an error.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no actor at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in list(file.keys())}
        if about.get("format") != _FORMAT:
            raise ValueError(f"its format is {about.get('format')!r}, not {_FORMAT!r}")
        bounds = {name: tuple(value) for name, value in json.loads(about["action_spec"]).items()}
        config = ActorConfig(**json.loads(about["config"]))
        mean, std = weights["mean"], weights["std"]
        actor = Actor(tuple(mean.shape), ActionSpec(**bounds), config, mean=mean, std=std).to(mean.dtype)
        actor.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} holds no actor that can be read: {error}") from error
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise ValueError(f"{path} holds an actor with weights that are not finite")
    return actor.eval()
