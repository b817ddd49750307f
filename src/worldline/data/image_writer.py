"""The encoder: 4:2:0 images in, H.264 in MP4 out, to a path or to memory.

May import: av. Refuses to know: torch, so that a process that only transcodes starts in a tenth of a second; tensors, clips.
"""

from fractions import Fraction
from typing import BinaryIO

import av
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

COLORS = {"dst_colorspace": Colorspace.SMPTE170M, "dst_color_range": ColorRange.MPEG}
"""What an image's colours must be before it is written; arguments of `reformat`."""


_ONE_BY_ONE = "rc-lookahead=0:mbtree=0:weightp=0:scenecut=0"
"""x264 looks at no other frame than the one at hand. What it found by looking ahead was now and then different for the same frames, and so
were the bytes of small pictures; in groups of a few frames it gains little."""


class ImageWriter:
    """Encodes images one after the other, on one thread, so that equal images give equal bytes.

    Args:
        output: where to write: a path that ends in .mp4, or a file in memory.
        rate_hz: frames per second.
        quality: x264's constant rate factor: 0 is lossless in the codec's colour space, 18 looks it, 28 is small.
        keyframe_interval: frames from one independently decodable frame to the next; short makes seeking fast and files large.
    """

    def __init__(self, output: str | BinaryIO, *, rate_hz: float, quality: int = 18, keyframe_interval: int = 8) -> None:
        # Without B-frames the first timestamp is zero and no player shifts the video against its labels.
        self._options = {"crf": str(quality), "preset": "veryfast", "g": str(keyframe_interval), "bf": "0", "x264-params": _ONE_BY_ONE}
        self._rate = Fraction(rate_hz).limit_denominator(10_000)
        # To put the index first, the muxer opens the file by its name once more, which memory has not.
        options = {"movflags": "+faststart"} if isinstance(output, str) else {}
        self._container = av.open(output, "w", format="mp4", options=options)
        self._stream: VideoStream | None = None
        self.num_frames = 0

    def write(self, image: VideoFrame, *, starts_group: bool = False) -> None:
        """Append an image in `COLORS`; `starts_group` makes it independently decodable.

        Raises:
            ValueError: for another pixel format than yuv420p, or another size than the first image's.
        """
        if image.format.name != "yuv420p":
            raise ValueError(f"an image of format {image.format.name}; give yuv420p")
        stream = self._stream = self._stream or self._open(image.height, image.width)
        if (image.height, image.width) != (stream.height, stream.width):
            raise ValueError(f"a frame of {image.height} x {image.width} pixels in a video of {stream.height} x {stream.width}")
        image.pts, image.time_base = self.num_frames, 1 / self._rate
        image.pict_type = PictureType.I if starts_group else PictureType.NONE
        self._container.mux(stream.encode(image))
        self.num_frames += 1

    def close(self, *, complete: bool = True) -> None:
        """Finish the file; one that is not `complete` is left unreadable."""
        if complete and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def _open(self, height: int, width: int) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.thread_count = 1
        # Said aloud, because players guess the matrix of an unmarked video by its size, and guess differently.
        stream.codec_context.colorspace = Colorspace.SMPTE170M
        stream.codec_context.color_range = ColorRange.MPEG
        return stream
