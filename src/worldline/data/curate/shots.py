"""Where one shot ends and the next begins, decided while frames stream by.

PySceneDetect's detectors look at every frame, small and in colour; `adaptive` compares each change with those around it, so that a
fast pan is no cut. They decide a few frames late, which `latency` says, so that whoever buffers frames knows how long to wait.

May import: numpy, scenedetect, data.curate.transnet. Refuses to know: files, clips.
"""

from typing import Protocol

import numpy as np

from worldline.data.curate.config import ShotDetector

SMALL = (64, 36)
"""Width and height of the frames that cuts are looked for in; TransNetV2 was trained at 48 x 27."""

BATCH = 32
"""Frames that are looked at together."""

_MIN_SHOT_FRAMES = 5
_ADAPTIVE_THRESHOLD, _CONTENT_THRESHOLD = 15.0, 27.0
_FRAMES_BEFORE = 3  # The library's window of two frames, and the frame that the first of them is compared with.


class Cutter(Protocol):
    """Finds cuts in a stream of frames, which it takes in batches of `BATCH`, the last one shorter."""

    latency: int
    """A cut at frame `t` is known at the latest when frame `t + latency` has been pushed."""
    frame_size: tuple[int, int]
    """Width and height of the frames that it wants."""

    def push(self, frames: np.ndarray) -> list[int]:
        """Take the next frames (N, height, width, 3) uint8, BGR; returns the frames, counted from 0, that turned out to begin a shot."""
        ...

    def finish(self) -> list[int]:
        """What is left to say after the last frame."""
        ...


class SceneCutter:
    """PySceneDetect's `AdaptiveDetector`, or its `ContentDetector`.

    The library spends a tenth of a millisecond on a frame, most of it outside of numpy. Both detectors look for frames whose content
    changed by more than a threshold, so that is computed here for many frames at once, with the library's formula, and the library
    decides only where it is passed.
    """

    frame_size = SMALL
    latency = 2

    def __init__(self, kind: ShotDetector) -> None:
        try:
            import scenedetect  # noqa: PLC0415 - optional, and slow to import
        except ImportError as error:
            raise ImportError('finding shots needs scenedetect; pip install "worldline[curate]"') from error
        self._library = scenedetect
        self._kind = kind
        self._threshold = _ADAPTIVE_THRESHOLD if kind == "adaptive" else _CONTENT_THRESHOLD
        # The last frames, how much each differs from the one before, and the number of the first of them.
        self._frames = np.zeros((0, SMALL[1], SMALL[0], 3), np.uint8)
        self._changes = np.zeros(0)
        self._first = self._num_decided = self._last_cut = 0

    def push(self, frames: np.ndarray) -> list[int]:
        """See `Cutter`."""
        changes = changes_of(np.concatenate([self._frames[-1:], frames]))
        self._changes = np.concatenate([self._changes, changes if len(self._frames) else np.concatenate([[0.0], changes])])
        self._frames = np.concatenate([self._frames, frames])
        end = max(self._num_decided, self._first + len(self._frames) - self.latency)
        suspects = self._first + np.flatnonzero(self._changes >= self._threshold)
        cuts = [cut for cut in suspects.tolist() if self._num_decided <= cut < end and self._is_cut(cut)]
        self._num_decided = end
        forgotten = max(0, len(self._frames) - self.latency - _FRAMES_BEFORE)
        self._frames, self._changes = self._frames[forgotten:], self._changes[forgotten:]
        self._first += forgotten
        return cuts

    def finish(self) -> list[int]:
        """See `Cutter`."""
        return []

    def _is_cut(self, frame: int) -> bool:
        """Ask the library, which needs to see a few frames on either side."""
        if frame - self._last_cut < _MIN_SHOT_FRAMES:
            return False
        detector = (
            self._library.AdaptiveDetector(min_scene_len=0, min_content_val=self._threshold)
            if self._kind == "adaptive"
            else self._library.ContentDetector(min_scene_len=0, threshold=self._threshold)
        )
        found: list[int] = []
        for number in range(max(self._first, frame - _FRAMES_BEFORE), frame + self.latency + 1):
            # The rate only turns frame numbers into times and back; cuts are counted in frames.
            times = detector.process_frame(self._library.FrameTimecode(number, 30.0), self._frames[number - self._first])
            found += [int(time.frame_num) for time in times]
        if frame not in found:
            return False
        self._last_cut = frame
        return True


def changes_of(frames: np.ndarray) -> np.ndarray:
    """(N - 1,) how much each of frames (N, H, W, 3), BGR, differs from the one before, in the formula of `ContentDetector`.

    The mean over the pixels and over hue, saturation and value of the absolute difference, in levels of 255 (hue: of 180).
    """
    import cv2  # noqa: PLC0415 - optional

    count, height, width, _ = frames.shape
    if count < 2:
        return np.zeros(0)
    colors = cv2.cvtColor(frames.reshape(count * height, width, 3), cv2.COLOR_BGR2HSV).reshape(count, -1)
    sums = cv2.reduce(cv2.absdiff(colors[1:], colors[:-1]), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)  # A mean by numpy costs ten times as much.
    return sums[:, 0] / colors.shape[1]


class NoCutter:
    """Takes everything for one shot."""

    frame_size = SMALL
    latency = 0

    def push(self, frames: np.ndarray) -> list[int]:
        """See `Cutter`."""
        return []

    def finish(self) -> list[int]:
        """See `Cutter`."""
        return []


def make_cutter(kind: ShotDetector) -> Cutter:
    """A fresh cutter for one file.

    Raises:
        ImportError: if what it needs is not installed.
    """
    if kind == "none":
        return NoCutter()
    if kind == "transnet":
        from worldline.data.curate.transnet import TransnetCutter  # noqa: PLC0415 - loads a network

        return TransnetCutter()
    return SceneCutter(kind)
