"""Statistics of their own for averaged weights.

While a tokenizer trains, its normalisation follows the weights of the moment, and what is kept in the end is their average. The mean of
a latent before it is normalised is free to wander, since the normalisation takes it out again. So the two need not agree, and after few
updates on video of little variety they were far apart (docs/log.md). As for any averaged weights (Izmailov et al., 2018), the statistics
are taken anew.

May import: torch, interfaces, tokenizer.objective. Refuses to know: how weights are averaged, data sets.
"""

import copy
from collections.abc import Iterable

import torch

from worldline.interfaces import Batch
from worldline.tokenizer.network import Tokenizer
from worldline.tokenizer.objective import TokenizerObjective


@torch.no_grad()
def settled(tokenizer: Tokenizer, batches: Iterable[Batch], *, seed: int = 0) -> Tokenizer:
    """A copy of `tokenizer`, in evaluation mode, whose statistics are the means over what `batches` of frames look like in training.

    Args:
        tokenizer: is not changed.
        batches: as it was trained on, a few dozen; masked as in training.
        seed: of the masks; the caller's random numbers stay as they are.

    Raises:
        ValueError: if there are no batches, or they hold no frames.
    """
    twin = copy.deepcopy(tokenizer).train()
    twin.normalize.reset_running_stats()
    twin.normalize.momentum = None  # a plain mean over all batches
    objective = TokenizerObjective(twin)
    device = tokenizer.encoder_position.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for batch in batches:
            objective.loss(batch)
    if not twin.normalize.num_batches_tracked:
        raise ValueError("there are no batches to take statistics of")
    twin.normalize.momentum = tokenizer.normalize.momentum
    return twin.eval()
