"""Pixels <-> latents: what a frame looks like, in a few tokens.

May import: torch, nn, interfaces. Refuses to know: actions, the future, where videos come from.
"""

from worldline.tokenizer.metric import pixel_metric
from worldline.tokenizer.network import Tokenizer, TokenizerConfig
from worldline.tokenizer.objective import TokenizerObjective
from worldline.tokenizer.statistics import settled

__all__ = ["Tokenizer", "TokenizerConfig", "TokenizerObjective", "pixel_metric", "settled"]
