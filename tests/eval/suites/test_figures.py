"""Intervals of figures that are undefined or infinite in some resamples, or in all."""

import math

import pytest
import torch

from worldline.eval.suites.figures import pooled
from worldline.eval.suites.video import gain


def gains(error: list[float], copied: list[float]) -> tuple[float, tuple[float, float] | None]:
    (found,) = pooled(lambda means: gain(*means.chunk(2, -1)), torch.tensor([error, copied]).T, torch.arange(len(error)))
    return found


def test_resamples_in_which_nothing_moves_say_nothing_of_a_gain() -> None:
    value, interval = gains([0.01] + 7 * [0.0], [0.1] + 7 * [0.0])
    assert value == pytest.approx(10)
    assert interval == pytest.approx((10, 10), abs=1e-6)


def test_where_nothing_moves_at_all_there_is_no_interval() -> None:
    value, interval = gains(8 * [0.0], 8 * [0.0])
    assert math.isnan(value)
    assert interval is None


def test_a_perfect_figure_has_no_interval_and_one_that_is_perfect_now_and_then_an_open_one() -> None:
    assert gains(8 * [0.0], 8 * [1.0]) == (math.inf, None)
    value, interval = gains([0.1, 0.0], [1.0, 1.0])
    assert value == pytest.approx(10 * math.log10(20))
    assert interval == (pytest.approx(10), math.inf)
