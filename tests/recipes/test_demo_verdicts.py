"""The demo's verdicts: figures that are good enough pass, and each that is not fails its own bar and no other."""

from copy import deepcopy
from typing import Any

import pytest

from worldline.recipes.demo_verdicts import in_pixels, judge

GOOD: dict[str, Any] = {
    "rollouts": {
        "gain_db": [0.2, 1.5, 2.0],
        "mean_gain_db": 1.23,
        "gain_interval_db": [1.0, 1.5],
        "shuffled_action_ratio": 1.6,
        "shuffled_action_interval": [1.4, 1.8],
        "num_windows": 64,
    },
    "agent": {
        "num_windows": 60,
        "found_share": [1.0, 0.95, 0.9],
        "distance_px": [1.0, 2.0, 3.0],
        "copy_last_px": [2.0, 4.0, 6.0],
        "random_px": [20.0, 20.0, None],
    },
    "gradients": {"worst_relative_error": 1e-8, "rows": [{}, {}]},
    "planning": [{"start": {"agent_px": 30.0}, "end": {"agent_px": 3.0}, "random_end": {"agent_px": 25.0}} for _ in range(2)],
}


def missed(figures: dict[str, Any]) -> list[int]:
    return [index for index, verdict in enumerate(judge(figures)) if not verdict.met]


def test_good_figures_pass() -> None:
    assert missed(GOOD) == []
    assert "+1.23 dB [+1.00, +1.50], 64 windows" in judge(GOOD)[0].figure


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("rollouts", "mean_gain_db"), 1.0, [0]),
        (("rollouts", "gain_db"), [-0.1, 2.0, 3.0], [1]),
        (("rollouts", "shuffled_action_ratio"), 1.1, [2]),
        (("agent", "found_share"), [1.0, 0.89, 1.0], [3]),
        (("agent", "random_px"), [0.5, 20.0, 20.0], [3]),
        (("agent", "distance_px"), [1.0, 2.0, 7.0], [4]),
        (("agent", "distance_px"), [1.0, None, 3.0], [3, 4]),
        (("gradients", "worst_relative_error"), 1e-4, [5]),
        (("planning", 1, "end", "agent_px"), 26.0, [6]),
        (("planning", 0, "start", "agent_px"), 2.0, [6]),
    ],
)
def test_each_bar_is_missed_alone(place: tuple[Any, ...], value: Any, expected: list[int]) -> None:
    figures = deepcopy(GOOD)
    inner: Any = figures
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert missed(figures) == expected


def test_frames_that_are_lost_are_named() -> None:
    figures = deepcopy(GOOD)
    figures["agent"]["distance_px"] = [2.0, 2.0, None]
    assert "not at frame 1, 3" in judge(figures)[4].figure
    assert "not found" in judge(figures)[4].figure


def test_distances_have_units() -> None:
    assert in_pixels(1.25) == "1.2\u00a0px"
    assert in_pixels(None) == "not found"
