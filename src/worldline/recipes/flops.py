"""What training costs, counted: the floating-point operations of one step, forward and backward.

May import: interfaces, torch. Refuses to know: which model, how long it was trained.
"""

import copy
from typing import cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from worldline.interfaces import Batch, Trainable


def training_flops_per_frame(objective: nn.Module, batch: Batch) -> float:
    """Operations per frame of `batch` of one training step: those of all matrix products and attentions, a multiplication and an addition
    counting as two.

    Counted by torch while a copy of the model takes the step (`torch.utils.flop_counter`), so it is right for whatever the model does;
    what is done per element (norms, activations, the optimiser) is left out, as is usual. Nothing of the caller's changes.
    """
    model = copy.deepcopy(objective).train()
    video = batch.frames if batch.frames is not None else batch.latents
    assert video is not None
    devices = [video.device] if video.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        torch.stack([term.float() for term in cast(Trainable, model).loss(batch).values()]).sum().backward()
    return counter.get_total_flops() / (video.shape[0] * video.shape[1])
