"""Which of many clips show the same thing: candidates by hash (faiss), decided by comparing small pictures.

Two clips are the same if their pictures correlate, and what changes from picture to picture correlates too. The second condition is
what tells a copy from another take of the same scene, which a robot's fixed camera films all day. Pictures are compared as they are
and with strips at the edges of either one cut off, so that a crop is recognised.

May import: numpy, faiss, cv2, data.curate.fingerprint. Refuses to know: files, which clip of a group is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from worldline.data.curate.fingerprint import HASH_BYTES, NUM_PICTURES, SIDE

_SPATIAL_BYTES = HASH_BYTES // 4
"""The hash's first quarter: what does not change within the clip, which survives noise best."""

_STILL_LEVELS = 1.0
_CHUNK = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateConfig:
    """When two clips count as the same.

    Attributes:
        hash_bits: largest number of differing bits, of the 64 that describe the still part, for a pair to be compared at all.
        min_correlation: of the pictures.
        min_change_correlation: of the pictures' differences from their mean over time.
        max_crop: how much of each side may have been cut off, at either end or both; as a share of the side.
        min_promise: least correlation of pictures and changes, before any crop is tried, for crops to be tried at all.
    """

    hash_bits: int = 22
    min_correlation: float = 0.93
    min_change_correlation: float = 0.75
    max_crop: float = 0.1
    min_promise: tuple[float, float] = (0.5, 0.15)

    def __post_init__(self) -> None:
        if not 0 <= self.hash_bits <= 8 * _SPATIAL_BYTES or not 0 <= self.max_crop < 0.5:
            raise ValueError(f"hash_bits {self.hash_bits} and max_crop {self.max_crop}; give 0 to 64 bits and a crop below 0.5")


def find_duplicates(hashes: np.ndarray, pictures: np.ndarray, config: DuplicateConfig | None = None) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of clips that show the same thing, in order; depends on nothing but the arguments.

    Args:
        hashes: (N, HASH_BYTES) uint8.
        pictures: (N, NUM_PICTURES, SIDE, SIDE) uint8.
        config: when clips count as the same.

    Raises:
        ImportError: if faiss is not installed.
    """
    config = config or DuplicateConfig()
    if hashes.shape[1:] != (HASH_BYTES,) or pictures.shape != (len(hashes), NUM_PICTURES, SIDE, SIDE):
        raise ValueError(f"hashes {hashes.shape} and pictures {pictures.shape}; give one fingerprint per clip")
    pairs = sorted(candidates(hashes, config.hash_bits))
    found: list[tuple[int, int]] = []
    views = _Views(pictures, config.max_crop)
    for start in range(0, len(pairs), _CHUNK):
        chunk = np.array(pairs[start : start + _CHUNK])
        found += [tuple(pair) for pair in chunk[views.same(chunk, config)].tolist()]
    return found


def candidates(hashes: np.ndarray, max_bits: int) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, whose still parts differ in at most `max_bits` bits."""
    try:
        import faiss  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ImportError('finding duplicates needs faiss; pip install "worldline[curate]"') from error
    if len(hashes) < 2:
        return
    still = np.ascontiguousarray(hashes[:, :_SPATIAL_BYTES])
    index = faiss.IndexBinaryFlat(8 * _SPATIAL_BYTES)
    index.add(still)
    for start in range(0, len(still), _CHUNK):
        limits, _, neighbours = index.range_search(still[start : start + _CHUNK], max_bits + 1)
        for row in range(len(limits) - 1):
            first = start + row
            yield from ((first, int(second)) for second in neighbours[limits[row] : limits[row + 1]] if second > first)


class _Views:
    """Normalised pictures of each clip, whole and with borders cut off."""

    def __init__(self, pictures: np.ndarray, max_crop: float) -> None:
        self._pictures = pictures
        # (scale, row, column): what is left of each side, and where in what was cut off it lies, from 0 to 1.
        places = [(row, column) for row in (0.0, 0.5, 1.0) for column in (0.0, 0.5, 1.0)]
        self._crops = [(1 - crop, *place) for crop in (max_crop / 2, max_crop) for place in places] if max_crop else []

    def same(self, pairs: np.ndarray, config: DuplicateConfig) -> np.ndarray:
        """(P,) bool for pairs (P, 2)."""
        clips, rows = np.unique(pairs, return_inverse=True)
        rows = rows.reshape(pairs.shape)
        whole = self._normalised(clips, None)
        pictures, changes, both_still = _correlations(whole, rows[:, 0], whole, rows[:, 1])
        same = _agree(pictures, changes, both_still, config)
        promising = (pictures >= config.min_promise[0]) & ((changes >= config.min_promise[1]) | both_still)
        for crop in self._crops:
            open_pairs = np.flatnonzero(promising & ~same)
            if not len(open_pairs):
                break
            used, used_rows = np.unique(rows[open_pairs], return_inverse=True)
            used_rows = used_rows.reshape(-1, 2)
            cut = self._normalised(clips[used], crop)
            for side in (0, 1):
                found = _correlations(cut, used_rows[:, side], whole, rows[open_pairs, 1 - side])
                same[open_pairs] |= _agree(*found, config)
        return same

    def _normalised(self, clips: np.ndarray, crop: tuple[float, float, float] | None) -> tuple[np.ndarray, np.ndarray]:
        """The clips' pictures and their changes over time, each flat, of zero mean; changes are of unit length, or zero."""
        pictures = self._pictures[clips]
        if crop is not None:
            pictures = _cropped(pictures, *crop)
        values = pictures.reshape(len(clips), NUM_PICTURES, -1).astype(np.float32)
        change = values - values.mean(1, keepdims=True)
        change -= change.mean(2, keepdims=True)  # A change of the light alone is none.
        change = change.reshape(len(clips), -1)
        size = np.linalg.norm(change, axis=1, keepdims=True)
        is_still = size < _STILL_LEVELS * np.sqrt(change.shape[1])
        change = np.where(is_still, 0, change / np.maximum(size, 1e-6))
        values = values.reshape(len(clips), -1)
        values = values - values.mean(1, keepdims=True)
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6), change


def _correlations(
    first: tuple[np.ndarray, np.ndarray], first_rows: np.ndarray, second: tuple[np.ndarray, np.ndarray], second_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(P,) each: the correlation of the pictures, of their changes, and whether neither changes."""
    pictures = np.einsum("pd,pd->p", first[0][first_rows], second[0][second_rows])
    changes = np.einsum("pd,pd->p", first[1][first_rows], second[1][second_rows])
    return pictures, changes, ~np.any(first[1], axis=1)[first_rows] & ~np.any(second[1], axis=1)[second_rows]


def _agree(pictures: np.ndarray, changes: np.ndarray, both_still: np.ndarray, config: DuplicateConfig) -> np.ndarray:
    # Two clips in which nothing changes are the same when their pictures are.
    return (pictures >= config.min_correlation) & ((changes >= config.min_change_correlation) | both_still)


def _cropped(pictures: np.ndarray, scale: float, row: float, column: float) -> np.ndarray:
    """A part of pictures (P, N, S, S), `scale` of each side, at the size that they had."""
    import cv2  # noqa: PLC0415 - optional

    # Pixel centres of the part, in pixels of the whole.
    shifts = [(SIDE * (1 - scale)) * place + (scale - 1) / 2 for place in (column, row)]
    matrix = np.array([[scale, 0, shifts[0]], [0, scale, shifts[1]]], dtype=np.float32)
    flat = pictures.reshape(-1, SIDE, SIDE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = [cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE) for picture in flat]
    return np.stack(warped).reshape(pictures.shape)
