"""Going on from a trained world instead of from nothing: its tokenizer, and, unless asked for others, its dynamics' weights first.

May import: data, dynamics, recipes.recipe's description, tokenizer, world. Refuses to know: how training works.
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from worldline.data import concatenate_spec
from worldline.dynamics import Dynamics, DynamicsConfig, Size, dynamics_config
from worldline.interfaces import ActionSpec
from worldline.tokenizer import Tokenizer
from worldline.world import World, WorldConfig

_OF_ACTIONS = ("action_in.", "inverse_out.")
_OF_START = "of that world"
_FLOPS = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?) FLOPs")  # as a `Cost` reads
_MAY_DIFFER = {"action_dim": 0, "context_frames": 1}  # the past is looked at by differences in time, so it may reach another length

_Components = tuple[str, ...] | int | None  # of an action: their names, or how many, or that there are no actions


def size_of(start: World) -> Size:
    """The named size of a world's dynamics, however many blocks they have.

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
            num_layers=config.num_layers,
        )
        if named == config:
            return size
    raise ValueError(f"the world to start from is of no named size: {config}; the sizes are {', '.join(get_args(Size))}")


def tokenizer_of(start: World) -> Tokenizer:
    """The tokenizer of `start`, on the device that training uses, with gradients off."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return copy.deepcopy(start.tokenizer).to(device).eval().requires_grad_(False)


def tokenizer_cost(start: World, further: str | None) -> str:
    """What the tokenizer of a world that starts from `start` took; `further` is what training it on took, if it was."""
    cost = str(start.config.provenance.get("tokenizer", "cost unknown"))
    cost = cost if cost.startswith(_OF_START) else f"{_OF_START} ({cost})"
    return cost if further is None else f"{cost}, then {further}"


def begin(dynamics: Dynamics, start: World, config: WorldConfig, *, anew: bool) -> dict[str, Any]:
    """Give `dynamics` their first weights: those of `start` as `take_weights` does, or their own if `anew`. Returns rows for the card."""
    before, weights = start.config.provenance, f"weights {start.fingerprint()[:12]}"
    recipe = before.get("recipe", "a world")
    if anew:
        return {"tokenizer of": f"{recipe}, {weights}"}
    rows: dict[str, Any] = {"started from": f"{recipe}, {before.get('dynamics', 'cost unknown')}, {weights}"}
    same = take_weights(dynamics, start, config)
    deeper = config.dynamics.num_layers - start.config.dynamics.num_layers
    rows |= {"blocks that are new": deeper} if deeper else {}
    return rows if same else rows | {"weights of the actions": "new: its actions were others"}


def take_weights(dynamics: Dynamics, start: World, config: WorldConfig) -> bool:
    """Give `dynamics` the weights of `start`; whether those of the actions too.

    They are taken if an action space of one name has the same components in both, and every one that both name has. Spaces of other names
    are of other simulators; all share the places of the components, so a world learns further ones beside those that it knows. Where
    actions are wider than they were, the further components have no effect at first. Otherwise these weights keep their own first values.
    Blocks behind those of `start` do, too: a fresh one passes on what it is given, so a deeper network begins as the one it continues.

    Args:
        dynamics: newly made, of `config`.
        start: the trained world.
        config: of the world that is to be.

    Raises:
        ValueError: if the two networks have different shapes, other than in depth, or `start` is the deeper one.
    """
    ours, theirs = (replace(each, **_MAY_DIFFER) for each in (config.dynamics, start.config.dynamics))
    if ours.num_layers > theirs.num_layers:
        ours = replace(ours, num_layers=theirs.num_layers)
    if ours != theirs:
        raise ValueError(f"the world to start from has dynamics of another shape: {_differences(theirs, ours)}")
    same, repeats = _same_actions(_components(start.config), _components(config)), _repeats(start.config, config)
    own = dynamics.state_dict()
    weights = {name: value for name, value in start.dynamics.state_dict().items() if not name.startswith(_OF_ACTIONS)}
    if same:
        weights |= _of_actions(own, start.dynamics)
    elif repeats:
        weights |= _of_repeated(own, start.dynamics, repeats)
    dynamics.load_state_dict(own | weights)
    return same or repeats > 0


def _repeats(theirs: WorldConfig, ours: WorldConfig) -> int:
    """How many of their actions lie side by side in one of ours; 0 if it is not made of theirs, or they have several action spaces."""
    one, many = theirs.action_spec, ours.action_spec
    if one is None or many is None or not one.names or theirs.action_spaces or ours.action_spaces:
        return 0
    count = many.dim // one.dim
    return count if count > 0 and many == concatenate_spec(one, count) else 0


def _same_actions(theirs: Mapping[str, _Components], ours: Mapping[str, _Components]) -> bool:
    both = [name for name in theirs if name in ours]
    return theirs == ours or (any(theirs[name] is not None for name in both) and all(theirs[name] == ours[name] for name in both))


def _of_actions(own: Mapping[str, Tensor], start: Dynamics) -> dict[str, Tensor]:
    """The weights of the actions in the shapes of `own`: those of `start` for the components that it has."""
    known, octaves = start.config.action_dim, start.config.action_octaves
    weights = {name: value for name, value in start.state_dict().items() if name.startswith(_OF_ACTIONS)}
    for name, value in weights.items():
        if value.shape == own[name].shape:
            continue
        if name.startswith("inverse_out."):
            weights[name] = own[name].clone()
            weights[name][:known] = value[: len(own[name])]
        else:
            weights[name] = torch.zeros_like(own[name])
            for new, old in zip(_by_component(weights[name], octaves), _by_component(value, octaves), strict=True):
                new[:, :known] = old[:, : new.shape[1]]
    return weights


def _of_repeated(own: Mapping[str, Tensor], start: Dynamics, count: int) -> dict[str, Tensor]:
    """The weights of the actions in the shapes of `own`: of `count` actions of `start` side by side, each has a share of its effect."""
    octaves = start.config.action_octaves
    weights = {name: value for name, value in start.state_dict().items() if name.startswith(_OF_ACTIONS)}
    for name, value in weights.items():
        if value.shape == own[name].shape:
            continue
        if name.startswith("inverse_out."):
            weights[name] = value.repeat(count, *[1] * (value.ndim - 1))
        else:
            weights[name] = torch.zeros_like(own[name])
            for new, old in zip(_by_component(weights[name], octaves), _by_component(value, octaves), strict=True):
                new.copy_(old.repeat(1, count, *[1] * (old.ndim - 2)) / count)
    return weights


def _by_component(weight: Tensor, octaves: int) -> list[Tensor]:
    """Views of a layer's weight on `nn.FourierFeatures`, (E, A (1 + 2 octaves)) -> values, sines and cosines, each (E, A, ...)."""
    dim = weight.shape[1] // (1 + 2 * octaves)
    parts = weight.split([dim, dim * octaves, dim * octaves], dim=1)
    return [part.unflatten(1, (dim, -1)) for part in parts]


def flops_of(start: World, *, anew: bool = False) -> float:
    """What training `start` took, as its card says; 0 if it does not. With dynamics `anew`, what its tokenizer took."""
    before = start.config.provenance
    of_tokenizer = _FLOPS.findall(str(before.get("tokenizer", ""))) if anew else []
    return sum(map(float, of_tokenizer)) if of_tokenizer else float(before.get("training FLOPs", 0))


def _components(config: WorldConfig) -> Mapping[str, _Components]:
    """What an action is made of, by name of the action space."""
    spaces = {name: space.spec for name, space in config.action_spaces.items()} or {"": config.action_spec}
    return {name: _names(spec) for name, spec in spaces.items()}


def _names(spec: ActionSpec | None) -> _Components:
    return None if spec is None else spec.names or spec.dim


def _differences(theirs: DynamicsConfig, ours: DynamicsConfig) -> str:
    names = [name for name in type(ours).__dataclass_fields__ if getattr(ours, name) != getattr(theirs, name)]
    return ", ".join(f"{name} {getattr(theirs, name)} where the recipe asks for {getattr(ours, name)}" for name in names)
