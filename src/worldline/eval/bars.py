"""Bar charts and histograms as inline SVG, in the style of `eval.charts`.

May import: numpy. Refuses to know: what is counted.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

_WIDTH = 420
_ROW = 24
_NAME, _VALUE = 96, 92
_HEIGHT, _LEFT, _BOTTOM, _TOP, _COUNT = 170, 10, 42, 12, 14


def bar_chart(values: Mapping[str, float], *, label: str, unit: str = "") -> str:
    """An SVG element with one horizontal bar per entry, as long as its value, which is written beside it.

    Raises:
        ValueError: if there is nothing to draw, or a value is negative or not finite.
    """
    if not values or not all(np.isfinite(value) and value >= 0 for value in values.values()):
        raise ValueError(f"bars of {dict(values)}; give at least one, all finite and not negative")
    largest = max(values.values()) or 1.0
    height = _ROW * len(values) + 8
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for row, (name, value) in enumerate(values.items()):
        top = 4 + row * _ROW
        length = value / largest * (_WIDTH - _NAME - _VALUE)
        parts.append(f'<text x="{_NAME - 8}" y="{top + 15}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{_NAME}" y="{top + 3}" width="{max(length, 1):.1f}" height="{_ROW - 8}" fill="var(--series-1)"/>')
        parts.append(f'<text x="{_NAME + length + 6:.1f}" y="{top + 15}">{value:.4g}{escape(unit)}</text>')
    return "".join([*parts, "</svg>"])


def histogram(
    values: Sequence[float], *, label: str, limit: float | None = None, limit_label: str = "dropped above", num_bins: int = 30
) -> str:
    """An SVG element with the distribution of `values`; `limit` is drawn as a line, such as the threshold of a filter.

    `limit_label` says in the caption what the limit does. The tallest bar bears its count; one that holds anything can be seen.

    Raises:
        ValueError: if there is no finite value.
    """
    finite = np.array([value for value in values if np.isfinite(value)])
    if not len(finite):
        raise ValueError(f"no finite value of {label}")
    inside = limit is not None and np.isfinite(limit)
    low = min(float(finite.min()), float(limit) if inside and limit is not None else np.inf)
    high = max(float(finite.max()), float(limit) if inside and limit is not None else -np.inf)
    high = high if high > low else low + 1
    counts, edges = np.histogram(finite, num_bins, (low, high))
    bar, depth = (_WIDTH - 2 * _LEFT) / num_bins, _HEIGHT - _TOP - _BOTTOM
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(f"histogram of {label}")}">']
    for index, count in enumerate(counts):
        length = max(count / int(counts.max()) * (depth - _COUNT), 2.0) if count else 0.0
        parts.append(
            f'<rect x="{_LEFT + index * bar:.1f}" y="{_TOP + depth - length:.1f}" width="{bar - 1:.1f}" height="{length:.1f}" '
            'fill="var(--series-1)"/>'
        )
    tallest = int(counts.argmax())
    # Above the bar, and inside the drawing.
    at = _LEFT + (tallest + 0.5) * bar
    anchor = "start" if tallest < 2 else "end" if tallest > num_bins - 3 else "middle"
    parts.append(f'<text x="{at:.1f}" y="{_TOP + 8}" text-anchor="{anchor}">{counts[tallest]}</text>')
    if inside and limit is not None:
        at = _LEFT + (limit - low) / (high - low) * (_WIDTH - 2 * _LEFT)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 6}" y2="{_TOP + depth}" stroke="var(--series-2)" stroke-width="2"/>')
    for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
        at, value = _LEFT + share * (_WIDTH - 2 * _LEFT), edges[0] + share * (edges[-1] - edges[0])
        parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="{anchor}">{value:.3g}</text>')
    limit_text = f"; {limit_label} {limit:g}" if inside else ""
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(label + limit_text)}</text>')
    return "".join([*parts, "</svg>"])
