"""Charts: values land where they belong, gaps stay gaps. Pictures: another decoder reads the same bytes back."""

import io
import re
from xml.etree import ElementTree

import av
import numpy as np
import pytest
import torch

from worldline.data import to_uint8
from worldline.eval.charts import line_chart, png


def drawing(chart: str) -> ElementTree.Element:
    """The chart's SVG, which must be well-formed XML."""
    return ElementTree.fromstring(chart[: chart.index("</svg>") + len("</svg>")])


def lines(chart: str) -> list[list[np.ndarray]]:
    """Per series, per unbroken run: the points (N, 2)."""
    groups = drawing(chart).findall("./g[@class='line']")
    runs = [[line.get("points", "") for line in group.findall("polyline")] for group in groups]
    return [[np.array([pair.split(",") for pair in points.split()], dtype=float) for points in series] for series in runs]


def test_points_are_proportional_to_values() -> None:
    [[points]] = lines(line_chart({"a": [0.0, 1.0, 4.0]}, x=[0, 1, 2], x_label="x", y_label="y"))
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert (y0 - y2) == pytest.approx(4 * (y0 - y1), abs=0.5)
    assert y2 < y1 < y0, "larger is higher"


def test_series_share_their_axes() -> None:
    [[first], [second]] = lines(line_chart({"a": [1.0, 2.0], "b": [2.0, 1.0]}, x=[1, 2], x_label="x", y_label="y"))
    assert first[0][1] == second[1][1]
    assert first[1][1] == second[0][1]


def test_ticks_enclose_the_values_and_what_was_asked_for() -> None:
    for values in ([22.1, 29.8], [0.003, 0.0041], [-3.0, 5.0], [7.0, 7.0], [1e6, 3e6]):
        for included in ((), (0,), (0, 1)):
            chart = line_chart({"a": values}, x=[1, 2], x_label="x", y_label="y", y_includes=included)
            ticks = [float(text.text or "") for text in drawing(chart).findall("./text[@text-anchor='end']")]
            assert ticks[0] <= min([*values, *included])
            assert ticks[-1] >= max([*values, *included])
            assert 2 <= len(ticks) <= 9


def test_missing_values_leave_a_gap() -> None:
    chart = line_chart({"a": [1.0, 2.0, None, 3.0, float("inf"), 4.0, 5.0]}, x=list(range(7)), x_label="x", y_label="y")
    [runs] = lines(chart)
    assert [len(run) for run in runs] == [2, 1, 2]
    assert len(drawing(chart).findall("./g/circle")) == 5


def test_names_are_escaped() -> None:
    chart = line_chart({"<b>&": [1.0, 2.0]}, x=[1, 2], x_label='"x"<', y_label="y")
    drawing(chart)
    assert "<b>" not in chart
    assert "&lt;b&gt;&amp;" in chart


@pytest.mark.parametrize("series", [{}, {"a": [1.0]}, {"a": [None, None]}, {name: [1.0, 2.0] for name in "abcde"}])
def test_what_cannot_be_drawn_is_refused(series: dict[str, list[float | None]]) -> None:
    with pytest.raises(ValueError, match=re.compile("lines of 2 values|nothing to draw")):
        line_chart(series, x=[1, 2], x_label="x", y_label="y")


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (64, 64)])
def test_a_picture_reads_back(size: tuple[int, int]) -> None:
    frame = torch.rand(3, *size)
    with av.open(io.BytesIO(png(frame)), "r") as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(image, to_uint8(frame).permute(1, 2, 0).numpy())
