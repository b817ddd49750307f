"""Bars are as long as what they count, and every one that counts something can be seen."""

import re

import pytest

from worldline.eval.bars import bar_chart, histogram


def heights(drawing: str) -> list[float]:
    return [float(height) for height in re.findall(r'height="([\d.]+)" fill', drawing)]


def test_bars_are_as_long_as_their_values() -> None:
    lengths = [float(width) for width in re.findall(r'width="([\d.]+)"', bar_chart({"kept": 30, "short": 10}, label="clips"))]
    assert lengths[0] == pytest.approx(3 * lengths[1], abs=0.2)
    with pytest.raises(ValueError, match="not negative"):
        bar_chart({"kept": -1}, label="clips")


def test_a_histogram_counts_and_hides_nothing() -> None:
    values = [0.0] * 900 + [0.5] * 450 + [1.0]
    drawn = heights(histogram(values, label="score", num_bins=3))
    assert drawn[1] == pytest.approx(drawn[0] / 2, abs=0.1)
    assert 1 < drawn[2] < 4  # One of 900 would be an eighth of a pixel.
    assert ">900<" in histogram(values, label="score", num_bins=3)
    assert sum(height > 0 for height in heights(histogram(values, label="score", num_bins=30))) == 3


def test_a_limit_is_drawn_and_says_what_it_does() -> None:
    drawing = histogram([0.4, 0.6], label="sharpness", limit=0.1, limit_label="dropped below")
    assert "sharpness; dropped below 0.1" in drawing
    assert drawing.count("<line") == 1
    assert "<line" not in histogram([0.4, 0.6], label="motion")
