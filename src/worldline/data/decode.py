"""Video files in: whatever a camera, a phone or a broken download left behind becomes frames, or a `VideoError`.

Decodes in this process, with the precautions of `data.media`; a clip is bounded in bytes. For files of unknown origin in bulk there
is `data.sandbox`, which does the same in processes that may die.

May import: interfaces, data.geometry, data.media, numpy, torch. Refuses to know: actions, data sets, models.
"""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from av.container import InputContainer
from av.video.stream import VideoStream
from torch import Tensor

from worldline.data.geometry import Fit, Size, height_and_width
from worldline.data.media import (
    DECODE_ERRORS,
    MAX_PIXELS,
    DecodeLimits,
    VideoError,
    VideoInfo,
    check_request,
    declared_rate,
    describe,
    open_video,
    pick_frames,
    reason_of,
)
from worldline.interfaces import Clip

__all__ = ["MAX_PIXELS", "VideoError", "VideoInfo", "probe", "read_video", "read_video_indexed"]

logger = logging.getLogger(__name__)

MAX_CLIP_BYTES = 2 * 1024**3
"""Largest clip, in bytes of frames after resizing."""
LIMITS = DecodeLimits()


def probe(path: str | Path) -> VideoInfo:
    """What the file at `path` says about itself, without decoding it.

    Raises:
        VideoError: if there is no readable video in it.
    """
    with _open(Path(path)) as (container, stream):
        return describe(container, stream)


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
    check_request(rate_hz, start_seconds, None, max_frames)
    with _open(path) as (container, stream):
        frames: list[Tensor] = []
        indices: list[int] = []
        rate = declared_rate(stream)
        first_seconds = last_seconds = start_seconds
        try:
            for picked in pick_frames(
                container,
                stream,
                target=target,
                fit=fit,
                rate_hz=rate_hz,
                start_seconds=start_seconds,
                end_seconds=None,
                limits=LIMITS,
            ):
                first_seconds, last_seconds = (picked.seconds if not frames else first_seconds), picked.seconds
                pixels = torch.from_numpy(np.ascontiguousarray(picked.pixels.transpose(2, 0, 1)))
                wanted = picked.copies if max_frames is None else min(picked.copies, max_frames - len(frames))
                if (len(frames) + wanted) * pixels.numel() > MAX_CLIP_BYTES:
                    raise _too_large(len(frames) + wanted, pixels)
                frames.extend([pixels] * wanted)
                indices.extend([picked.index] * wanted)
                if max_frames is not None and len(frames) >= max_frames:
                    break
        except DECODE_ERRORS as error:
            if strict or not frames:
                damage = f"damaged after {len(frames)} frames" if frames else "no frame could be decoded"
                raise VideoError(f"{damage} ({reason_of(error)})") from error
            logger.warning("%s: damaged; keeping the %d frames before the damage (%s)", path, len(frames), reason_of(error))
        if not frames:
            raise VideoError(f"no frame at or after {start_seconds:g} s")
        measured_rate = (len(frames) - 1) / (last_seconds - first_seconds) if last_seconds > first_seconds else None
        rate = rate_hz or rate or measured_rate
        if rate is None:
            raise VideoError("neither the file nor its timestamps say how many frames per second it has; give rate_hz")
        return Clip(frames=torch.stack(frames), rate_hz=rate, source=path.stem), torch.tensor(indices)


@contextmanager
def _open(path: Path) -> Generator[tuple[InputContainer, VideoStream], None, None]:
    """Open the first video stream of a local file; the name goes in front of whatever is wrong with it."""
    if not path.is_file():
        raise VideoError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}; give the path of a video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        with path.open("rb") as file, open_video(file, LIMITS) as opened:
            yield opened
    except VideoError as error:
        raise VideoError(f"{path}: {error}") from error
    except OSError as error:
        raise VideoError(f"{path}: not readable ({reason_of(error)})") from error


def _too_large(num_frames: int, pixels: Tensor) -> VideoError:
    height, width = pixels.shape[1:]
    return VideoError(
        f"{num_frames} frames of {height} x {width} pixels pass the limit of {MAX_CLIP_BYTES / 1024**3:g} GiB per clip; "
        "give a smaller size, a lower rate_hz, or max_frames"
    )
