"""Everything about a world but its weights, and how that is written down.

May import: tokenizer, dynamics, interfaces. Refuses to know: weights, files.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.interfaces import ActionSpec
from worldline.tokenizer import TokenizerConfig

FORMAT = "worldline-world-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSpace:
    """One of the kinds of video that a world was trained on: what an action means there, and how fast its frames follow each other.

    Attributes:
        spec: bounds of its actions, environment units; None for video without actions, under which the world sees its null action.
        rate_hz: frames of the world per second of it; None if they differed.
    """

    spec: ActionSpec | None = None
    rate_hz: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldConfig:
    """Everything but the weights.

    Attributes:
        tokenizer: shape of the tokenizer.
        dynamics: shape of the dynamics network.
        sampler: how frames are drawn.
        rate_hz: frames per second that the world was trained at; None if they differed.
        action_spec: bounds of the actions; None for a world without actions. They may have fewer components than the dynamics take: zeros
            are added inside.
        action_spaces: of a world of several kinds of video, each by its name; see `World.with_action_space`.
        detail_tolerance: how much a pixel may change and keep what the newest true frame showed there, see `world.detail`; 0 draws from
            latents alone.
        provenance: what it was trained on, for the model card: frames, steps, minutes, hardware, seed.
        figures: what `worldline eval` and the recipes measured, for the model card.
    """

    tokenizer: TokenizerConfig
    dynamics: DynamicsConfig
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    rate_hz: float | None = None
    action_spec: ActionSpec | None = None
    action_spaces: Mapping[str, ActionSpace] = field(default_factory=dict)
    detail_tolerance: float = 0.06
    provenance: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.detail_tolerance < float("inf"):
            raise ValueError(f"detail_tolerance is {self.detail_tolerance}; give 0 or a positive number")
        specs = [self.action_spec, *(space.spec for space in self.action_spaces.values())]
        widest = max((spec.dim for spec in specs if spec is not None), default=0)
        if widest > self.dynamics.action_dim:
            raise ValueError(f"an action space has {widest} components, the dynamics take {self.dynamics.action_dim}")

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse what `to_json` wrote.

        Raises:
            ValueError: if it is not a world's config.
        """
        try:
            raw = json.loads(text)
            if raw.pop("format", None) != FORMAT:
                raise ValueError(f"this is not a {FORMAT} config")
            spec = raw.pop("action_spec")
            spaces = raw.pop("action_spaces", {})  # worlds from before there were several have none
            return cls(
                tokenizer=TokenizerConfig(**raw.pop("tokenizer")),
                dynamics=DynamicsConfig(**raw.pop("dynamics")),
                sampler=SamplerConfig(**raw.pop("sampler")),
                action_spec=_spec(spec),
                action_spaces={name: ActionSpace(spec=_spec(space["spec"]), rate_hz=space["rate_hz"]) for name, space in spaces.items()},
                **raw,
            )
        except (TypeError, KeyError, AttributeError, ArithmeticError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(f"the config is damaged or of another version: {error}") from error

    def to_json(self) -> str:
        """As JSON, with the name of the format."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)


def _spec(raw: Mapping[str, Any] | None) -> ActionSpec | None:
    return None if raw is None else ActionSpec(**{name: tuple(values) for name, values in raw.items()})
