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
class WorldConfig:
    """Everything but the weights.

    Attributes:
        tokenizer: shape of the tokenizer.
        dynamics: shape of the dynamics network.
        sampler: how frames are drawn.
        rate_hz: frames per second that the world was trained at; None if they differed.
        action_spec: bounds of the actions; None for a world without actions.
        provenance: what it was trained on, for the model card: frames, steps, minutes, hardware, seed.
        figures: what `worldline eval` and the recipes measured, for the model card.
    """

    tokenizer: TokenizerConfig
    dynamics: DynamicsConfig
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    rate_hz: float | None = None
    action_spec: ActionSpec | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

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
            return cls(
                tokenizer=TokenizerConfig(**raw.pop("tokenizer")),
                dynamics=DynamicsConfig(**raw.pop("dynamics")),
                sampler=SamplerConfig(**raw.pop("sampler")),
                action_spec=None if spec is None else ActionSpec(**{name: tuple(values) for name, values in spec.items()}),
                **raw,
            )
        except (TypeError, KeyError, AttributeError, ArithmeticError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(f"the config is damaged or of another version: {error}") from error

    def to_json(self) -> str:
        """As JSON, with the name of the format."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)
