"""What a clip looks like, in numbers: small grey pictures of it in, one score per fault out.

Every score is kept beside the clip, whether or not it decided anything, so that another threshold needs no second pass.

May import: numpy, cv2. Refuses to know: files, thresholds other than the verdict's.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from worldline.data.curate.config import CurateConfig

Scores: TypeAlias = Mapping[str, float]

_BLACK_LEVEL, _BLACK_SPREAD = 32, 8  # luma of video runs from 16 to 235
_STILL_LEVELS = 0.25
_STROKE_LEVELS = 24
_BAR_LEVEL = 28
_FLOW_SIDE = 32  # At 64 it takes more than four times as long, for almost the same order of clips.


def score_clip(pictures: np.ndarray, neighbours: Sequence[tuple[np.ndarray, np.ndarray]], brightness: np.ndarray, rate_hz: float) -> Scores:
    """Scores of one clip, in the order in which `verdict` asks for them.

    Args:
        pictures: (N, H, W) uint8 luma, spread over the clip.
        neighbours: pairs of pictures (H, W) that are one frame apart, for motion.
        brightness: mean luma of every decoded frame of the clip, for flicker.
        rate_hz: frames per second of the clip.
    """
    return {
        "black": float(np.mean([_is_black(picture) for picture in pictures])),
        "frozen": frozen(pictures),
        "bars": bars(pictures),
        "text": float(np.median([text(picture) for picture in pictures])),
        "sharpness": float(np.median([sharpness(picture) for picture in pictures])),
        "flicker": flicker(brightness),
        "motion": float(np.mean([motion(before, after) for before, after in neighbours]) * rate_hz) if neighbours else 0.0,
    }


def verdict(scores: Scores, num_seconds: float, config: CurateConfig) -> str:
    """Why a clip is dropped, as one word, or "kept". The first fault counts: a black clip is also frozen."""
    faults = {
        "short": num_seconds < config.min_seconds - 1e-6,
        "black": scores["black"] > config.max_black,
        "text": scores["text"] > config.max_text,
        "frozen": scores["frozen"] > config.max_frozen,
        "bars": scores["bars"] > config.max_bars,
        "blurred": scores["sharpness"] < config.min_sharpness,
        "flicker": scores["flicker"] > config.max_flicker,
        "still": scores["motion"] < config.min_motion,
    }
    return next((name for name, is_faulty in faults.items() if is_faulty), "kept")


def frozen(pictures: np.ndarray) -> float:
    """Share of pictures (N, H, W) that repeat the one before them."""
    if len(pictures) < 2:
        return 0.0
    import cv2  # noqa: PLC0415 - optional

    steps = [cv2.norm(before, after, cv2.NORM_L1) / after.size for before, after in pairwise(pictures)]
    return float(np.mean([step < _STILL_LEVELS for step in steps]))


def bars(pictures: np.ndarray) -> float:
    """Share of the picture that black bars at its edges cover throughout the clip; 0 for a picture that is all black."""
    brightest = pictures.max(0)
    rows, columns = brightest.max(1) > _BAR_LEVEL, brightest.max(0) > _BAR_LEVEL
    if not rows.any():
        return 0.0
    height = len(rows) - np.argmax(rows) - np.argmax(rows[::-1])
    width = len(columns) - np.argmax(columns) - np.argmax(columns[::-1])
    return float(1 - height * width / brightest.size)


def text(picture: np.ndarray) -> float:
    """How much a picture (H, W) looks like a card of text: a flat ground, crossed by rows of many strokes. 0 to 1.

    A drawn scene may have a flat ground too, but a row through a few objects changes between ground and object a few times, a row
    of letters dozens of times.
    """
    import cv2  # noqa: PLC0415 - optional

    ground = cv2.calcHist([picture], [0], None, [256], [0, 256]).ravel()
    level = int(np.argmax(np.convolve(ground, np.ones(9), mode="same")))
    flat = ground[max(level - _STROKE_LEVELS, 0) : level + _STROKE_LEVELS + 1].sum() / picture.size
    if flat < 0.6 or flat == 1:
        return 0.0
    levels = picture.astype(np.int16)
    strokes = np.abs(levels - level) > _STROKE_LEVELS
    # The step must be a step: noise around the border of what counts as ground is none.
    crossings = ((strokes[:, 1:] != strokes[:, :-1]) & (np.abs(np.diff(levels, axis=1)) > _STROKE_LEVELS)).sum(1)
    written = crossings[strokes.any(1)]
    return float(np.clip((np.median(written) - 6) / 12, 0, 1)) if len(written) >= 4 else 0.0


def sharpness(picture: np.ndarray) -> float:
    """Energy of the finest details of a picture (H, W) over its contrast; the variance of the Laplacian, made blind to contrast."""
    import cv2  # noqa: PLC0415 - optional

    _, spread = _mean_and_spread(picture)
    return 0.0 if spread < 1 else _mean_and_spread(cv2.Laplacian(picture, cv2.CV_32F))[1] / spread


def flicker(brightness: np.ndarray) -> float:
    """Mean size of jumps of brightness (T,) that the next frame takes back; a fade or a cut is none."""
    if len(brightness) < 3:
        return 0.0
    step = np.diff(brightness)
    taken_back = np.minimum(np.abs(step[1:]), np.abs(step[:-1])) * (step[1:] * step[:-1] < 0)
    return float(taken_back.mean())


def motion(before: np.ndarray, after: np.ndarray) -> float:
    """Mean length of the optical flow (DIS, Kroeger et al., arXiv 1603.03590) from one picture (H, W) to the next, in widths."""
    import cv2  # noqa: PLC0415 - optional

    small = [cv2.resize(picture, (_FLOW_SIDE, _FLOW_SIDE), interpolation=cv2.INTER_AREA) for picture in (before, after)]
    flow = _flow_estimator().calc(*small, None)
    return float(np.linalg.norm(flow, axis=-1).mean()) / _FLOW_SIDE


@cache
def _flow_estimator() -> Any:
    """One estimator per process: it holds buffers, and making it costs as much as using it."""
    import cv2  # noqa: PLC0415 - optional

    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)


def _is_black(picture: np.ndarray) -> bool:
    mean, spread = _mean_and_spread(picture)
    return mean < _BLACK_LEVEL and spread < _BLACK_SPREAD


def _mean_and_spread(picture: np.ndarray) -> tuple[float, float]:
    """As numpy's mean and std, in a tenth of the time."""
    import cv2  # noqa: PLC0415 - optional

    mean, spread = cv2.meanStdDev(picture)
    return float(mean[0, 0]), float(spread[0, 0])
