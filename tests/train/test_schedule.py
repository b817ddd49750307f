import pytest

from worldline.train.schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("step", "progress", "factor"),
    [
        (0, 0.0, 0.1),  # the first step already moves
        (4, 0.0, 0.5),
        (9, 0.0, 1.0),
        (500, 0.8, 1.0),
        (500, 0.85, 0.5),  # 1 - sqrt(1 / 4)
        (500, 0.9, 1 - 0.5**0.5),
        (500, 1.0, 0.0),
        (0, 0.95, 0.1),  # a budget that runs out during warm-up: the lower of the two
    ],
)
def test_values(step: int, progress: float, factor: float) -> None:
    assert learning_rate_factor(step, progress, warmup_steps=9, decay_fraction=0.2) == pytest.approx(factor)


def test_without_decay_or_warm_up_it_is_constant() -> None:
    assert {learning_rate_factor(step, step / 100, warmup_steps=0, decay_fraction=0.0) for step in range(101)} == {1.0}
