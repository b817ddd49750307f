"""What a clip is recognised by, after re-encoding, resizing, a small crop or a change of brightness.

A fingerprint is eight small grey pictures at even places of the clip, and a 256-bit hash of them: the signs of their low
three-dimensional DCT coefficients (Coskun, Sankur and Memon, "Spatio-temporal transform based video hashing", 2006). The hash finds
candidates among millions; the pictures then decide.

May import: numpy, cv2. Refuses to know: files, other clips.
"""

from collections.abc import Sequence

import numpy as np

NUM_PICTURES = 8
SIDE = 32
HASH_BYTES = 32
_SPATIAL = 8  # low frequencies per axis
_TEMPORAL = 4


def pick(num_frames: int) -> np.ndarray:
    """Indices (NUM_PICTURES,) of the frames that make up the fingerprint of a clip of `num_frames`."""
    return np.round((np.arange(NUM_PICTURES) + 0.5) / NUM_PICTURES * num_frames - 0.5).astype(int).clip(0, num_frames - 1)


def pictures_of(frames: Sequence[np.ndarray]) -> np.ndarray:
    """(NUM_PICTURES, SIDE, SIDE) uint8 from as many luma planes (H, W) of any size."""
    import cv2  # noqa: PLC0415 - optional

    return np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames])


def hash_of(pictures: np.ndarray) -> bytes:
    """HASH_BYTES bytes from pictures (NUM_PICTURES, SIDE, SIDE)."""
    spatial, temporal = _dct_basis(SIDE, _SPATIAL + 1), _dct_basis(NUM_PICTURES, _TEMPORAL)
    spectrum = np.einsum("at,bi,cj,tij->abc", temporal, spatial, spatial, pictures.astype(np.float64), optimize=True)
    # Without row and column 0: they hold brightness and gradients of light, which a change of exposure moves.
    return np.packbits(spectrum[:, 1:, 1:].ravel() > 0).tobytes()


def _dct_basis(length: int, count: int) -> np.ndarray:
    """The first `count` cosines of the DCT-II, (count, length)."""
    return np.cos(np.pi * np.outer(np.arange(count), np.arange(length) + 0.5) / length)
