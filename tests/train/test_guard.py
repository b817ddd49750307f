import json
import math
import random

import pytest

from worldline.train.guard import SpikeGuard


def calm(guard: SpikeGuard, num_steps: int = 200, level: float = 1.0, seed: int = 0) -> SpikeGuard:
    luck = random.Random(seed)
    for _ in range(num_steps):
        assert guard.accept({"loss": luck.gauss(level, 0.1 * level), "norm": luck.gauss(2, 0.2)})
    return guard


@pytest.mark.parametrize("values", [{"loss": 2.0, "norm": 2.0}, {"loss": 1.0, "norm": 4.0}])
def test_a_value_beyond_six_sigma_is_refused_and_one_within_is_not(values: dict[str, float]) -> None:
    guard = calm(SpikeGuard())
    assert not guard.accept(values)
    assert guard.num_skipped == 1
    assert guard.accept({"loss": 1.4, "norm": 2.8})
    assert guard.num_consecutive == 0
    assert guard.accept({"loss": 0.01, "norm": 0.1})  # low is never a spike


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_from_the_first_step_on(value: float) -> None:
    guard = SpikeGuard()
    assert not guard.accept({"loss": value, "norm": 1.0})
    assert not guard.accept({"loss": 1.0, "norm": value})
    assert guard.num_skipped == guard.num_consecutive == 2


def test_a_spike_does_not_widen_what_is_normal() -> None:
    guard = calm(SpikeGuard(patience=10))
    for _ in range(9):
        assert not guard.accept({"loss": 50.0, "norm": 2.0})
        assert not guard.exhausted
    assert not guard.accept({"loss": 50.0, "norm": 2.0})
    assert guard.exhausted


def test_few_steps_judge_nothing() -> None:
    guard = calm(SpikeGuard(), num_steps=31)
    assert guard.accept({"loss": 100.0, "norm": 2.0})


def test_a_term_that_appears_late_is_no_spike_and_zeros_before_it_do_not_count() -> None:
    guard = SpikeGuard()
    for _ in range(100):
        assert guard.accept({"flow": 1.0, "bootstrap": 0.0})
    assert guard.accept({"flow": 1.0, "bootstrap": 0.7})
    assert guard.accept({"flow": 1.0, "bootstrap": 0.7, "reward": 3.0})


def test_a_constant_value_may_begin_to_move() -> None:
    guard = SpikeGuard()
    for _ in range(100):
        assert guard.accept({"loss": 1.0})
    assert guard.accept({"loss": 1.005})
    assert not guard.accept({"loss": 1.1})


def test_after_a_return_only_what_is_not_finite_is_refused_until_the_place_of_trouble_is_passed() -> None:
    guard = calm(SpikeGuard())
    guard.forget(50)
    for _ in range(40):
        assert guard.accept({"loss": 1.0, "norm": 2.0})
    assert guard.accept({"loss": 30.0, "norm": 2.0})
    assert not guard.accept({"loss": math.nan, "norm": 2.0})
    for _ in range(200):
        assert guard.accept({"loss": 30.0, "norm": 2.0})
    assert not guard.accept({"loss": 300.0, "norm": 2.0})


def test_state_survives_json() -> None:
    guard, twin = calm(SpikeGuard()), SpikeGuard()
    guard.accept({"loss": math.nan, "norm": 1.0})
    twin.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert twin.state_dict() == guard.state_dict()
    luck = random.Random(1)
    for _ in range(200):
        values = {"loss": luck.gauss(1.4, 0.2), "norm": 2.0}
        assert twin.accept(values) == guard.accept(values)
    assert guard.num_skipped == twin.num_skipped > 1
