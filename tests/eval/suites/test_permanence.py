"""Object permanence on films of a square that passes behind a post."""

import pytest
import torch

from worldline.eval.suites.episodes import EvalPlan
from worldline.eval.suites.permanence import measure_permanence
from worldline.interfaces import Clip

SIZE, FRAMES = 24, 20
PLAN = EvalPlan(num_windows=8, num_seeds=1)


def film(index: int, *, label: str = "event.hidden") -> Clip:
    frames = torch.full((FRAMES, 3, SIZE, SIZE), 200, dtype=torch.uint8)
    hidden = torch.zeros(FRAMES, dtype=torch.bool)
    for time in range(FRAMES):
        left, top = time, 2 + 3 * index
        frames[time, :, top : top + 3, left : left + 3] = 40
        frames[time, :, :, 8:14] = 100  # the post stands in front
        hidden[time] = left >= 8 and left + 3 <= 14
    return Clip(frames=frames, rate_hz=5.0, source=f"film_{index}", labels={label: hidden})


@pytest.mark.parametrize("label", ["event.hidden", "event.occluded"])
def test_a_world_that_remembers_has_one_and_one_that_forgets_has_none(label, replay, episodes_of):
    clips = [film(index, label=label) for index in range(5)]
    for moves, score in ((True, 1.0), (False, None)):
        world = replay(clips, moves=moves)
        (figure,) = measure_permanence(world, episodes_of(world, clips), PLAN).figures
        assert figure.sample.num_episodes == 5
        if score is not None:
            assert figure.value == pytest.approx(score)
        else:
            assert figure.value <= 0.05, "what is held before the post does not come out behind it"


def test_nothing_hidden_is_not_measured(films, true_world, replay, episodes_of):
    suite = measure_permanence(true_world, episodes_of(true_world, films), PLAN)
    assert "no label event.hidden" in suite.not_measured["object permanence"]
    seen = [Clip(frames=c.frames, rate_hz=5.0, source=c.source, labels={"event.hidden": torch.zeros(FRAMES)}) for c in map(film, range(3))]
    world = replay(seen)
    assert "fewer than two episodes" in measure_permanence(world, episodes_of(world, seen), PLAN).not_measured["object permanence"]
