"""What a suite hands back: figures with floors and intervals, lines, films, and what could not be measured and why.

May import: eval.metrics. Refuses to know: worlds, files.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from worldline.eval.metrics import percentiles, resampled_means


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What a figure is computed from: windows (frames, for probes), the episodes that they are cut from, and the seeds of the noise."""

    num_windows: int = 0
    num_episodes: int = 0
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        name: what it is, as in docs/eval.md.
        value: the number; infinite or NaN where that is the result.
        unit: of the value, its interval and its floors; "" for a pure number.
        interval: 95 %, bootstrapped over episodes; None where the figure is a count or an exact comparison.
        floors: what needs no world, by name: `copy last frame`, ...
        sample: what it is computed from.
        note: how to read it, or what is special here.
    """

    name: str
    value: float
    unit: str = ""
    interval: tuple[float, float] | None = None
    floors: Mapping[str, float] = field(default_factory=dict)
    sample: Sample = Sample()
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what is not finite becomes None."""
        return {
            "name": self.name,
            "value": _finite(self.value),
            "unit": self.unit,
            "interval": None if self.interval is None else [_finite(end) for end in self.interval],
            "floors": {name: _finite(value) for name, value in self.floors.items()},
            "num_windows": self.sample.num_windows,
            "num_episodes": self.sample.num_episodes,
            "seeds": list(self.sample.seeds),
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A chart: up to four series over `x`."""

    title: str
    series: Mapping[str, Sequence[float]]
    x: Sequence[float]
    x_label: str
    y_label: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        series = {name: [_finite(value) for value in values] for name, values in self.series.items()}
        return {"title": self.title, "x": list(self.x), "x_label": self.x_label, "y_label": self.y_label, "series": series}


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """Videos (T, 3, H, W) in [0, 1] of one size and length, to be shown side by side, by label."""

    title: str
    panels: Mapping[str, Tensor]
    rate_hz: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """The result of one suite. `not_measured`: name -> why."""

    name: str
    figures: tuple[Figure, ...] = ()
    lines: tuple[Line, ...] = ()
    films: tuple[Film, ...] = ()
    not_measured: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without the films."""
        return {
            "figures": [figure.to_dict() for figure in self.figures],
            "lines": [line.to_dict() for line in self.lines],
            "not_measured": dict(self.not_measured),
        }


def pooled(
    function: Callable[[Tensor], Tensor], values: Tensor, clusters: Tensor, *, unbiased: bool = False
) -> list[tuple[float, tuple[float, float] | None]]:
    """Figures that are functions of means, with their intervals; None where the figure, or every resample of it, is not finite, and where
    there is only one episode, which says nothing of others.

    Resamples in which the figure is undefined, such as those in which nothing moves, say nothing of it and are left out.

    Args:
        function: means (..., D) -> figures (..., K) or (...,).
        values: (N, D), a row per window.
        clusters: (N,), the episode of each.
        unbiased: move the resamples so that their mean is the figure itself; for what noise can only make larger, such as distances.
    """
    exact = function(values.double().mean(0))
    resamples = function(resampled_means(values, clusters))
    if unbiased:
        resamples = (resamples - resamples.mean(0) + exact).clamp_min(0)
    columns = resamples.reshape(len(resamples), -1).T
    if len(clusters.unique()) < 2:
        return [(float(value), None) for value in exact.reshape(-1)]
    return [(float(value), _interval(value, column)) for value, column in zip(exact.reshape(-1), columns, strict=True)]


def _interval(value: Tensor, resamples: Tensor) -> tuple[float, float] | None:
    known, most = resamples[~resamples.isnan()], torch.finfo(torch.float64).max
    if not bool(value.isfinite()) or not len(known):
        return None
    ends = (float(end) for end in percentiles(known.clamp(-most, most)))
    low, high = (math.copysign(math.inf, end) if abs(end) > _INFINITE_FROM else end for end in ends)
    return low, high


_INFINITE_FROM = 1e300  # between a resample that is infinite and one that is not


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
