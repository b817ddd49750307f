"""Which of many clips show the same thing: candidates by hash (faiss), thinned out by coarse pictures, decided pair by pair.

What decides is in `data.curate.sameness`; here is only what spares it the work.

May import: numpy, faiss, data.curate (fingerprint, sameness). Refuses to know: files, which clip of a group is kept.
"""

from collections.abc import Iterator

import numpy as np

from worldline.data.curate.fingerprint import HASH_BYTES, NUM_PICTURES, SIDE
from worldline.data.curate.sameness import DuplicateConfig, show_the_same

__all__ = ["DuplicateConfig", "candidates", "find_duplicates"]

_SPATIAL_BYTES = HASH_BYTES // 4
"""The hash's first quarter: what does not change within the clip, which survives noise best."""

_CHUNK = 2048
_COARSE = 8  # Pictures of 8 x 8 hardly notice a crop.
_COARSE_CORRELATION, _COARSE_CHANGE_CORRELATION = 0.7, 0.3
_COARSE_STILL_LEVELS = 1.5


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
    pairs = np.array(sorted(candidates(hashes, config.hash_bits))).reshape(-1, 2)
    found: list[tuple[int, int]] = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        for first, second in chunk[_promising(pictures, chunk)].tolist():
            if show_the_same(pictures[first], pictures[second], config):
                found.append((first, second))
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


def _promising(pictures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(P,) bool: which pairs (P, 2) agree as far as very small pictures can tell, in what they show and in what changes."""
    clips, rows = np.unique(pairs, return_inverse=True)
    first, second = rows.reshape(pairs.shape).T
    share = SIDE // _COARSE
    coarse = pictures[clips].reshape(len(clips), NUM_PICTURES, _COARSE, share, _COARSE, share).mean((3, 5), dtype=np.float32)
    values = coarse.reshape(len(clips), NUM_PICTURES, -1)
    change = values - values.mean(1, keepdims=True)
    change = (change - change.mean(2, keepdims=True)).reshape(len(clips), -1)  # A change of the light alone is none.
    values = values.reshape(len(clips), -1)
    values = values - values.mean(1, keepdims=True)
    is_still = np.sqrt((change**2).mean(1)) < _COARSE_STILL_LEVELS
    alike, changes_alike = (np.einsum("pd,pd->p", unit[first], unit[second]) for unit in (_unit(values), _unit(change)))
    return (alike >= _COARSE_CORRELATION) & ((changes_alike >= _COARSE_CHANGE_CORRELATION) | (is_still[first] & is_still[second]))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
