"""Line charts as inline SVG and pictures as PNG, without a drawing library.

Colours and fonts come from the page's style sheet (`--series-1`, ...), so that a chart is right on a light and on a dark page.

May import: data.pixels, numpy, torch. Refuses to know: what the lines mean.
"""

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

NUM_SERIES = 4
"""Colours that a page has for lines; a chart has at most as many."""

_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 46
_DASHES = ("", "7 4", "2 4", "9 3 2 3")
_NUM_TICKS = 5


def line_chart(
    series: Mapping[str, Sequence[float | None]], *, x: Sequence[float], x_label: str, y_label: str, y_includes: Sequence[float] = ()
) -> str:
    """An SVG element with one line per entry of `series` and a legend below it.

    Args:
        series: name -> values at `x`; None, or a value that is not finite, leaves a gap.
        x: positions, increasing.
        x_label: what the horizontal axis is, with its unit.
        y_label: likewise for the vertical axis.
        y_includes: values that the vertical axis must reach, such as 0 for quantities whose size is the message.

    Raises:
        ValueError: if there are no finite values, lengths differ, or there are more lines than `NUM_SERIES`.
    """
    if not 1 <= len(series) <= NUM_SERIES or any(len(values) != len(x) for values in series.values()):
        raise ValueError(f"give 1 to {NUM_SERIES} lines of {len(x)} values each, got { ({name: len(v) for name, v in series.items()}) }")
    finite = [value for values in series.values() for value in values if value is not None and math.isfinite(value)]
    if not finite:
        raise ValueError(f"nothing to draw: no finite value in {list(series)}")
    ticks = _ticks(min([*finite, *y_includes]), max([*finite, *y_includes]))
    x_span, y_span = (x[-1] - x[0]) or 1.0, ticks[-1] - ticks[0]

    def point(at: float, value: float) -> tuple[float, float]:
        across = _LEFT + (at - x[0]) / x_span * (_WIDTH - _LEFT - _RIGHT)
        return across, _HEIGHT - _BOTTOM - (value - ticks[0]) / y_span * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(f"{y_label} against {x_label}")}">']
    for tick in ticks:
        _, height = point(x[0], tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{height + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for at in x[:: math.ceil(len(x) / 8)]:
        parts.append(f'<text x="{point(at, ticks[0])[0]:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{at:.4g}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for index, values in enumerate(series.values()):
        parts.append(_line(index, [point(at, v) if v is not None and math.isfinite(v) else None for at, v in zip(x, values, strict=True)]))
    parts.append("</svg>")
    return "".join(parts) + _legend(list(series))


def png(frame: "Tensor") -> bytes:
    """A frame (3, H, W), float in [0, 1], as a PNG file (8-bit RGB, no filter)."""
    from worldline.data import to_uint8  # noqa: PLC0415 - imports torch, which pages without frames do without

    rows = to_uint8(frame).permute(1, 2, 0).flatten(1).cpu().numpy()
    height, width = frame.shape[-2:]
    # Each row begins with the number of its filter: 0, none.
    image = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", image) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _line(index: int, points: list[tuple[float, float] | None]) -> str:
    style = f'style="--color: var(--series-{index + 1})"'
    runs: list[list[tuple[float, float]]] = [[]]
    for position in points:
        if position is None:
            runs.append([])
        else:
            runs[-1].append(position)
    lines = ""
    for run in runs:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in run)
        lines += f'<polyline points="{path}" stroke-dasharray="{_DASHES[index]}"/>'
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for run in runs for a, b in run)
    return f'<g class="line" {style}>{lines}{dots}</g>'


def _legend(names: list[str]) -> str:
    entries = "".join(
        f'<li style="--color: var(--series-{index + 1})"><svg viewBox="0 0 34 10" class="key" aria-hidden="true"><g class="line">'
        f'<polyline points="1,5 33,5" stroke-dasharray="{_DASHES[index]}"/><circle cx="17" cy="5" r="3"/></g></svg>{escape(name)}</li>'
        for index, name in enumerate(names)
    )
    return f'<ul class="legend">{entries}</ul>'


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose [low, high]."""
    span = (high - low) or abs(high) or 1.0
    rough = span / _NUM_TICKS
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]
