"""The single pass over a file: decoded once, cut into shots, scored, fingerprinted, and what is kept encoded.

Frames stream: at any time only the clip that is being gathered is in memory. Every decoded frame is looked at small, for cuts and
flicker; the frames of the clip are resized once, in the codec's own colours, and the other stages look at those.

May import: data.media, data.image_writer, numpy, av, cv2, data.curate. Refuses to know: torch, where the file came from, its labels,
data sets.
"""

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from worldline.data.curate import fingerprint
from worldline.data.curate.config import CurateConfig
from worldline.data.curate.glances import Glances
from worldline.data.curate.record import ClipRecord, Passage
from worldline.data.curate.scores import score_clip, verdict
from worldline.data.curate.shots import BATCH, make_cutter
from worldline.data.geometry import center_pixels, scaled_size
from worldline.data.image_writer import COLORS, ImageWriter
from worldline.data.media import (
    DECODE_ERRORS,
    Damage,
    DecodeLimits,
    VideoError,
    before,
    describe,
    open_video,
    reason_of,
    resample,
    timed_frames,
)

STRIP_FRAMES = 4
_STRIP_SIDE = 64
_PICTURES_HZ = 2.0
_NEIGHBOURS_HZ = 1.0
_PICTURE_SIDE = 128


def curate_video(
    file: BinaryIO,
    config: CurateConfig,
    output: BinaryIO,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    limits: DecodeLimits | None = None,
) -> Passage:
    """Pass over the video in `file`; what is kept is encoded into `output`, one clip after the other.

    Args:
        file: the encoded video.
        config: what to keep and what to make of it.
        output: where the video goes; stays empty if nothing is kept.
        start_seconds: where in the file to begin.
        end_seconds: where to stop, the frame at this time excluded.
        limits: where decoding stops.

    Raises:
        VideoError: if not a single frame can be decoded.
        ImportError: if scenedetect is not installed.
    """
    limits = limits or DecodeLimits()
    start = start_seconds or 0.0
    with open_video(file, limits) as (container, stream):
        info = describe(container, stream)
        passage = Passage(width=info.width, height=info.height, codec=info.codec, duration_seconds=info.duration_seconds)
        period = 1 / (info.rate_hz or 25.0)
        timed = timed_frames(container, stream, start, period, limits)
        if end_seconds is not None:
            timed = before(timed, end_seconds - period / 2)
        pass_over = _Pass(config, output, passage, limits)
        try:
            for index, seconds, frame, copies in resample(pass_over.watched(timed), config.rate_hz, start, period):
                pass_over.gather(index, seconds, frame, copies)
        except DECODE_ERRORS as error:
            if not passage.num_decoded:
                raise VideoError(f"no frame could be decoded ({reason_of(error)})") from error
            passage.damage = f"damaged after {passage.num_decoded} frames ({reason_of(error)})"
        pass_over.finish()
        if not passage.num_decoded:
            raise VideoError(f"no frame at or after {start:g} s")
    return passage


@dataclass(slots=True)
class _Gathered:
    """A frame of the clip: (its index among the decoded, its time in the file, its pixels)."""

    index: int
    seconds: float
    image: VideoFrame


class _Pass:
    """The state of a pass: frames that wait to know whether a cut lies before them, and the clip that is being gathered."""

    def __init__(self, config: CurateConfig, output: BinaryIO, passage: Passage, limits: DecodeLimits) -> None:
        self._config = config
        self._passage = passage
        self._max_pixels = limits.max_pixels
        self._clock = _Clock(passage.stage_seconds)
        self._cutter = make_cutter(config.shots)
        self._resizer = _Resizer(config)
        self._glances = Glances(self._cutter.frame_size, BATCH)
        self._brightness: deque[float] = deque()
        self._cuts: deque[int] = deque()
        self._num_looked_at = 0
        self._waiting: deque[_Gathered] = deque()
        self._clip: list[_Gathered] = []
        self._clip_brightness_from = 0
        self._writer: ImageWriter | None = None
        self._output = output
        self._max_frames = max(1, math.floor(config.max_seconds * config.rate_hz + 1e-6))

    def watched(self, timed: Iterator[tuple[float, VideoFrame]]) -> Iterator[tuple[float, VideoFrame]]:
        """The decoded frames, each looked at for cuts and brightness on its way."""
        for seconds, frame in timed:
            self._clock.lap("decode")
            if not 0 < frame.height * frame.width <= self._max_pixels:
                raise Damage(f"a frame of {frame.height} x {frame.width} pixels")
            self._glances.add(frame)
            self._passage.num_decoded += 1
            if len(self._glances) == BATCH:
                self._look_for_cuts()
            self._clock.lap("shots")
            yield seconds, frame

    def gather(self, index: int, seconds: float, frame: VideoFrame, copies: int) -> None:
        """Take a frame of the clips' rate; those of which it is certain on which side of a cut they lie go into the clip."""
        self._clock.lap("decode")
        image = self._resizer(frame)
        self._clock.lap("resize")
        self._waiting.extend([_Gathered(index, seconds, image)] * copies)
        self._settle(self._num_looked_at - 1 - self._cutter.latency)

    def finish(self) -> None:
        """Close the last clip and the video."""
        self._look_for_cuts()
        self._cuts.extend(self._cutter.finish())
        self._settle(self._passage.num_decoded)
        self._close_clip()
        if self._writer is not None:
            self._writer.close()
        self._clock.lap("encode")

    def _look_for_cuts(self) -> None:
        if len(self._glances):
            pictures, brightness = self._glances.take()
            self._cuts.extend(self._cutter.push(pictures))
            self._brightness.extend(brightness.tolist())
            self._num_looked_at += len(pictures)

    def _settle(self, certain: int) -> None:
        while self._waiting and self._waiting[0].index <= certain:
            gathered = self._waiting.popleft()
            if self._cuts and gathered.index >= self._cuts[0]:
                self._close_clip()
                while self._cuts and gathered.index >= self._cuts[0]:
                    self._cuts.popleft()
            self._clip.append(gathered)
            if len(self._clip) >= self._max_frames:
                self._close_clip()

    def _close_clip(self) -> None:
        """Judge the gathered clip, encode it if it is kept, and note it."""
        clip, self._clip = self._clip, []
        if not clip:
            return
        config, rate_hz = self._config, self._config.rate_hz
        self._clock.lap("resize")
        lumas = [_luma(gathered.image) for gathered in clip]
        every, pair_every = max(1, round(rate_hz / _PICTURES_HZ)), max(1, round(rate_hz / _NEIGHBOURS_HZ))
        pictures = np.stack([_at_most(luma, _PICTURE_SIDE) for luma in lumas[::every]])
        pairs = [(lumas[first], lumas[first + 1]) for first in range(0, len(lumas) - 1, pair_every)]
        scores = score_clip(pictures, pairs, self._brightness_of(clip), rate_hz)
        found = verdict(scores, len(clip) / rate_hz, config)
        self._clock.lap("filters")
        marks = fingerprint.pictures_of([lumas[index] for index in fingerprint.pick(len(clip))])
        print_hash = fingerprint.hash_of(marks)
        self._clock.lap("fingerprint")
        strip = _strip([clip[round(at)].image for at in np.linspace(0, len(clip) - 1, STRIP_FRAMES)])
        self._clock.lap("strip")
        first_frame = self._encode(clip) if found == "kept" else -1
        self._clock.lap("encode")
        self._passage.clips.append(
            ClipRecord(
                start_seconds=clip[0].seconds,
                end_seconds=clip[0].seconds + len(clip) / rate_hz,
                frame_indices=tuple(gathered.index for gathered in clip),
                frame_seconds=tuple(round(gathered.seconds, 6) for gathered in clip),
                first_frame=first_frame,
                verdict=found,
                scores={name: round(value, 6) for name, value in scores.items()},
                hash=print_hash,
                pictures=marks.tobytes(),
                strip=strip,
            )
        )

    def _brightness_of(self, clip: list[_Gathered]) -> np.ndarray:
        """Of every decoded frame of the clip; what lies before it is forgotten."""
        while self._clip_brightness_from < clip[0].index:
            self._brightness.popleft()
            self._clip_brightness_from += 1
        count = clip[-1].index - clip[0].index + 1
        return np.array([self._brightness[position] for position in range(min(count, len(self._brightness)))])

    def _encode(self, clip: list[_Gathered]) -> int:
        if self._writer is None:
            config = self._config
            self._writer = ImageWriter(
                self._output, rate_hz=config.rate_hz, quality=config.quality, keyframe_interval=config.keyframe_interval
            )
        first_frame = self._writer.num_frames
        for position, gathered in enumerate(clip):
            self._writer.write(gathered.image, starts_group=position == 0)
        return first_frame


class _Resizer:
    """Decoded frames to 4:2:0 frames of one size, straight from the codec's format where the frame is upright and stretched."""

    def __init__(self, config: CurateConfig) -> None:
        self._size = config.size
        self._fit = config.fit
        self._reformatter = VideoReformatter()
        self._to_yuv = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        quarter_turns = round(frame.rotation / 90) % 4
        if quarter_turns == 0 and self._fit == "stretch":
            return self._scaled(frame, self._size, "yuv420p")
        upright = (frame.height, frame.width) if quarter_turns % 2 == 0 else (frame.width, frame.height)
        scaled = scaled_size(upright, self._size, self._fit)
        rgb = self._scaled(frame, scaled if quarter_turns % 2 == 0 else scaled[::-1], "rgb24").to_ndarray()
        pixels = np.ascontiguousarray(center_pixels(np.rot90(rgb, quarter_turns), self._size))
        return self._to_yuv.reformat(
            VideoFrame.from_ndarray(pixels, format="rgb24"),
            format="yuv420p",
            threads=1,
            **COLORS,
        )

    def _scaled(self, frame: VideoFrame, size: tuple[int, int], pixel_format: str) -> VideoFrame:
        shrinks = size[0] <= frame.height and size[1] <= frame.width
        return self._reformatter.reformat(
            frame,
            width=size[1],
            height=size[0],
            format=pixel_format,
            interpolation=Interpolation.AREA if shrinks else Interpolation.BILINEAR,
            threads=1,
            **(COLORS if pixel_format == "yuv420p" else {}),
        )


class _Clock:
    """Adds the time since the last lap to a stage."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.thread_time()

    def lap(self, stage: str) -> None:
        now = time.thread_time()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _luma(image: VideoFrame) -> np.ndarray:
    """The brightness plane (H, W) of a 4:2:0 frame, without a copy."""
    return _plane(image, 0)


def _plane(image: VideoFrame, number: int) -> np.ndarray:
    plane = image.planes[number]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _at_most(picture: np.ndarray, side: int) -> np.ndarray:
    import cv2  # noqa: PLC0415 - optional

    height, width = (min(length, side) for length in picture.shape)
    return picture if (height, width) == picture.shape else cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _strip(images: list[VideoFrame]) -> bytes:
    import cv2  # noqa: PLC0415 - optional

    # Made smaller before it becomes colours: turning the large pictures into colours took longer than all else here.
    sides = (_STRIP_SIDE, _STRIP_SIDE // 2, _STRIP_SIDE // 2)
    planes = [
        np.hstack([cv2.resize(_plane(image, number), (side, side), interpolation=cv2.INTER_AREA) for image in images])
        for number, side in enumerate(sides)
    ]
    packed = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, planes[0].shape[1])
    colors = cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420)
    return cv2.imencode(".jpg", colors, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
