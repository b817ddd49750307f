"""Frames out: H.264 in MP4, which every browser, notebook and `ffmpeg` plays.

May import: data.image_writer, data.pixels, av, torch. Refuses to know: where the frames came from.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from av.video.frame import VideoFrame
from torch import Tensor
from torch.nn import functional

from worldline.data.image_writer import COLORS, ImageWriter
from worldline.data.pixels import to_uint8


class VideoWriter:
    """Writes frames into an MP4 as they come; use it in a `with` block. The file appears, whole, when the block ends well.

    4:2:0 video has even sides, so an odd height or width gains one repeated row or column.

    Args:
        path: the file to write; its folder must exist, and an older file is replaced.
        rate_hz: frames per second.
        quality: x264's constant rate factor: 0 is lossless in the codec's colour space, 18 looks it, 28 is small.
        keyframe_interval: frames from one independently decodable frame to the next; short makes seeking fast and files large.

    Raises:
        ValueError: if `path` does not end in .mp4 or `rate_hz` is not positive.
    """

    def __init__(self, path: str | Path, *, rate_hz: float, quality: int = 18, keyframe_interval: int = 8) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() != ".mp4":
            raise ValueError(f"{self._path}: videos are written as MP4; give a name that ends in .mp4")
        if not rate_hz > 0:
            raise ValueError(f"rate_hz is {rate_hz}; give a positive number of frames per second")
        self._partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        self._images = ImageWriter(str(self._partial), rate_hz=rate_hz, quality=quality, keyframe_interval=keyframe_interval)

    @property
    def num_frames(self) -> int:
        """Frames written so far."""
        return self._images.num_frames

    @property
    def num_bytes(self) -> int:
        """Size of the file so far."""
        # The encoder keeps the first frames to itself; there is no file before it lets one go.
        return self._partial.stat().st_size if self._partial.exists() else 0

    def write(self, frames: Tensor) -> None:
        """Append frames (T, 3, H, W), uint8, or float in [0, 1]; the first of them starts a new group of pictures.

        Raises:
            ValueError: for wrong shapes or a size other than the first frames'.
        """
        if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
            raise ValueError(f"frames must be (T, 3, H, W) with at least one frame, got {tuple(frames.shape)}")
        for index, frame in enumerate(frames):
            self._encode(frame, starts_group=index == 0)

    def _encode(self, frame: Tensor, *, starts_group: bool) -> None:
        pixels = frame if frame.dtype == torch.uint8 else to_uint8(frame)
        height, width = (side + side % 2 for side in pixels.shape[1:])
        if (height, width) != tuple(pixels.shape[1:]):
            grown = functional.pad(pixels[None].float(), (0, width - pixels.shape[2], 0, height - pixels.shape[1]), mode="replicate")
            pixels = grown[0].to(torch.uint8)
        image = VideoFrame.from_ndarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy(), format="rgb24")
        image = image.reformat(format="yuv420p", **COLORS)
        try:
            self._images.write(image, starts_group=starts_group)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None and self.num_frames == 0:
                raise ValueError(f"{self._path}: no frames were written; a video needs at least one")
            self._images.close(complete=kind is None)
            if kind is None:
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)


def write_video(path: str | Path, frames: Tensor, rate_hz: float, *, quality: int = 18, keyframe_interval: int = 8) -> None:
    """Write frames (T, 3, H, W), uint8, or float in [0, 1], as an MP4 at `path`. See `VideoWriter` for the rest.

    Raises:
        ValueError: for wrong shapes, a rate that is not positive, or a name that does not end in .mp4.
        FileNotFoundError: if the folder of `path` does not exist.
    """
    with VideoWriter(path, rate_hz=rate_hz, quality=quality, keyframe_interval=keyframe_interval) as writer:
        writer.write(frames)
