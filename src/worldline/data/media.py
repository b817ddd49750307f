"""What a decoder is allowed to do with a file that may be hostile, and what its frames become: timed, picked, resized.

A file is opened by us and handed to FFmpeg as bytes; whatever a playlist, a reference or a header asks to open besides is
refused. Container formats and codecs are those on a list; the number of pixels is checked before anything of that size is
allocated; the frames of one file are bounded; decoding runs on one thread, because decoders are at their least tested when
several threads meet damaged data. `data.decode` runs this in the caller's process, `data.sandbox` in one of its own.

May import: data.geometry, av, numpy. Refuses to know: torch, so that a process that only decodes starts in a tenth of a second;
names of files; data sets.
"""

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from worldline.data.geometry import Fit, center_pixels, scaled_size

MAX_PIXELS = 64 * 1024 * 1024
MAX_RATE_HZ = 1000.0
_ASSUMED_RATE_HZ = 25.0  # Only spaces frames without timestamps in files without a rate.

FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,ogg,gif"
CODECS = (
    "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,mjpeg,gif,mpeg1video,mpeg2video,h263,flv,msmpeg4v1,msmpeg4,msmpeg4v2,wmv1,wmv2,wmv3,vc1,"
    "theora,ffv1,huffyuv,ffvhuff,utvideo,prores,dnxhd,dvvideo,rawvideo,cinepak,svq1,svq3,qtrle,png,msvideo1,mjpegb"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeLimits:
    """Where decoding stops.

    Attributes:
        max_pixels: largest frame, height times width.
        max_decoded_frames: frames that are decoded from one file, kept or not, before it is called endless (nine hours at 30 Hz).
        max_gap_seconds: longest pause between two frames; a longer one is a damaged timestamp, which resampling would fill with copies.
    """

    max_pixels: int = MAX_PIXELS
    max_decoded_frames: int = 1_000_000
    max_gap_seconds: float = 60.0


class VideoError(ValueError):
    """A file that cannot be read as video; the message says which file and why."""


class UnfinishedError(VideoError):
    """Reading ended for a reason that lies outside the file, such as a machine too busy; trying again may help."""


class Damage(Exception):
    """Timestamps or sizes that no camera writes."""


# PyAV raises its own errors, and lets ValueError, OverflowError and MemoryError through where damaged numbers reach it.
DECODE_ERRORS = (av.FFmpegError, Damage, OverflowError, MemoryError, UnicodeError, ArithmeticError)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """What a file says about itself, before anything is decoded. A damaged file may say anything.

    Attributes:
        height, width: in pixels, before rotation.
        codec: the decoder's name.
        rate_hz: average frames per second; None when the file does not say.
        num_frames: None when the file does not say.
        duration_seconds: None when the file does not say.
    """

    height: int
    width: int
    codec: str
    rate_hz: float | None
    num_frames: int | None
    duration_seconds: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Picked:
    """A frame of the result: `pixels` (H, W, 3) uint8, its time in the file, its index among the decoded, how often it is shown."""

    pixels: np.ndarray
    seconds: float
    index: int
    copies: int


@contextmanager
def open_video(file: BinaryIO, limits: DecodeLimits) -> Generator[tuple[InputContainer, VideoStream], None, None]:
    """Open the first video stream of `file`; whatever goes wrong inside becomes a `VideoError` without a name."""
    options = {"format_whitelist": FORMATS, "codec_whitelist": CODECS, "protocol_whitelist": "file", "max_pixels": str(limits.max_pixels)}
    try:
        with av.open(file, "r", options=options, metadata_errors="replace", io_open=_refuse_to_open) as container:
            if not container.streams.video:
                raise VideoError("no video stream in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError("this build has no decoder for its video stream")
            if stream.codec_context.name not in CODECS.split(","):
                raise VideoError(f"its codec is {stream.codec_context.name}, which is not on the list of those that are decoded")
            if not (0 < stream.height * stream.width <= limits.max_pixels):
                raise VideoError(f"frames of {stream.height} x {stream.width} pixels; from 1 to {limits.max_pixels} pixels are decoded")
            stream.codec_context.thread_count = 1
            yield container, stream
    except VideoError:
        raise
    except av.ArgumentError as error:  # What FFmpeg says of a format that is not on the list.
        raise VideoError(f"not readable as video (damaged, or of a format other than {FORMATS.replace(',', ', ')})") from error
    except (*DECODE_ERRORS, OSError) as error:
        raise VideoError(f"not readable as video ({reason_of(error)})") from error


def describe(container: InputContainer, stream: VideoStream) -> VideoInfo:
    """What the file says about itself."""
    if stream.duration is not None and stream.time_base is not None:
        duration_seconds = float(stream.duration * stream.time_base)
    else:
        duration_seconds = container.duration / av.time_base if container.duration else None
    return VideoInfo(
        height=stream.height,
        width=stream.width,
        codec=stream.codec_context.name,
        rate_hz=declared_rate(stream),
        num_frames=stream.frames or None,
        duration_seconds=duration_seconds,
    )


def check_request(rate_hz: float | None, start_seconds: float, end_seconds: float | None, max_frames: int | None) -> None:
    """Refuse arguments that make no sense.

    Raises:
        ValueError: says what to give.
    """
    if rate_hz is not None and not 0 < rate_hz <= MAX_RATE_HZ:
        raise ValueError(f"rate_hz is {rate_hz}; give a rate between 0 and {MAX_RATE_HZ:g} frames per second")
    if not 0 <= start_seconds < math.inf or (max_frames is not None and max_frames < 1):
        raise ValueError(f"start_seconds is {start_seconds} and max_frames is {max_frames}; give a start >= 0 and at least one frame")
    if end_seconds is not None and not start_seconds < end_seconds:
        raise ValueError(f"start_seconds is {start_seconds} and end_seconds is {end_seconds}; give an end after the start")


def pick_frames(
    container: InputContainer,
    stream: VideoStream,
    *,
    target: tuple[int, int] | None,
    fit: Fit,
    rate_hz: float | None,
    start_seconds: float,
    end_seconds: float | None,
    limits: DecodeLimits,
) -> Iterator[Picked]:
    """The frames from `start_seconds` up to and without `end_seconds`: at each tick of `rate_hz` the nearest; all, when it is None.

    Raises:
        Damage, or another of `DECODE_ERRORS`: where the file is damaged; the frames before have been handed out.
    """
    resize = _Resizer(target, fit, limits.max_pixels)
    period = 1 / (declared_rate(stream) or _ASSUMED_RATE_HZ)
    timed = timed_frames(container, stream, start_seconds, period, limits)
    if end_seconds is not None and rate_hz is None:
        timed = before(timed, end_seconds - period / 2)
    ticks_left = math.inf if end_seconds is None or rate_hz is None else math.ceil((end_seconds - start_seconds) * rate_hz - 1e-6)
    for index, seconds, frame, copies in resample(timed, rate_hz, start_seconds, period):
        yield Picked(pixels=resize(frame), seconds=seconds, index=index, copies=int(min(copies, ticks_left)))
        ticks_left -= copies
        if ticks_left <= 0:
            return


def declared_rate(stream: VideoStream) -> float | None:
    """Frames per second, as the file says; None when it does not, or says nonsense."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= MAX_RATE_HZ:
            return float(rate)
    return None


def reason_of(error: BaseException) -> str:
    """The message of an error, or its kind where it has none; FFmpeg's without the number and the name that it made up."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("it asks to open another file or address, which is refused")


def timed_frames(
    container: InputContainer, stream: VideoStream, start_seconds: float, period: float, limits: DecodeLimits
) -> Iterator[tuple[float, VideoFrame]]:
    """Decoded frames with their time in seconds since the file's start, strictly increasing, from `start_seconds` on."""
    time_base = stream.time_base
    if not time_base or time_base <= 0:
        raise Damage("no time base")
    origin = stream.start_time or 0
    if start_seconds > 0:
        container.seek(origin + int(start_seconds / time_base), stream=stream, backward=True)
    previous = -math.inf
    for count, frame in enumerate(container.decode(stream)):
        if count >= limits.max_decoded_frames:
            raise Damage(f"no end after {count} frames")
        seconds = (
            (frame.pts - origin) * time_base.numerator / time_base.denominator if frame.pts is not None else max(previous, -period) + period
        )
        if seconds <= previous:
            continue  # A frame that goes back in time is the concealed remains of a lost one.
        if previous >= 0 and seconds > previous + limits.max_gap_seconds:
            raise Damage(f"a gap of {seconds - previous:.0f} s in the timestamps")
        previous = seconds
        if seconds >= start_seconds - period / 2:
            yield seconds, frame


def before(timed: Iterator[tuple[float, VideoFrame]], end_seconds: float) -> Iterator[tuple[float, VideoFrame]]:
    """The timed frames up to and without the first at or after `end_seconds`."""
    for seconds, frame in timed:
        if seconds >= end_seconds:
            return
        yield seconds, frame


def resample(
    timed: Iterator[tuple[float, VideoFrame]], rate_hz: float | None, start_seconds: float, period: float
) -> Iterator[tuple[int, float, VideoFrame, int]]:
    """Pick frames for ticks at `rate_hz`: (index, seconds, frame, how many ticks it is nearest to). The last lasts `period`."""
    if rate_hz is None:
        for index, (seconds, frame) in enumerate(timed):
            yield index, seconds, frame, 1
        return
    tick = 0
    pending: tuple[int, float, VideoFrame] | None = None
    for index, (seconds, frame) in enumerate(timed):
        if pending is not None:
            # The pending frame owns every tick up to the middle between it and this one.
            border = (pending[1] + seconds) / 2 - start_seconds
            copies = max(0, math.ceil(border * rate_hz - 1e-6) - tick)
            if copies:
                yield *pending, copies
                tick += copies
        pending = (index, seconds, frame)
    if pending is not None:
        copies = math.ceil((pending[1] + period - start_seconds) * rate_hz - 1e-6) - tick
        if copies > 0 or tick == 0:
            yield *pending, max(copies, 1)


class _Resizer:
    """Turns decoded frames into (H, W, 3) uint8 of one size; swscale does the work, straight from the codec's format."""

    def __init__(self, target: tuple[int, int] | None, fit: Fit, max_pixels: int) -> None:
        self._target = target
        self._fit: Fit = fit
        self._max_pixels = max_pixels
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        if not 0 < frame.height * frame.width <= self._max_pixels:
            raise Damage(f"a frame of {frame.height} x {frame.width} pixels")
        quarter_turns = round(frame.rotation / 90) % 4
        upright = (frame.height, frame.width) if quarter_turns % 2 == 0 else (frame.width, frame.height)
        if self._target is None:
            self._target = upright  # Later frames follow the first if the stream changes its size.
        scaled = scaled_size(upright, self._target, self._fit)
        height, width = scaled if quarter_turns % 2 == 0 else scaled[::-1]
        shrinks = height <= frame.height and width <= frame.width
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation=Interpolation.AREA if shrinks else Interpolation.BILINEAR,
            threads=1,
        ).to_ndarray()
        return center_pixels(np.rot90(rgb, quarter_turns), self._target)
