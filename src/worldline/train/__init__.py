"""Train: one loop for anything that has `.loss(batch)` and a stream of batches whose position can be saved.

Muon and AdamW, warm-up-stable-decay, averaged weights, balanced losses, a guard against spikes, exact resume after any death.

May import: nn, scale, interfaces. Refuses to know: which model, which data, what a frame looks like.
"""

from worldline.train.guard import TrainingDivergedError
from worldline.train.loop import TrainConfig, TrainReport, to_device, train

__all__ = ["TrainConfig", "TrainReport", "TrainingDivergedError", "to_device", "train"]
