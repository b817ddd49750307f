import numpy as np
import pytest

from worldline.data.inspection.foresight import ORDER, Foresight, explained, strangers, whiten

LAGS = range(-3, 4)


def smooth(generator: np.random.Generator, length: int, dim: int) -> np.ndarray:
    """An autoregression of the second order around 5."""
    rows = np.zeros((length, dim))
    for time in range(2, length):
        rows[time] = 1.2 * rows[time - 1] - 0.4 * rows[time - 2] + generator.normal(size=dim)
    return rows + 5


@pytest.mark.parametrize("own", [False, True])
def test_what_is_left_of_an_autoregression_is_its_noise(own: bool) -> None:
    generator = np.random.default_rng(0)
    noise = [generator.normal(size=(300, 2)) for _ in range(10)]
    series = []
    for shocks in noise:
        rows = np.zeros_like(shocks)
        for time in range(2, len(rows)):
            rows[time] = 1.2 * rows[time - 1] - 0.4 * rows[time - 2] + shocks[time]
        series.append(rows)
    left = whiten(series, own=own)
    assert all(np.isnan(rows[:ORDER]).all() for rows in left)
    together, shocks = np.concatenate([rows[ORDER:] for rows in left]), np.concatenate([rows[ORDER:] for rows in noise])
    assert np.corrcoef(together[:, 0], shocks[:, 0])[0, 1] > 0.99
    assert abs(np.corrcoef(together[1:, 1], together[:-1, 1])[0, 1]) < 0.05


def test_rows_that_are_no_numbers_spoil_those_after_them_and_no_others() -> None:
    generator = np.random.default_rng(0)
    series = [smooth(generator, 100, 2) for _ in range(4)]
    series[1][50, 0] = np.nan
    left = whiten(series, own=False)
    assert np.flatnonzero(np.isnan(left[1]).any(1)).tolist() == [*range(ORDER), *range(50, 51 + ORDER)]
    assert np.isfinite(left[0][ORDER:]).all()


def episodes(generator: np.random.Generator, number: int, lag: int, noise: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """White actions (60, 1), and motion (60, 3) whose first feature is the action `lag` frames before, with noise."""
    actions = [generator.normal(size=(60, 1)) for _ in range(number)]
    moved = [
        np.concatenate([np.roll(rows, lag, 0) + noise * generator.normal(size=rows.shape), generator.normal(size=(60, 2))], 1)
        for rows in actions
    ]
    return actions, moved


def test_the_share_that_is_explained_is_the_signals_part_of_the_variance() -> None:
    actions, moved = episodes(np.random.default_rng(0), 60, lag=2, noise=1.0)
    foresight = Foresight(actions, moved, 3)
    assert foresight.num_units == 60
    (errors,), (totals,) = foresight.errors([np.arange(60)])
    curve = explained(errors.sum(2), totals.sum(1))[:, 0]
    assert LAGS[int(curve.argmax())] == 2
    assert curve.max() == pytest.approx(0.5, abs=0.04)  # A quarter of it would be lost to ridge regression at a tenth of the rows.
    assert np.abs(np.delete(curve, 5)).max() < 0.02


def test_errors_are_those_of_predicting_row_by_row() -> None:
    actions, moved = episodes(np.random.default_rng(1), 20, lag=0, noise=0.5)
    foresight = Foresight(actions, moved, 3)
    partner = strangers(20, np.random.default_rng(2))
    errors, totals = foresight.errors([np.arange(20), partner])
    targets, inputs = [np.resize(foresight._targets[other], (54, 1)) for other in partner], [rows[3:-3] for rows in foresight._inputs]
    seen = [unit for unit in range(20) if foresight._fold_of[unit] != 0]
    gram = sum(inputs[unit].T @ inputs[unit] for unit in seen) + 0.3 * 54 * len(seen) * np.eye(3)
    weights = np.linalg.solve(gram, sum(inputs[unit].T @ targets[unit] for unit in seen))
    for unit in range(4):
        expected = ((targets[unit] - inputs[unit] @ weights) ** 2).sum()
        assert errors[1, 3, 0, unit] == pytest.approx(expected, rel=1e-4)
        assert totals[1, 0, unit] == pytest.approx((targets[unit] ** 2).sum(), rel=1e-5)


def test_strangers_tell_nothing_but_what_all_episodes_share() -> None:
    generator = np.random.default_rng(3)
    course = generator.normal(size=(60, 1))
    actions, moved = episodes(generator, 30, lag=1, noise=0.3)
    actions, moved = [rows + course for rows in actions], [np.concatenate([rows, course], 1) for rows in moved]
    foresight = Foresight(actions, moved, 3)
    errors, totals = foresight.errors([np.arange(30), *(strangers(30, generator) for _ in range(5))])
    curves = explained(errors.sum(3), totals.sum(2))[..., 0]
    assert LAGS[int((curves[0] - curves[1:].mean(0)).argmax())] == 1
    assert curves[1:, 3].min() > 0.3  # The course shows at lag 0, in whosever pictures.
    assert curves[1:, 4].max() < 0.1


def test_few_long_episodes_are_taken_in_blocks_and_nobody_is_a_stranger_to_itself() -> None:
    generator = np.random.default_rng(4)
    foresight = Foresight([generator.normal(size=(500, 1)) for _ in range(2)], [generator.normal(size=(500, 2)) for _ in range(2)], 3)
    assert foresight.num_units == 14
    for number in (2, 3, 14):
        partner = strangers(number, generator)
        assert sorted(partner) == list(range(number))
        assert (partner != np.arange(number)).all()
