"""A policy on disk: one safetensors file, with its sizes and the bounds of its actions in the header. Reading it can run no code.

May import: torch, safetensors, `worldline.interfaces`. Refuses to know: which policies there are, worlds, how policies are trained.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from worldline.interfaces import ActionSpec

Made = TypeVar("Made", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a file holds.

    Attributes:
        name: in messages, such as `actor`.
        format: in the header.
    """

    name: str
    format: str


def save_policy(policy: nn.Module, kind: Kind, path: str | Path, *, config: Any, action_spec: ActionSpec) -> Path:
    """Write a policy to a file such as `policy.safetensors`; it appears whole or not at all, and replaces what was there.

    Args:
        policy: whose weights are written.
        kind: what it is.
        path: of the file.
        config: a dataclass of numbers.
        action_spec: bounds of its actions.

    Raises:
        ValueError: if a weight is not finite; nothing is written.
        OSError: if it cannot be written.
    """
    path = Path(path)
    weights = {name: value.detach().cpu().contiguous() for name, value in policy.state_dict().items()}
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError(f"this {kind.name} has weights that are not finite, and is not written to {path}")
    about = {"format": kind.format, "config": json.dumps(asdict(config)), "action_spec": json.dumps(asdict(action_spec))}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(weights, partial, metadata=about)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_policy(
    path: str | Path, kind: Kind, make: Callable[[Mapping[str, Any], ActionSpec, Mapping[str, Tensor]], Made], *, article: str = "a"
) -> Made:
    """A policy that `save_policy` wrote, in evaluation mode.

    Args:
        path: of the file.
        kind: what it has to be.
        make: (settings, bounds of the actions, weights) -> the policy, whose weights need not be those yet.
        article: of the kind's name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {kind.name} at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in list(file.keys())}
        if about.get("format") != kind.format:
            raise ValueError(f"its format is {about.get('format')!r}, not {kind.format!r}")
        bounds = {name: tuple(value) for name, value in json.loads(about["action_spec"]).items()}
        policy = make(json.loads(about["config"]), ActionSpec(**bounds), weights)
        policy.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} holds no {kind.name} that can be read: {error}") from error
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise ValueError(f"{path} holds {article} {kind.name} with weights that are not finite")
    return policy.eval()
