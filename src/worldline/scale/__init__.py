"""Scale: what training needs from the machine, whatever is being trained.

Atomic checkpoints with exact resume, text files that appear whole, an allocator that does not give memory back between steps, and
whether bfloat16 pays.

May import: torch, safetensors. Refuses to know: models, losses, data; it moves named tensors and JSON.
"""

from worldline.scale.allocator import tune_allocator
from worldline.scale.checkpoint import list_checkpoints, load_latest, refuse_pickles, save_checkpoint
from worldline.scale.precision import bfloat16_instructions, fast_bfloat16
from worldline.scale.whole import read_json, write_whole

__all__ = [
    "bfloat16_instructions",
    "fast_bfloat16",
    "list_checkpoints",
    "load_latest",
    "read_json",
    "refuse_pickles",
    "save_checkpoint",
    "tune_allocator",
    "write_whole",
]
