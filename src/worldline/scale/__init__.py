"""Scale: what training needs from the machine, whatever is being trained.

Atomic checkpoints with exact resume, text files that appear whole, and an allocator that does not give memory back between steps.

May import: torch, safetensors. Refuses to know: models, losses, data; it moves named tensors and JSON.
"""

from worldline.scale.allocator import tune_allocator
from worldline.scale.checkpoint import list_checkpoints, load_latest, refuse_pickles, save_checkpoint
from worldline.scale.whole import read_json, write_whole

__all__ = ["list_checkpoints", "load_latest", "read_json", "refuse_pickles", "save_checkpoint", "tune_allocator", "write_whole"]
