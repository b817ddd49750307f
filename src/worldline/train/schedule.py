"""Learning-rate schedule: warm up, stay, come down.

Warm-up, stable, decay (WSD; Hu et al. 2024, arXiv 2404.06395) with the `1 - sqrt` decay that Hägele et al. 2024
(arXiv 2405.18392) found best. Being constant before its last stretch, it lets a run be stopped, prolonged or given a wall-clock budget.

May import: nothing. Refuses to know: optimisers and time.
"""

import math


def learning_rate_factor(step: int, progress: float, *, warmup_steps: int, decay_fraction: float) -> float:
    """What the peak learning rate is multiplied by.

    Args:
        step: optimiser steps done so far; the first step has 0 and a factor above zero.
        progress: share of the whole run that is done, in [0, 1].
        warmup_steps: length of the linear rise.
        decay_fraction: last share of the run, over which the factor falls to zero as 1 - sqrt(x).
    """
    rise = min(1.0, (step + 1) / (warmup_steps + 1))
    decayed = (progress - (1 - decay_fraction)) / decay_fraction if decay_fraction > 0 else 0.0
    fall = 1 - math.sqrt(min(1.0, max(0.0, decayed)))
    return min(rise, fall)
