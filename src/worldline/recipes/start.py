"""Going on from a trained world instead of from nothing: its tokenizer as it is, and, unless asked for others, its dynamics' weights first.

May import: data, dynamics, recipes.recipe's description, tokenizer, world. Refuses to know: how training works.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import torch

from worldline.dynamics import Dynamics, DynamicsConfig, Size, dynamics_config
from worldline.interfaces import ActionSpec
from worldline.tokenizer import Tokenizer
from worldline.world import World, WorldConfig

_OF_ACTIONS = ("action_features.", "action_in.", "inverse_out.")
_OF_START = "of that world"
_MAY_DIFFER = {"action_dim": 0, "context_frames": 1}  # the past is looked at by differences in time, so it may reach another length


def size_of(start: World) -> Size:
    """The named size of a world's dynamics.

    Raises:
        ValueError: if it is none of them.
    """
    config = start.config.dynamics
    for size in get_args(Size):
        named = dynamics_config(
            size,
            num_tokens=config.num_tokens,
            latent_dim=config.latent_dim,
            action_dim=config.action_dim,
            context_frames=config.context_frames,
            max_steps=config.max_steps,
            packing=config.packing,
        )
        if named == config:
            return size
    raise ValueError(f"the world to start from is of no named size: {config}; the sizes are {', '.join(get_args(Size))}")


def frozen_tokenizer(start: World) -> Tokenizer:
    """The tokenizer of `start`, on the device that training uses; it is trained no further, so that the dynamics keep their meaning."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return start.tokenizer.to(device).eval().requires_grad_(False)


def begin(dynamics: Dynamics, start: World, config: WorldConfig, *, anew: bool) -> dict[str, Any]:
    """Give `dynamics` their first weights: those of `start` as `take_weights` does, or their own if `anew`. Returns rows for the card."""
    before, weights = start.config.provenance, f"weights {start.fingerprint()[:12]}"
    recipe, cost = before.get("recipe", "a world"), str(before.get("tokenizer", "cost unknown"))
    rows = {"tokenizer": cost if cost.startswith(_OF_START) else f"{_OF_START} ({cost})"}
    if anew:
        return {"tokenizer of": f"{recipe}, {weights}"} | rows
    rows = {"started from": f"{recipe}, {before.get('dynamics', 'cost unknown')}, {weights}"} | rows
    same = take_weights(dynamics, start, config)
    return rows if same else rows | {"weights of the actions": "new: its actions were others"}


def take_weights(dynamics: Dynamics, start: World, config: WorldConfig) -> bool:
    """Give `dynamics` the weights of `start`; whether those of the actions too.

    They are taken if the actions have the same names and number of components in both, and keep their own first values otherwise.

    Args:
        dynamics: newly made, of `config`.
        start: the trained world.
        config: of the world that is to be.

    Raises:
        ValueError: if the two networks have different shapes.
    """
    ours, theirs = (replace(each, **_MAY_DIFFER) for each in (config.dynamics, start.config.dynamics))
    if ours != theirs:
        raise ValueError(f"the world to start from has dynamics of another shape: {_differences(theirs, ours)}")
    same = _components(start.config) == _components(config) and start.config.dynamics.action_dim == config.dynamics.action_dim
    weights = {name: value for name, value in start.dynamics.state_dict().items() if same or not name.startswith(_OF_ACTIONS)}
    dynamics.load_state_dict(dynamics.state_dict() | weights)
    return same


def flops_of(start: World) -> float:
    """What training `start` took, as its card says; 0 if it does not."""
    return float(start.config.provenance.get("training FLOPs", 0))


def _components(config: WorldConfig) -> Mapping[str, tuple[str, ...] | int | None]:
    """What an action is made of, by name of the action space."""
    spaces = {name: space.spec for name, space in config.action_spaces.items()} or {"": config.action_spec}
    return {name: _names(spec) for name, spec in spaces.items()}


def _names(spec: ActionSpec | None) -> tuple[str, ...] | int | None:
    return None if spec is None else spec.names or spec.dim


def _differences(theirs: DynamicsConfig, ours: DynamicsConfig) -> str:
    names = [name for name in type(ours).__dataclass_fields__ if getattr(ours, name) != getattr(theirs, name)]
    return ", ".join(f"{name} {getattr(theirs, name)} where the recipe asks for {getattr(ours, name)}" for name in names)
