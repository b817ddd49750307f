"""Linear probes: what can be read off features by ridge regression, on episodes that the probe has not seen.

May import: torch. Refuses to know: worlds, what the features are.

Shapes: N rows (frames), F features, K targets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties that are tried, times the number of rows; features are scaled to unit variance."""

NUM_FOLDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A linear map with what its inputs and outputs are scaled by."""

    center: Tensor
    scale: Tensor
    weight: Tensor
    offset: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(..., F) -> (..., K) float64."""
        return (features.double() - self.center) / self.scale @ self.weight + self.offset


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossProbe:
    """Probes of `NUM_FOLDS` folds of episodes: each was fitted without its own fold.

    Attributes:
        probes: one per fold.
        folds: (N,), the fold of each row.
        predicted: (N, K), each row by the probe that has not seen its episode.
    """

    probes: tuple[Probe, ...]
    folds: Tensor
    predicted: Tensor


def fold_of(episodes: Tensor) -> Tensor:
    """The fold (N,) of each row, by its episode (N,)."""
    return episodes.unique(return_inverse=True)[1] % NUM_FOLDS


def fit_probe(features: Tensor, targets: Tensor, penalty: float) -> Probe:
    """Ridge regression (Hoerl and Kennard, 1970) of targets (N, K) on features (N, F)."""
    (probe,) = _fit(features, targets, (penalty,))
    return probe


def cross_probe(features: Tensor, targets: Tensor, episodes: Tensor) -> CrossProbe:
    """Fit on four fifths of the episodes and predict the rest, five times; the penalty is chosen within the first four fifths.

    Args:
        features: (N, F).
        targets: (N, K).
        episodes: (N,), which episode each row belongs to.

    Raises:
        ValueError: if there are fewer than 10 episodes.
    """
    if len(episodes.unique()) < 2 * NUM_FOLDS:
        raise ValueError(f"a probe needs {2 * NUM_FOLDS} episodes or more, got {len(episodes.unique())}")
    folds = fold_of(episodes)
    penalty = _choose_penalty(features, targets, inner=folds == 1, outer=folds > 1)
    probes = tuple(fit_probe(features[folds != fold], targets[folds != fold], penalty) for fold in range(NUM_FOLDS))
    predicted = torch.empty(len(features), targets.shape[1], dtype=torch.float64)
    for fold, probe in enumerate(probes):
        predicted[folds == fold] = probe(features[folds == fold])
    return CrossProbe(probes=probes, folds=folds, predicted=predicted)


def best_probe(features: Tensor, targets: Tensor, episodes: Tensor) -> Probe:
    """Fit on all rows, with the penalty that does best on a fifth of the episodes when fitted on the others.

    Raises:
        ValueError: if there are fewer than 10 episodes.
    """
    if len(episodes.unique()) < 2 * NUM_FOLDS:
        raise ValueError(f"a probe needs {2 * NUM_FOLDS} episodes or more, got {len(episodes.unique())}")
    inner = fold_of(episodes) == 0
    return fit_probe(features, targets, _choose_penalty(features, targets, inner=inner, outer=~inner))


def _choose_penalty(features: Tensor, targets: Tensor, *, inner: Tensor, outer: Tensor) -> float:
    """The penalty whose fit on the rows `outer` does best on the rows `inner`."""
    candidates = _fit(features[outer], targets[outer], PENALTIES)
    variance = targets[outer].double().var(0).clamp_min(1e-12)
    errors = [float(((probe(features[inner]) - targets[inner]) ** 2 / variance).mean()) for probe in candidates]
    return PENALTIES[errors.index(min(errors))]


def _fit(features: Tensor, targets: Tensor, penalties: tuple[float, ...]) -> list[Probe]:
    """One probe per penalty, from one decomposition."""
    x, y = features.double(), targets.double()
    center, scale, offset = x.mean(0), x.std(0).clamp_min(1e-6), y.mean(0)
    x, y = (x - center) / scale, y - offset
    tall = len(x) >= x.shape[1]
    values, vectors = torch.linalg.eigh(x.T @ x if tall else x @ x.T)
    projected = vectors.T @ (x.T @ y if tall else y)
    probes = []
    for penalty in penalties:
        solved = vectors @ (projected / (values.clamp_min(0) + penalty * len(x))[:, None])
        probes.append(Probe(center=center, scale=scale, weight=solved if tall else x.T @ solved, offset=offset))
    return probes
