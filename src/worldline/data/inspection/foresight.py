"""How much of what is new in the actions of an episode can be told from the motion in it, or in another episode, at every lag.

Smooth actions resemble themselves a few frames on, so plain correlation has a broad and often displaced peak. Therefore actions and
motion are whitened first, each by its own past (Box and Jenkins, 1970: prewhitening), and what is new in the action is predicted from
what is new in the motion by ridge regression, on other episodes than it is judged on.

Episodes of one task move alike whatever their actions say: all begin at rest, reach, and come back. How much of the actions' news an
episode's motion tells for that reason alone is measured by pairing every episode's actions with another one's motion.

May import: numpy. Refuses to know: pixels, files, which lag is right.
"""

from collections.abc import Sequence

import numpy as np

ORDER = 6
"""Frames of its own past that a series is whitened by. At 1 and at 3 the lags that come out still depend on it."""

_RIDGE = 0.3  # of a feature's variance
_CLIP = 4.0  # standard deviations; one cut or glitch must not decide
_NUM_FOLDS = 5
_BLOCK_FRAMES = 64  # of a long episode, where there are too few episodes to resample


def whiten(series: Sequence[np.ndarray], *, own: bool) -> list[np.ndarray]:
    """What each row of a series (T, D) adds to a linear prediction from the rows before it; the first rows are not-a-number.

    With `own`, each column is predicted from its own past alone: features are many, and their joint past would overfit.
    """
    pasts = [np.stack([rows[ORDER - back : len(rows) - back] for back in range(1, ORDER + 1)], axis=2) for rows in series]
    nows = [rows[ORDER:] for rows in series]
    past, now = np.concatenate(pasts), np.concatenate(nows)
    known = np.isfinite(past).all((1, 2)) & np.isfinite(now).all(1)
    past_mean, now_mean = past[known].mean(0), now[known].mean(0)
    scale = past[known].std(0).mean(1) + 1e-12
    past, now = (past[known] - past_mean) / scale[:, None], (now[known] - now_mean) / scale

    def solve(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.linalg.solve(inputs.T @ inputs + 1e-3 * len(inputs) * np.eye(inputs.shape[1]), inputs.T @ targets)

    dim = now.shape[1]
    weights = np.zeros((dim, ORDER, dim))
    if own:
        for column in range(dim):
            weights[column, :, column] = solve(past[:, column], now[:, column])
    else:
        weights = solve(past.reshape(len(past), -1), now).reshape(dim, ORDER, dim)
    flat = weights.reshape(-1, dim)
    whitened = []
    for before, after in zip(pasts, nows, strict=True):
        residual = (after - now_mean) / scale - ((before - past_mean) / scale[:, None]).reshape(len(before), -1) @ flat
        whitened.append(np.concatenate([np.full((ORDER, dim), np.nan), residual]))
    return whitened


class Foresight:
    """Predicts news of actions from news of motion, at all lags up to `max_lag` either way.

    Args:
        news: of each episode, (T, A); what is not a number is left out.
        moved: of each episode, (T, F).
        max_lag: largest lag in frames.

    Attributes:
        num_units: parts that are resampled and paired anew: episodes, or blocks of them where they are few.
    """

    def __init__(self, news: Sequence[np.ndarray], moved: Sequence[np.ndarray], max_lag: int) -> None:
        self._lags = np.arange(-max_lag, max_lag + 1)
        rows = [np.arange(max_lag, min(len(motion), len(action)) - max_lag) for motion, action in zip(moved, news, strict=True)]
        finite = [np.asarray(np.isfinite(motion).all(axis=1)) for motion in moved]
        known = [
            np.isfinite(action[row]).all(1) & mask[row[:, None] + self._lags].all(1)
            for action, mask, row in zip(news, finite, rows, strict=True)
        ]
        units = [(index, row[mask]) for index, (row, mask) in enumerate(zip(rows, known, strict=True)) if mask.any()]
        if len(units) < 2 * _NUM_FOLDS:
            units = [(index, block) for index, row in units for block in np.array_split(row, max(1, len(row) // _BLOCK_FRAMES))]
        self._units = units
        self.num_units = len(units)
        mean, scale = _moments(np.concatenate([news[index][row] for index, row in units]))
        self._targets = [np.where(scale > 1e-9, _standard(news[index][row], mean, scale), 0).astype(np.float32) for index, row in units]
        mean, scale = _moments(np.concatenate([motion[mask] for motion, mask in zip(moved, finite, strict=True)]))
        self._inputs = [_standard(motion, mean, scale).astype(np.float32) for motion in moved]
        self._grams = np.stack([self._gram(unit) for unit in range(self.num_units)])
        # Neighbouring blocks of one episode share a fold, so that what is learned is not tested next door.
        self._fold_of = np.arange(self.num_units) * _NUM_FOLDS // max(self.num_units, 1)

    def errors(self, partners: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Out-of-sample errors where unit `u` has the actions of unit `partner[u]`, for each of several `partners`, (num_units,) each.

        Returns:
            Squared errors (pairings, lags, A, units), and the squares (pairings, A, units) of predicting zero.
        """
        targets = [
            np.concatenate([np.resize(self._targets[partner[unit]], self._targets[unit].shape) for partner in partners], axis=1)
            for unit in range(self.num_units)
        ]
        totals = np.stack([(target.astype(np.float64) ** 2).sum(0) for target in targets], axis=1)
        products = np.stack([self._shifted(unit).T @ target for unit, target in enumerate(targets)])
        products = products.reshape(self.num_units, len(self._lags), -1, totals.shape[0])
        errors = np.broadcast_to(totals, (len(self._lags), *totals.shape)).copy()
        num_rows = np.array([len(target) for target in targets])
        for fold in range(_NUM_FOLDS):
            inside = self._fold_of == fold
            if inside.all() or not inside.any():
                continue
            ridge = _RIDGE * num_rows[~inside].sum() * np.eye(products.shape[2])
            for lag in range(len(self._lags)):
                gram, product = self._grams[~inside, lag].sum(0, dtype=np.float64), products[~inside, lag].sum(0, dtype=np.float64)
                weights = np.linalg.solve(gram + ridge, product)
                fitted = self._grams[inside, lag] @ weights - 2 * products[inside, lag]
                errors[lag][:, inside] += np.einsum("fa,ufa->au", weights, fitted)
        shape = (len(self._lags), len(partners), -1, self.num_units)
        return errors.reshape(shape).swapaxes(0, 1), totals.reshape(len(partners), -1, self.num_units)

    def _shifted(self, unit: int) -> np.ndarray:
        """Features of a unit's rows at all lags, (T, lags * F)."""
        episode, row = self._units[unit]
        return self._inputs[episode][row[:, None] + self._lags].reshape(len(row), -1)

    def _gram(self, unit: int) -> np.ndarray:
        """(lags, F, F): products of the features of a unit's rows, at each lag."""
        episode, row = self._units[unit]
        return np.stack([self._inputs[episode][row + lag].T @ self._inputs[episode][row + lag] for lag in self._lags])


def strangers(num_units: int, generator: np.random.Generator) -> np.ndarray:
    """For each unit another one, (num_units,), at random; nobody is paired with itself."""
    order = generator.permutation(num_units)
    partner = np.empty(num_units, dtype=int)
    partner[order] = np.roll(order, 1)
    return partner


def explained(errors: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Shares (..., lags, A) of squares (..., A) that errors (..., lags, A) leave out; zero where nothing was to be explained."""
    totals = totals[..., None, :]
    return np.where(totals > 0, 1 - errors / np.where(totals > 0, totals, 1), 0)


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows.mean(0), rows.std(0)


def _standard(rows: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip((rows - mean) / np.maximum(scale, 1e-9), -_CLIP, _CLIP)
