"""The block-causal space-time transformer that the tokenizer and the dynamics share.

May import: torch, interfaces. Refuses to know: video, actions, noise levels, losses. It sees frames of tokens and nothing else.
"""

from worldline.nn.attention import SpaceAttention, TimeAttention
from worldline.nn.cache import Cache, Segment
from worldline.nn.embedding import FourierFeatures
from worldline.nn.transformer import Transformer, TransformerConfig

__all__ = ["Cache", "FourierFeatures", "Segment", "SpaceAttention", "TimeAttention", "Transformer", "TransformerConfig"]
