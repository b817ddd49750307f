"""Windows of held-out episodes: whose neighbours they are, and what data a world takes."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worldline.eval.suites.episodes import Episodes
from worldline.interfaces import Clip


def world(rate_hz: float | None = 5.0) -> Any:
    return SimpleNamespace(config=SimpleNamespace(tokenizer=SimpleNamespace(image_size=8), rate_hz=rate_hz), action_spec=None)


def clips(lengths: list[int], rate_hz: float = 5.0) -> list[Clip]:
    shapes = [(length, 3, 8, 8) for length in lengths]
    return [Clip(frames=torch.zeros(shape, dtype=torch.uint8), rate_hz=rate_hz, source=str(i)) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("lengths", [[40, 40], [40, 40, 40], [40, 12, 40, 11], [60, 11, 12, 12, 13, 11]])
@pytest.mark.parametrize("count", [6, 7, 24])
def test_neighbours_are_of_different_episodes_wherever_that_can_be(lengths: list[int], count: int) -> None:
    for seed in range(20):
        places = Episodes(clips(lengths), world()).places(10, count, seed=seed)
        assert len(set(places)) == len(places)
        counts = [sum(episode == number for episode, _ in places) for number in range(len(lengths))]
        following = [*places[1:], places[0]]
        alike = sum(one[0] == other[0] for one, other in zip(places, following, strict=True))
        assert alike == max(0, 2 * max(counts) - len(places)), "as few as there can be in a ring"


def test_one_episode_alone_has_windows_too() -> None:
    assert len(Episodes(clips([40]), world()).places(10, 5)) == 5


@pytest.mark.parametrize(("rate_hz", "skip"), [(5.0, 1), (10.0, 2), (9.99, 2), (30.0, 6), (29.97, 6)])
def test_data_at_the_worlds_rate_or_a_multiple_is_taken(rate_hz: float, skip: int) -> None:
    assert Episodes(clips([40], rate_hz), world()).skips == (skip,)


@pytest.mark.parametrize("rate_hz", [3.0, 4.0, 7.0, 12.0, 24.0])
def test_data_at_another_rate_is_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="give data at its rate or a multiple"):
        Episodes(clips([40], rate_hz), world())
    assert Episodes(clips([40], rate_hz), world(None)).skips == (1,)
