"""Do actions belong to the frames beside them? The lag between an action and the motion that it causes, and how sure that is.

`actions[t]` should lead from frame `t` to frame `t + 1`: lag 0. At lag 3 the picture answers three frames later: the rows are three too
early, or camera and motors need that long. At a negative lag the picture moves before its action: the rows are late.

Smooth actions resemble themselves a few frames on, so plain correlation has a broad and often displaced peak. Therefore actions and
motion are whitened first, each by its own past (Box and Jenkins, 1970: prewhitening), and what is new in the action is predicted from
what is new in the motion, at every lag, by ridge regression on other episodes than it is judged on. The best lag counts if a bootstrap
over episodes agrees.

May import: numpy. Refuses to know: pixels, files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MAX_LAG = 5
WIDEST_LAG = 12
"""Where to look next if nothing is found within `MAX_LAG`, or the best lag is at its edge."""

_ORDER = 3  # frames of its own past that a series is whitened by
_RIDGE = 0.3  # of a feature's variance
_CLIP = 4.0  # standard deviations; one cut or glitch must not decide
_NUM_FOLDS = 5
_NUM_RESAMPLES = 500
_CONFIDENCE = 0.99
_COMPONENT_AGREEMENT = 0.9
_FEWEST_UNITS = 6
_BLOCK_FRAMES = 64  # of a long episode, where there are too few episodes to resample
_FEWEST_ROWS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class LagEstimate:
    """How many frames after its action the picture moves.

    Attributes:
        lag: the best lag; None where the data cannot tell.
        is_misaligned: the best lag is not the expected one, and the difference is beyond chance.
        agreement: share of bootstrap resamples in which this lag is the best.
        curve: share of the action's news that the motion explains, out of sample: lag -> share.
        reason: why the data cannot tell; empty otherwise.
    """

    lag: int | None
    is_misaligned: bool
    agreement: float
    curve: Mapping[int, float]
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """The estimate from all components together, and from each alone."""

    joint: LagEstimate
    components: tuple[LagEstimate, ...]


def measure_alignment(
    actions: Sequence[np.ndarray], motions: Sequence[Sequence[np.ndarray]], *, expected_lag: int = 0, seed: int = 0
) -> Alignment:
    """Measure at which lag the motion answers the actions: within `MAX_LAG`, then, if it is not there, within `WIDEST_LAG`.

    Args:
        actions: of each episode, (T, A); rows that are not a number are left out.
        motions: of each episode, several families of features of its transitions, each (T - 1, F); the family that explains most is used.
        expected_lag: what counts as aligned: 0, or the latency that the recording is known to have.
        seed: of the bootstrap.
    """
    near = _measure(actions, motions, MAX_LAG, expected_lag, seed)
    if near.joint.lag is not None and abs(near.joint.lag) < MAX_LAG:
        return near
    far = _measure(actions, motions, WIDEST_LAG, expected_lag, seed)
    return near if far.joint.lag is None else far


def _measure(
    actions: Sequence[np.ndarray], motions: Sequence[Sequence[np.ndarray]], max_lag: int, expected_lag: int, seed: int
) -> Alignment:
    num_lost = 2 * max_lag + _ORDER + 1
    usable = [index for index, rows in enumerate(actions) if len(rows) > num_lost]
    dim = actions[0].shape[1] if len(actions) else 0
    if sum(len(actions[index]) - num_lost for index in usable) < _FEWEST_ROWS:
        missing = _cannot_tell(f"fewer than {_FEWEST_ROWS} frames in episodes long enough to shift by {max_lag} frames either way")
        return Alignment(joint=missing, components=(missing,) * dim)
    news = _whiten([actions[index][: len(motions[index][0])].astype(np.float64) for index in usable], own=False)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for family in range(len(motions[0])):
        moved = _whiten([motions[index][family].astype(np.float64) for index in usable], own=True)
        errors, totals = _errors(news, moved, max_lag)
        peak = float(_explained(errors.sum(2), totals.sum(1)).mean(1).max())
        if best is None or peak > best[0]:
            best = (peak, errors, totals)
    assert best is not None
    _, errors, totals = best
    moving = totals.sum(1) > 0
    joint = _estimate(errors[:, moving], totals[moving], max_lag, expected_lag, seed)
    components = [
        _sure(_estimate(errors[:, [index]], totals[[index]], max_lag, expected_lag, seed), max_lag)
        if moving[index]
        else _cannot_tell("it never changes")
        for index in range(dim)
    ]
    return Alignment(joint=joint, components=tuple(components))


def _whiten(series: list[np.ndarray], *, own: bool) -> list[np.ndarray]:
    """What each row of a series (T, D) adds to a linear prediction from the rows before it; the first rows are not-a-number.

    With `own`, each column is predicted from its own past alone: features are many, and their joint past would overfit.
    """
    pasts = [np.stack([rows[_ORDER - back : len(rows) - back] for back in range(1, _ORDER + 1)], axis=2) for rows in series]
    nows = [rows[_ORDER:] for rows in series]
    past, now = np.concatenate(pasts), np.concatenate(nows)
    known = np.isfinite(past).all((1, 2)) & np.isfinite(now).all(1)
    past_mean, now_mean = past[known].mean(0), now[known].mean(0)
    scale = past[known].std(0).mean(1) + 1e-12
    past, now = (past[known] - past_mean) / scale[:, None], (now[known] - now_mean) / scale

    def solve(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.linalg.solve(inputs.T @ inputs + 1e-3 * len(inputs) * np.eye(inputs.shape[1]), inputs.T @ targets)

    dim = now.shape[1]
    weights = np.zeros((dim, _ORDER, dim))
    if own:
        for column in range(dim):
            weights[column, :, column] = solve(past[:, column], now[:, column])
    else:
        weights = solve(past.reshape(len(past), -1), now).reshape(dim, _ORDER, dim)
    flat = weights.reshape(-1, dim)
    whitened = []
    for before, after in zip(pasts, nows, strict=True):
        residual = (after - now_mean) / scale - ((before - past_mean) / scale[:, None]).reshape(len(before), -1) @ flat
        whitened.append(np.concatenate([np.full((_ORDER, dim), np.nan), residual]))
    return whitened


def _errors(news: list[np.ndarray], moved: list[np.ndarray], max_lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Out-of-sample squared errors (lags, A, units) of predicting `news` from `moved`, and the squares (A, units) of predicting zero."""
    lags = range(-max_lag, max_lag + 1)
    rows = [np.arange(max_lag, len(motion) - max_lag) for motion in moved]
    known = [
        np.isfinite(action[row]).all(1) & np.all([np.isfinite(motion[row + lag]).all(1) for lag in lags], axis=0)
        for action, motion, row in zip(news, moved, rows, strict=True)
    ]
    rows = [row[mask] for row, mask in zip(rows, known, strict=True)]
    units = [(index, row) for index, row in enumerate(rows) if len(row)]
    if len(units) < _NUM_FOLDS * 2:
        units = [(index, block) for index, row in units for block in np.array_split(row, max(1, len(row) // _BLOCK_FRAMES))]
    targets = [news[index][row] for index, row in units]
    everything = np.concatenate(targets)
    spread = everything.std(0)
    moving = spread > 1e-9
    mean, scale = everything.mean(0), np.where(moving, spread, 1)
    targets = [np.where(moving, np.clip((target - mean) / scale, -_CLIP, _CLIP), 0) for target in targets]
    totals = np.stack([(target**2).sum(0) for target in targets], axis=1)
    errors = np.zeros((len(lags), *totals.shape))
    # Neighbouring blocks of one episode share a fold, so that what is learned is not tested next door.
    fold_of = np.arange(len(units)) * _NUM_FOLDS // len(units)
    for index, lag in enumerate(lags):
        inputs = [moved[episode][row + lag] for episode, row in units]
        mean, scale = np.concatenate(inputs).mean(0), np.concatenate(inputs).std(0) + 1e-12
        inputs = [np.clip((rows_of_unit - mean) / scale, -_CLIP, _CLIP) for rows_of_unit in inputs]
        grams = [rows_of_unit.T @ rows_of_unit for rows_of_unit in inputs]
        products = [rows_of_unit.T @ target for rows_of_unit, target in zip(inputs, targets, strict=True)]
        for fold in range(_NUM_FOLDS):
            seen = [unit for unit in range(len(units)) if fold_of[unit] != fold]
            if not seen or len(seen) == len(units):
                continue
            gram = np.sum([grams[unit] for unit in seen], axis=0)
            ridge = _RIDGE * sum(len(inputs[unit]) for unit in seen) * np.eye(len(gram))
            weights = np.linalg.solve(gram + ridge, np.sum([products[unit] for unit in seen], axis=0))
            for unit in np.flatnonzero(fold_of == fold):
                errors[index, :, unit] = ((targets[unit] - inputs[unit] @ weights) ** 2).sum(0)
    return errors, totals


def _explained(errors: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Shares (lags, A) of squares (A,) that errors (lags, A) leave out; zero where nothing was to be explained."""
    return np.where(totals > 0, 1 - errors / np.where(totals > 0, totals, 1), 0)


def _estimate(errors: np.ndarray, totals: np.ndarray, max_lag: int, expected_lag: int, seed: int) -> LagEstimate:
    num_units = totals.shape[1]
    if not totals.size or num_units < _FEWEST_UNITS:
        return _cannot_tell("nothing in it moves" if not totals.size else "too few episodes to judge chance")
    explained = _explained(errors.sum(2), totals.sum(1))
    # A component of which the motion shows nothing, such as a clock, must not drown the others.
    weights = np.maximum(explained.max(0), 1e-6)
    weights /= weights.sum()
    curve = explained @ weights
    best = int(curve.argmax())
    counts = np.random.default_rng(seed).multinomial(num_units, np.full(num_units, 1 / num_units), size=_NUM_RESAMPLES)
    resampled = _explained(np.einsum("lau,ru->rla", errors, counts), np.einsum("au,ru->ra", totals, counts)[:, None]) @ weights
    agreement = float((resampled.argmax(1) == best).mean())
    lags = range(-max_lag, max_lag + 1)
    shares = {lag: float(value) for lag, value in zip(lags, curve, strict=True)}
    if curve[best] <= 0 or (resampled[:, best] > 0).mean() < _CONFIDENCE:
        return _cannot_tell("the motion tells nothing about it", shares)
    beats = 1.0 if expected_lag not in lags else float((resampled[:, best] > resampled[:, lags.index(expected_lag)]).mean())
    is_misaligned = lags[best] != expected_lag and beats >= _CONFIDENCE
    return LagEstimate(lag=lags[best], is_misaligned=is_misaligned, agreement=agreement, curve=shares)


def _sure(estimate: LagEstimate, max_lag: int) -> LagEstimate:
    """One of many components needs stronger evidence than all together, lest one in a hundred cries wolf."""
    if estimate.lag is not None and (abs(estimate.lag) == max_lag or estimate.agreement < _COMPONENT_AGREEMENT):
        return _cannot_tell("the motion tells too little about it", estimate.curve)
    return estimate


def _cannot_tell(reason: str, curve: Mapping[int, float] | None = None) -> LagEstimate:
    return LagEstimate(lag=None, is_misaligned=False, agreement=0.0, curve=curve or {}, reason=reason)
