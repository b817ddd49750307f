"""Whether two clips show the same thing, from eight small pictures of each.

One clip's mean picture is laid over the other's (enhanced correlation coefficient: Evangelidis and Psarakis, 2008), which undoes a
crop to a fraction of a pixel. Then the clips are the same if their pictures correlate and what changes from picture to picture does
too. The second condition tells a copy from another take of the same scene, which a robot's fixed camera films all day: only a copy
repeats every movement. Where hardly anything moves, changes are noise, which no copy repeats; then nothing that is left after the one
is subtracted from the other may stand out anywhere.

May import: numpy, cv2. Refuses to know: files, other clips.
"""

from dataclasses import dataclass

import numpy as np

_BLUR = 0.7  # pixels; small things that move between the pixels of a cropped copy would not correlate
_CELL = 4  # pixels that a thing must fill to stand out
_ITERATIONS, _PRECISION = 40, 1e-4
_FILTER_SIZES = ((1,), (5, 1))
"""Of the blur that the fit sees, step by step. A blur first finds large shifts, and goes astray where there are few edges."""

_FLAT_LEVELS = 1.0
_SLACK = 0.03
"""By how much a fitted scale or shear may be off: a twentieth of a pixel of 32 is not seen better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateConfig:
    """When two clips count as the same.

    Attributes:
        hash_bits: largest number of differing bits, of the 64 that describe the still part, for a pair to be compared at all.
        min_correlation: of the pictures.
        min_change_correlation: of the pictures' differences from their mean over time.
        max_still_change: how much, in levels of 255, the changes of clips in which nothing moves may differ in any place.
        max_still_difference: how much their mean pictures may.
        max_crop: how much of each side may have been cut off, at either end or both; as a share of the side.
    """

    hash_bits: int = 22
    min_correlation: float = 0.93
    min_change_correlation: float = 0.91
    max_still_change: float = 1.5
    max_still_difference: float = 4.0
    max_crop: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.hash_bits <= 64 or not 0 <= self.max_crop < 0.5:
            raise ValueError(f"hash_bits {self.hash_bits} and max_crop {self.max_crop}; give 0 to 64 bits and a crop below 0.5")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How far two clips agree once one is laid over the other; levels are of 255.

    Attributes:
        correlation: of the pictures.
        change_correlation: of their differences from the mean over time.
        still_change: the largest difference of those differences, averaged over a cell of pixels.
        still_difference: the largest difference of the mean pictures, likewise.
    """

    correlation: float
    change_correlation: float
    still_change: float
    still_difference: float


def show_the_same(first: np.ndarray, second: np.ndarray, config: DuplicateConfig) -> bool:
    """Whether two clips' pictures (N, S, S), uint8, show the same thing."""
    found = compare(first, second, config.max_crop)
    if found is None or found.correlation < config.min_correlation:
        return False
    is_still = found.still_change <= config.max_still_change and found.still_difference <= config.max_still_difference
    return found.change_correlation >= config.min_change_correlation or is_still


def compare(first: np.ndarray, second: np.ndarray, max_crop: float) -> Comparison | None:
    """Compare two clips' pictures (N, S, S), uint8; None if neither is a part of the other, cut by up to `max_crop` of a side."""
    import cv2  # noqa: PLC0415 - optional

    here, there = first.astype(np.float32), second.astype(np.float32)
    matrix = _overlay(here.mean(0), there.mean(0), max_crop)
    if matrix is None:
        return None
    size = here.shape[2], here.shape[1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones(size[::-1], np.float32), matrix, size, flags=flags) > 1 - 1e-3
    if inside.mean() < (1 - max_crop - _SLACK) ** 2:
        return None
    here = np.stack([cv2.GaussianBlur(picture, (0, 0), _BLUR) for picture in here])
    there = np.stack([cv2.warpAffine(cv2.GaussianBlur(picture, (0, 0), _BLUR), matrix, size, flags=flags) for picture in there])
    ours, theirs = here[:, inside], there[:, inside]
    mean, their_mean = ours.mean(0), theirs.mean(0)
    change, their_change = _without_light(ours - mean), _without_light(theirs - their_mean)
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    gain = float((ours * theirs).sum() / max(float((theirs**2).sum()), 1e-6))  # What a change of brightness multiplied.
    difference = (mean - mean.mean()) - gain * (their_mean - their_mean.mean())
    return Comparison(
        correlation=_correlation(ours, theirs),
        change_correlation=_correlation(change, their_change),
        still_change=_largest(change - gain * their_change, inside),
        still_difference=_largest(difference[None], inside),
    )


def _overlay(here: np.ndarray, there: np.ndarray, max_crop: float) -> np.ndarray | None:
    """The affine map (2, 3) from pixels of `here` to pixels of `there`; None if there is none that a crop could be."""
    import cv2  # noqa: PLC0415 - optional

    if min(here.std(), there.std()) < _FLAT_LEVELS:
        return np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ITERATIONS, _PRECISION)
    everywhere = np.full(here.shape, 255, np.uint8)
    most, best, matrix = max_crop / (1 - max_crop) + _SLACK, -1.0, None
    for filter_sizes in _FILTER_SIZES:
        found, correlation = np.eye(2, 3, dtype=np.float32), -1.0
        try:
            for size in filter_sizes:
                correlation, fitted = cv2.findTransformECC(here, there, found, cv2.MOTION_AFFINE, criteria, everywhere, size)
                found = np.asarray(fitted, dtype=np.float32)
        except cv2.error:  # It does not converge: the pictures have too little in common.
            continue
        (width, shear), (other_shear, height) = np.abs(found[:, :2] - np.eye(2)).tolist()
        if max(width, height) <= most and max(shear, other_shear) <= _SLACK and correlation > best:
            best, matrix = correlation, found
    return matrix


def _without_light(changes: np.ndarray) -> np.ndarray:
    """Changes (N, P) without what all pixels of a picture have in common: a change of the light alone is none."""
    return changes - changes.mean(1, keepdims=True)


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((ours * theirs).sum() / max(float(np.sqrt((ours**2).sum() * (theirs**2).sum())), 1e-6))


def _largest(differences: np.ndarray, inside: np.ndarray) -> float:
    """The largest root mean square, over a cell and in any picture, of differences (N, P) of the pixels `inside` (S, S)."""
    import cv2  # noqa: PLC0415 - optional

    squares = np.zeros((len(differences), *inside.shape), np.float32)
    squares[:, inside] = differences**2
    return float(np.sqrt(max(cv2.blur(square, (_CELL, _CELL), borderType=cv2.BORDER_CONSTANT).max() for square in squares)))
