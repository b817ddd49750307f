"""Do actions belong to the frames beside them? The lag between an action and the motion that it causes, and how sure that is.

`actions[t]` should lead from frame `t` to frame `t + 1`: lag 0. At lag 3 the picture answers three frames later: the rows are three too
early, or camera and motors need that long. At a negative lag the picture moves before its action: the rows are late.

The motion tells of an action from the frame on in which it begins to answer (`inspection.foresight` measures how much, beyond what the
motion of other episodes tells), and no frame earlier, since causes come first; afterwards it may go on for long: a torque changes a speed,
of which the next frame sees more. So the lag is where the curve rises, not where it peaks. It counts if the motion tells more than in every
one of many pairings of episodes with strangers, by far. A bootstrap over episodes gives the lag an interval, and actions are misaligned if
the expected lag lies outside of it.

May import: numpy, inspection.foresight. Refuses to know: pixels, files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from worldline.data.inspection.foresight import ORDER, Foresight, explained, strangers, whiten

MAX_LAG = 5
WIDEST_LAG = 12
"""Where to look next if nothing is found within `MAX_LAG`, or the best lag is at its edge."""

_NUM_RESAMPLES = 500
_CONFIDENCE = 0.99  # on either side of the interval
_COMPONENT_AGREEMENT = 0.9
_LEVEL = 0.25  # Of the lags; within an episode all motion tells a little of all actions, such as how hasty it is.
_FEWEST_UNITS = 6
_FEWEST_ROWS = 200
_NUM_PAIRINGS, _PAIRINGS_AT_ONCE = 24, 6
_DEVIATIONS, _COMPONENT_DEVIATIONS = 4.0, 5.0
"""By how many standard deviations of the pairings with strangers the true pairing must stand out; one of many components by more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LagEstimate:
    """How many frames after its action the picture begins to answer.

    Attributes:
        lag: where the curve has risen halfway from its level to its peak, or more; None where the data cannot tell.
        is_misaligned: the lag is not the expected one, and the expected one lies outside the interval.
        agreement: share of bootstrap resamples that give this lag.
        curve: share of the action's news that the motion explains, out of sample, beyond what other episodes' motion does: lag -> share.
        position: the lag before it is rounded; None where the data cannot tell.
        interval: what 98 of 100 resamples give for it; None where the data cannot tell.
        reason: why the data cannot tell; empty otherwise.
    """

    lag: int | None
    is_misaligned: bool
    agreement: float
    curve: Mapping[int, float]
    position: float | None = None
    interval: tuple[float, float] | None = None
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
        motions: of each episode, several families of features of its transitions, each (T - 1, F).
        expected_lag: what counts as aligned: 0, or the latency that the recording is known to have.
        seed: of the bootstrap and of the pairings with strangers.
    """
    near = _measure(actions, motions, MAX_LAG, expected_lag, seed)
    if near.joint.lag is not None and near.joint.lag > -MAX_LAG and _peak(near.joint) < MAX_LAG:
        return near
    far = _measure(actions, motions, WIDEST_LAG, expected_lag, seed)
    return near if far.joint.lag is None else far


def _measure(
    actions: Sequence[np.ndarray], motions: Sequence[Sequence[np.ndarray]], max_lag: int, expected_lag: int, seed: int
) -> Alignment:
    num_lost = 2 * max_lag + ORDER + 1
    usable = [index for index, rows in enumerate(actions) if len(rows) > num_lost]
    dim = actions[0].shape[1] if len(actions) else 0
    if sum(len(actions[index]) - num_lost for index in usable) < _FEWEST_ROWS:
        return _nothing(f"fewer than {_FEWEST_ROWS} frames in episodes long enough to shift by {max_lag} frames either way", dim)
    news = whiten([actions[index][: len(motions[index][0])].astype(np.float64) for index in usable], own=False)
    moved = whiten([np.concatenate(motions[index], axis=1).astype(np.float64) for index in usable], own=True)
    foresight = Foresight(news, moved, max_lag)
    if foresight.num_units < _FEWEST_UNITS:
        return _nothing("too few episodes to judge chance", dim)
    (errors,), (totals,) = foresight.errors([np.arange(foresight.num_units)])
    moving = totals.sum(1) > 0
    if not moving.any():
        return _nothing("nothing in it moves", dim)
    evidence = _Evidence(errors, totals, _pair_with_strangers(foresight, explained(errors.sum(2), totals.sum(1)), seed), expected_lag, seed)
    components = [
        _sure(evidence.estimate([index], _COMPONENT_DEVIATIONS), max_lag) if moving[index] else _cannot_tell("it never changes")
        for index in range(dim)
    ]
    return Alignment(joint=evidence.estimate(np.flatnonzero(moving).tolist(), _DEVIATIONS), components=tuple(components))


def _pair_with_strangers(foresight: Foresight, own: np.ndarray, seed: int) -> np.ndarray:
    """Shares (pairings, lags, A) that are explained by the motion of others; fewer pairings where `own` (lags, A) is no better anyhow."""
    generator = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    while len(found) < _NUM_PAIRINGS:
        errors, totals = foresight.errors([strangers(foresight.num_units, generator) for _ in range(_PAIRINGS_AT_ONCE)])
        found += list(explained(errors.sum(3), totals.sum(2)))
        if (own.max(0) <= np.max(found, axis=(0, 1))).all():
            break
    return np.stack(found)


class _Evidence:
    """What is known of every component, and the estimates that follow from it.

    Args:
        errors: (lags, A, units), of the true pairing.
        totals: (A, units).
        others: (pairings, lags, A): shares that are explained when episodes are paired with strangers.
    """

    def __init__(self, errors: np.ndarray, totals: np.ndarray, others: np.ndarray, expected_lag: int, seed: int) -> None:
        self._errors, self._totals, self._expected_lag = errors, totals, expected_lag
        self._base = others.mean(0)
        self._others = others - self._base
        self._spread = np.maximum(self._others.std((0, 1)), 1e-6)
        num_units = totals.shape[1]
        # Drawn once: what is sure of one component and of all rests on the same resamples.
        self._counts = np.random.default_rng(seed).multinomial(num_units, np.full(num_units, 1 / num_units), size=_NUM_RESAMPLES)

    def estimate(self, components: list[int], deviations: float) -> LagEstimate:
        """The lag of some components together."""
        errors, totals, base = self._errors[:, components], self._totals[components], self._base[:, components]
        excess = explained(errors.sum(2), totals.sum(1)) - base
        weights = self._weights(excess, components)
        curve = excess @ weights
        top, middle = int(curve.argmax()), len(curve) // 2
        shares = {place - middle: float(value) for place, value in enumerate(curve)}
        chance = np.array([(other @ self._weights(other, components)).max() for other in self._others[..., components]])
        if curve[top] <= max(chance.max(), chance.mean() + deviations * chance.std()):
            return _cannot_tell("the motion tells nothing about it that the motion of other episodes does not tell", shares)
        summed = np.einsum("lau,ru->rla", errors, self._counts), np.einsum("au,ru->ra", totals, self._counts)
        resampled = (explained(*summed) - base) @ weights
        if (resampled[:, top] > 0).mean() < _CONFIDENCE:
            return _cannot_tell("the motion tells something about it in too few episodes", shares)
        position, onsets = float(_onsets(curve[None])[0]), _onsets(resampled)
        lag, (low, high) = round(position), np.quantile(onsets, [1 - _CONFIDENCE, _CONFIDENCE]).tolist()
        return LagEstimate(
            lag=lag,
            is_misaligned=lag != self._expected_lag and not low <= self._expected_lag <= high,
            agreement=float((onsets.round() == lag).mean()),
            curve=shares,
            position=round(position, 3),
            interval=(round(low, 3), round(high, 3)),
        )

    def _weights(self, excess: np.ndarray, components: list[int]) -> np.ndarray:
        """Of components (A,), whose shares add up best where what sticks out counts in units of chance.

        A component of which the motion shows nothing, such as a clock, must not drown the others.
        """
        weights = np.maximum(excess.max(0), 1e-9) / self._spread[components] ** 2
        return weights / weights.sum()


def _onsets(curves: np.ndarray) -> np.ndarray:
    """Where curves (R, lags) have risen to their peak, (R,), in lags from the middle; between two lags if the step is between them.

    From the peak to the left, until a value is below half of it, above the level of lags that have nothing to do with it. A straight line
    to that value crosses the half half a lag before the onset, where the rise is one step from nothing to the peak.
    """
    places = np.arange(curves.shape[1])
    top = curves.argmax(1)
    half = (curves[np.arange(len(curves)), top] + np.quantile(curves, _LEVEL, axis=1)) / 2
    is_low = (curves < half[:, None]) & (places < top[:, None])
    low = np.where(is_low, places, -1).max(1)
    at, after = (curves[np.arange(len(curves)), (low + step).clip(0)] for step in (0, 1))
    onset = low + (half - at) / np.maximum(after - at, 1e-12) + 0.5
    return np.where(low < 0, 0, onset) - curves.shape[1] // 2


def _peak(estimate: LagEstimate) -> int:
    return max(estimate.curve, key=lambda lag: estimate.curve[lag])


def _sure(estimate: LagEstimate, max_lag: int) -> LagEstimate:
    """One of many components needs stronger evidence than all together, lest one in a hundred cries wolf."""
    if estimate.lag is not None and (max(abs(estimate.lag), _peak(estimate)) == max_lag or estimate.agreement < _COMPONENT_AGREEMENT):
        return _cannot_tell("the motion tells too little about it", estimate.curve)
    return estimate


def _nothing(reason: str, dim: int) -> Alignment:
    return Alignment(joint=_cannot_tell(reason), components=(_cannot_tell(reason),) * dim)


def _cannot_tell(reason: str, curve: Mapping[int, float] | None = None) -> LagEstimate:
    return LagEstimate(lag=None, is_misaligned=False, agreement=0.0, curve=curve or {}, reason=reason)
