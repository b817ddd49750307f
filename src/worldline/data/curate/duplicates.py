"""Which of many clips show the same thing: candidates by hash (faiss), decided by comparing small pictures.

Two clips are the same if their pictures correlate, and what changes from picture to picture correlates too. The second condition is
what tells a copy from another take of the same scene, which a robot's fixed camera films all day. Pictures are compared as they are
and with either one's border cut off, so that a crop is recognised.

May import: numpy, faiss, cv2, data.curate.fingerprint. Refuses to know: files, which clip of a group is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from worldline.data.curate.fingerprint import HASH_BYTES, NUM_PICTURES, SIDE

_SPATIAL_BYTES = HASH_BYTES // 4
"""The hash's first quarter: what does not change within the clip, which survives noise best."""

_STILL_LEVELS = 1.0
_CHUNK = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateConfig:
    """When two clips count as the same.

    Attributes:
        hash_bits: largest number of differing bits, of the 64 that describe the still part, for a pair to be compared at all.
        min_correlation: of the pictures.
        min_change_correlation: of the pictures' differences from their mean over time.
        max_crop: largest border that may have been cut off, as a share of the side.
    """

    hash_bits: int = 12
    min_correlation: float = 0.93
    min_change_correlation: float = 0.75
    max_crop: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.hash_bits <= 8 * _SPATIAL_BYTES or not 0 <= self.max_crop < 0.3:
            raise ValueError(f"hash_bits {self.hash_bits} and max_crop {self.max_crop}; give 0 to 64 bits and a crop below 0.3")


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


def groups_of(pairs: Sequence[tuple[int, int]], num_clips: int) -> np.ndarray:
    """(num_clips,) the smallest index that each clip is connected to by pairs; its own where there is none."""
    parent = np.arange(num_clips)
    for first, second in pairs:
        roots = []
        for node in (first, second):
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]  # noqa: PLW2901 - walking up is the point
            roots.append(node)
        parent[max(roots)] = min(roots)
    for node in range(num_clips):
        parent[node] = parent[parent[node]]
    return parent


class _Views:
    """Normalised pictures of each clip, whole and with borders cut off."""

    def __init__(self, pictures: np.ndarray, max_crop: float) -> None:
        self._pictures = pictures
        self._crops = sorted({0.0, max_crop / 2, max_crop})

    def same(self, pairs: np.ndarray, config: DuplicateConfig) -> np.ndarray:
        """(P,) bool for pairs (P, 2)."""
        whole = self._normalised(pairs.ravel(), 0.0)
        first, second = ((still[side::2], change[side::2]) for side in (0, 1) for still, change in [whole])
        same = _agree(first, second, config)
        for crop in self._crops[1:]:
            undecided = np.flatnonzero(~same)
            cut = self._normalised(pairs[undecided].ravel(), crop)
            for side, other in ((0, second), (1, first)):
                mine = (cut[0][side::2], cut[1][side::2])
                same[undecided] |= _agree(mine, (other[0][undecided], other[1][undecided]), config)
        return same

    def _normalised(self, clips: np.ndarray, crop: float) -> tuple[np.ndarray, np.ndarray]:
        """The clips' pictures and their changes over time, each flat, of zero mean; changes are of unit length, or zero."""
        pictures = self._pictures[clips]
        if crop:
            pictures = _cropped(pictures, crop)
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


def _agree(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], config: DuplicateConfig) -> np.ndarray:
    pictures = np.einsum("pd,pd->p", first[0], second[0])
    changes = np.einsum("pd,pd->p", first[1], second[1])
    # Two clips in which nothing changes are the same when their pictures are.
    both_still = ~first[1].any(1) & ~second[1].any(1)
    return (pictures >= config.min_correlation) & ((changes >= config.min_change_correlation) | both_still)


def _cropped(pictures: np.ndarray, crop: float) -> np.ndarray:
    """The middle of pictures (P, N, S, S), a border of `crop` cut off at each edge, at the size that they had."""
    import cv2  # noqa: PLC0415 - optional

    scale = 1 - 2 * crop
    shift = (SIDE - 1) / 2 * (1 - scale)
    matrix = np.array([[scale, 0, shift], [0, scale, shift]], dtype=np.float32)
    flat = pictures.reshape(-1, SIDE, SIDE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=flags) for picture in flat]).reshape(pictures.shape)
