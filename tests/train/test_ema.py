import pytest
import torch
from torch import nn

from worldline.train.ema import WeightAverage


def moved(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def test_average_follows_the_formula() -> None:
    model = nn.Linear(2, 2)
    moved(model, 0.0)
    average, expected = WeightAverage(model, 0.5), 0.0
    for count in range(20):
        moved(model, float(count))
        average.update()
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * count
        assert average.tensors()["weight"][0, 0].item() == pytest.approx(expected, rel=1e-6)


def test_decay_of_zero_is_the_weights_themselves() -> None:
    model = nn.Linear(3, 3)
    average = WeightAverage(model, 0.0)
    moved(model, 0.3)
    average.update()
    assert torch.equal(average.tensors()["weight"], model.weight)


def test_swap_shows_the_average_and_gives_the_weights_back_even_after_an_error() -> None:
    model = nn.Linear(3, 3)
    average = WeightAverage(model, 0.9)
    start = average.tensors()["weight"].clone()
    moved(model, 1 / 3)

    def draw() -> None:
        with average.swapped_in():
            assert torch.equal(model.weight, start)
            raise RuntimeError("drawing failed")

    with pytest.raises(RuntimeError, match="drawing"):
        draw()
    assert torch.equal(model.weight, torch.full((3, 3), 1 / 3))
    assert torch.equal(average.tensors()["weight"], start)


def test_frozen_parameters_stay_out_and_another_models_average_is_refused() -> None:
    model = nn.Linear(3, 3)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.9)
    assert average.tensors().keys() == {"weight"}
    with pytest.raises(ValueError, match="bias"):
        average.restore({"weight": torch.zeros(3, 3), "bias": torch.zeros(3)}, 1)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        WeightAverage(nn.Linear(1, 1), decay)
