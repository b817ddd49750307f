"""Clips out of a video file that stays open: what opening costs is paid once, what lies before the clip is seeked over.

May import: data.geometry, data.media, av, numpy, torch. Refuses to know: labels, data sets, threads.
"""

import math
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from torch import Tensor

from worldline.data.geometry import Fit
from worldline.data.media import DECODE_ERRORS, Damage, DecodeLimits, VideoError, _Resizer, declared_rate, open_video, reason_of

_LIMITS = DecodeLimits()
_ASSUMED_RATE_HZ = 25.0  # only to tell neighbouring frames apart in files without a rate


class VideoReader:
    """One open file. Not for several threads at once.

    Args:
        path: a local file.
        size: (height, width) of the frames in pixels; the file's own when None.
        fit: see `read_video`.

    Raises:
        VideoError: if there is no readable video in it.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None, fit: Fit) -> None:
        self._path = path
        self._resize = _Resizer(size, fit, _LIMITS.max_pixels)
        open_files = ExitStack()
        # Whoever forgets a reader closes its file.
        self._close = weakref.finalize(self, open_files.close)
        try:
            file = open_files.enter_context(path.open("rb"))
            self._container, self._stream = open_files.enter_context(open_video(file, _LIMITS))
        except (VideoError, OSError) as error:
            self.close()
            raise VideoError(f"{path}: {reason_of(error)}") from error

    def read(self, start_seconds: float, num_frames: int, out: Tensor, *, frame_skip: int = 1) -> None:
        """Decode frames from `start_seconds` on, every `frame_skip`-th of them, into `out` (num_frames, 3, H, W) uint8.

        Raises:
            VideoError: if the file is damaged there, ends before, or has frames of another size.
        """
        pixels = out.numpy()
        count = 0
        try:
            for index, frame in enumerate(self._frames_from(start_seconds)):
                if index % frame_skip == 0:
                    np.copyto(pixels[count], self._resize(frame).transpose(2, 0, 1))
                    count += 1
                    if count == num_frames:
                        return
        except (*DECODE_ERRORS, ValueError) as error:
            raise VideoError(f"{self._path}: {reason_of(error)}") from error
        raise VideoError(f"{self._path}: ends {count} frames after {start_seconds:g} s, {num_frames} are wanted")

    def _frames_from(self, start_seconds: float) -> Iterator[VideoFrame]:
        """As `media.timed_frames`, in the file's own units of time: fractions of seconds cost a twentieth of decoding small frames."""
        time_base = self._stream.time_base
        if not time_base or time_base <= 0:
            raise Damage("no time base")
        origin = self._stream.start_time or 0
        self._container.seek(origin + int(start_seconds / time_base), stream=self._stream, backward=True)
        half_period = 0.5 / (declared_rate(self._stream) or _ASSUMED_RATE_HZ)
        first = origin + (start_seconds - half_period) / float(time_base)
        previous = -math.inf
        for frame in self._container.decode(self._stream):
            if frame.pts is None:
                raise Damage("a frame without a time")
            if frame.pts <= previous:
                continue  # A frame that goes back in time is the concealed remains of a lost one.
            previous = frame.pts
            if frame.pts >= first:
                yield frame

    def close(self) -> None:
        """Let go of the file."""
        self._close()


class OpenVideos:
    """The files that were read last, kept open; one such pool per thread.

    Args:
        size, fit: see `VideoReader`.
        max_open: files; more are closed, the longest unused first.
    """

    def __init__(self, size: tuple[int, int] | None, fit: Fit, *, max_open: int = 64) -> None:
        self._size = size
        self._fit: Fit = fit
        self._max_open = max_open
        self._readers: OrderedDict[Path, VideoReader] = OrderedDict()

    def read(self, path: Path, start_seconds: float, num_frames: int, out: Tensor, *, frame_skip: int = 1) -> None:
        """See `VideoReader.read`."""
        if path not in self._readers:
            while len(self._readers) >= self._max_open:
                self._readers.popitem(last=False)[1].close()
            self._readers[path] = VideoReader(path, self._size, self._fit)
        self._readers.move_to_end(path)
        try:
            self._readers[path].read(start_seconds, num_frames, out, frame_skip=frame_skip)
        except VideoError:
            # A decoder that met damage may remember it.
            self._readers.pop(path).close()
            raise

    def close(self) -> None:
        """Close all files."""
        while self._readers:
            self._readers.popitem()[1].close()
