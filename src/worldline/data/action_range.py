"""Bounds of actions, from data that knows no bounds.

May import: interfaces, torch. Refuses to know: where the actions were read.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from worldline.interfaces import ActionSpec

QUANTILES = (0.005, 0.995)
WIDENING = 0.1


def spec_from_actions(actions: Tensor, names: Sequence[str] = ()) -> ActionSpec:
    """Bounds of actions (N, A): their 0.5 to 99.5 percentile range, widened by a tenth of its length on either side.

    Percentiles, because one glitch of a sensor would otherwise squeeze everything else into a corner of [-1, 1]; widened, so
    that the usual extremes lie inside.
    """
    # `torch.quantile` refuses more than 2**24 elements; a stride keeps the estimate representative.
    sample = actions[:: 1 + len(actions) // 200_000].double()
    low, high = torch.quantile(sample, torch.tensor(QUANTILES, dtype=torch.float64), dim=0)
    margin = WIDENING * (high - low)
    return spec_from_range(low - margin, high + margin, names)


def spec_from_range(low: Tensor, high: Tensor, names: Sequence[str] = ()) -> ActionSpec:
    """Bounds (A,) as a spec; a component that never moved gets one unit of room on either side."""
    still = high - low <= 1e-9 * (1 + low.abs())
    low, high = torch.where(still, low - 1, low), torch.where(still, high + 1, high)
    return ActionSpec(low=tuple(low.tolist()), high=tuple(high.tolist()), names=tuple(names))
