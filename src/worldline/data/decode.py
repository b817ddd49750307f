"""Video files in: whatever a camera, a phone or a broken download left behind becomes frames, or a `VideoError`.

Hostile input is the normal case here. Files are opened as local files only, in a short list of container formats, so that a
playlist cannot reach the network; the number of pixels is checked before anything of that size is allocated; a clip is
bounded in bytes and a file in decoded frames; decoding runs on one thread, because decoders are at their least tested when
several threads meet damaged data.

May import: interfaces, data.pixels, av, numpy, torch. Refuses to know: actions, data sets, models.
"""

import logging
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from worldline.data.pixels import Fit, Size, center_on, height_and_width, scaled_size
from worldline.interfaces import Clip

logger = logging.getLogger(__name__)

MAX_PIXELS = 64 * 1024 * 1024
"""Largest frame, height times width, that is decoded."""
MAX_CLIP_BYTES = 2 * 1024**3
"""Largest clip, in bytes of frames after resizing."""
MAX_DECODED_FRAMES = 1_000_000
"""Frames that are decoded from one file, kept or not, before it is called endless (nine hours at 30 Hz)."""
MAX_GAP_SECONDS = 60.0
"""Longest pause between two frames; a longer one is a damaged timestamp, which resampling would fill with copies."""
MAX_RATE_HZ = 1000.0
_ASSUMED_RATE_HZ = 25.0  # Only spaces frames without timestamps in files without a rate.

_OPTIONS = {"format_whitelist": "mov,matroska,avi,mpegts,mpeg,flv,ogg", "max_pixels": str(MAX_PIXELS)}


class VideoError(ValueError):
    """A file that cannot be read as video; the message says which file and why."""


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


def probe(path: str | Path) -> VideoInfo:
    """What the file at `path` says about itself, without decoding it.

    Raises:
        VideoError: if there is no readable video in it.
    """
    with _open(Path(path)) as (container, stream):
        if stream.duration is not None and stream.time_base is not None:
            duration_seconds = float(stream.duration * stream.time_base)
        else:
            duration_seconds = container.duration / av.time_base if container.duration else None
        return VideoInfo(
            height=stream.height,
            width=stream.width,
            codec=stream.codec_context.name,
            rate_hz=_declared_rate(stream),
            num_frames=stream.frames or None,
            duration_seconds=duration_seconds,
        )


def read_video(
    path: str | Path,
    *,
    size: Size | None = None,
    fit: Fit = "stretch",
    rate_hz: float | None = None,
    start_seconds: float = 0.0,
    max_frames: int | None = None,
    strict: bool = False,
) -> Clip:
    """Read the video at `path` as a clip; its source is the file's name without suffix.

    Args:
        path: a local file: mp4, mov, mkv, webm, avi and a few more.
        size: height and width to resize to, in pixels; the file's own when None. A phone's rotation mark is applied.
        fit: what to do about another aspect ratio: `stretch` it, `crop` the centre, or `pad` with black.
        rate_hz: frames per second of the clip: at each tick the frame whose timestamp is nearest, repeated if need be. None
            keeps every frame and the file's own rate.
        start_seconds: where to begin, counted from the file's first frame.
        max_frames: where to stop, in frames of the clip.
        strict: raise when the file is damaged half way. Otherwise the frames before the damage are returned, and what happened
            is logged as a warning.

    Raises:
        VideoError: if no frame can be read, or the clip would be larger than `MAX_CLIP_BYTES`.
        ValueError: if an argument makes no sense.
    """
    clip, _ = read_video_indexed(
        path, size=size, fit=fit, rate_hz=rate_hz, start_seconds=start_seconds, max_frames=max_frames, strict=strict
    )
    return clip


def read_video_indexed(
    path: str | Path,
    *,
    size: Size | None = None,
    fit: Fit = "stretch",
    rate_hz: float | None = None,
    start_seconds: float = 0.0,
    max_frames: int | None = None,
    strict: bool = False,
) -> tuple[Clip, Tensor]:
    """`read_video`, and for each frame of the clip its index (T,) among the decoded frames from `start_seconds` on.

    The indices let labels that were recorded per frame of the file follow a change of rate.
    """
    path = Path(path)
    target = None if size is None else height_and_width(size)
    if rate_hz is not None and not 0 < rate_hz <= MAX_RATE_HZ:
        raise ValueError(f"rate_hz is {rate_hz}; give a rate between 0 and {MAX_RATE_HZ:g} frames per second")
    if not 0 <= start_seconds < math.inf or (max_frames is not None and max_frames < 1):
        raise ValueError(f"start_seconds is {start_seconds} and max_frames is {max_frames}; give a start >= 0 and at least one frame")
    with _open(path) as (container, stream):
        frames: list[Tensor] = []
        indices: list[int] = []
        resize = _Resizer(target, fit)
        declared_rate = _declared_rate(stream)
        first_seconds = last_seconds = start_seconds
        try:
            period = 1 / (declared_rate or _ASSUMED_RATE_HZ)
            timed = _timed_frames(container, stream, start_seconds, period)
            for index, seconds, frame, copies in _resample(timed, rate_hz, start_seconds, period):
                first_seconds, last_seconds = (seconds if not frames else first_seconds), seconds
                pixels = resize(frame)
                wanted = copies if max_frames is None else min(copies, max_frames - len(frames))
                if (len(frames) + wanted) * pixels.numel() > MAX_CLIP_BYTES:
                    raise _too_large(path, len(frames) + wanted, pixels)
                frames.extend([pixels] * wanted)
                indices.extend([index] * wanted)
                if max_frames is not None and len(frames) >= max_frames:
                    break
        except _DECODE_ERRORS as error:
            if strict or not frames:
                damage = f"damaged after {len(frames)} frames" if frames else "no frame could be decoded"
                raise VideoError(f"{path}: {damage} ({_reason(error)})") from error
            logger.warning("%s: damaged; keeping the %d frames before the damage (%s)", path, len(frames), _reason(error))
        if not frames:
            raise VideoError(f"{path}: no frame at or after {start_seconds:g} s")
        measured_rate = (len(frames) - 1) / (last_seconds - first_seconds) if last_seconds > first_seconds else None
        rate = rate_hz or declared_rate or measured_rate
        if rate is None:
            raise VideoError(f"{path}: neither the file nor its timestamps say how many frames per second it has; give rate_hz")
        return Clip(frames=torch.stack(frames), rate_hz=rate, source=path.stem), torch.tensor(indices)


class _Damaged(Exception):
    """Timestamps or sizes that no camera writes."""


# PyAV raises its own errors, and lets ValueError, OverflowError and MemoryError through where damaged numbers reach it.
_DECODE_ERRORS = (av.FFmpegError, _Damaged, OverflowError, MemoryError, UnicodeError, ArithmeticError)


@contextmanager
def _open(path: Path) -> Generator[tuple[InputContainer, VideoStream], None, None]:
    """Open the first video stream of a local file; whatever goes wrong inside becomes a `VideoError`."""
    if not path.is_file():
        raise VideoError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}; give the path of a video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        # "file:" keeps a name such as "concat:a|b" or "http:x" from being taken for a protocol.
        with av.open(f"file:{path.absolute()}", "r", options=dict(_OPTIONS), metadata_errors="replace") as container:
            if not container.streams.video:
                raise VideoError(f"{path}: no video stream in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(f"{path}: this build has no decoder for its video stream")
            if not (0 < stream.height * stream.width <= MAX_PIXELS):
                raise VideoError(f"{path}: frames of {stream.height} x {stream.width} pixels; at most {MAX_PIXELS} pixels are decoded")
            stream.codec_context.thread_count = 1
            yield container, stream
    except VideoError:
        raise
    except (*_DECODE_ERRORS, OSError) as error:
        raise VideoError(f"{path}: not readable as video ({_reason(error)})") from error


def _timed_frames(
    container: InputContainer, stream: VideoStream, start_seconds: float, period: float
) -> Iterator[tuple[float, VideoFrame]]:
    """Decoded frames with their time in seconds since the file's start, strictly increasing, from `start_seconds` on."""
    time_base = stream.time_base
    if not time_base or time_base <= 0:
        raise _Damaged("no time base")
    origin = stream.start_time or 0
    if start_seconds > 0:
        container.seek(origin + int(start_seconds / time_base), stream=stream, backward=True)
    previous = -math.inf
    for count, frame in enumerate(container.decode(stream)):
        if count >= MAX_DECODED_FRAMES:
            raise _Damaged(f"no end after {count} frames")
        seconds = float((frame.pts - origin) * time_base) if frame.pts is not None else max(previous, -period) + period
        if seconds <= previous:
            continue  # A frame that goes back in time is the concealed remains of a lost one.
        if previous >= 0 and seconds > previous + MAX_GAP_SECONDS:
            raise _Damaged(f"a gap of {seconds - previous:.0f} s in the timestamps")
        previous = seconds
        if seconds >= start_seconds - period / 2:
            yield seconds, frame


def _resample(
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
    """Turns decoded frames into (3, H, W) uint8 of one size; swscale does the work, straight from the codec's format."""

    def __init__(self, target: tuple[int, int] | None, fit: Fit) -> None:
        self._target = target
        self._fit: Fit = fit
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Tensor:
        if not 0 < frame.height * frame.width <= MAX_PIXELS:
            raise _Damaged(f"a frame of {frame.height} x {frame.width} pixels")
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
        pixels = torch.from_numpy(np.ascontiguousarray(np.rot90(rgb, quarter_turns).transpose(2, 0, 1)))
        return center_on(pixels, self._target)


def _declared_rate(stream: VideoStream) -> float | None:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= MAX_RATE_HZ:
            return float(rate)
    return None


def _too_large(path: Path, num_frames: int, pixels: Tensor) -> VideoError:
    height, width = pixels.shape[1:]
    return VideoError(
        f"{path}: {num_frames} frames of {height} x {width} pixels pass the limit of {MAX_CLIP_BYTES / 1024**3:g} GiB per clip; "
        "give a smaller size, a lower rate_hz, or max_frames"
    )


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
