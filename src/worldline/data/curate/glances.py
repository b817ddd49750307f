"""Decoded frames at the size of a thumbnail, for those stages that look at every one of them: cuts and flicker.

Scaling each frame to small colours with FFmpeg cost more than all else that is done for cuts. Here pixels are picked straight from the
planes that the decoder wrote, without averaging, as PySceneDetect itself nearly does, and a whole batch is converted to colours at once.

May import: av, cv2, numpy. Refuses to know: what is looked for, files.
"""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

_PLANAR = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}


class Glances:
    """Gathers up to `capacity` frames.

    Args:
        size: (width, height) of the pictures; the width even.
        capacity: most frames until `take`.
    """

    def __init__(self, size: tuple[int, int], capacity: int) -> None:
        self._width, self._height = size
        # Colours are stored for two rows at a time, so for an odd number of rows twice as many are picked.
        self._rows_per_row = 1 + self._height % 2
        rows, columns = self._height * self._rows_per_row, self._width
        self._shapes = ((rows, columns), (rows // 2, columns // 2), (rows // 2, columns // 2))
        # One after the other in one piece of memory, all frames' brightness before all frames' colours, which is again a 4:2:0 picture.
        self._packed = np.zeros(capacity * rows * columns * 3 // 2, np.uint8)
        ends = np.cumsum([capacity * height * width for height, width in self._shapes])[:-1]
        pieces = np.split(self._packed, ends)
        self._planes = tuple(piece.reshape(capacity, *shape) for piece, shape in zip(pieces, self._shapes, strict=True))
        self._reformatter = VideoReformatter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, frame: VideoFrame) -> None:
        """Look at one more frame."""
        import cv2  # noqa: PLC0415 - optional

        if frame.format.name not in _PLANAR:
            height, width = self._shapes[0]
            frame = self._reformatter.reformat(
                frame, width=width, height=height, format="yuv420p", interpolation=Interpolation.BILINEAR, threads=1
            )
        for plane, (rows, columns), pictures in zip(frame.planes, self._shapes, self._planes, strict=True):
            pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            cv2.resize(pixels, (columns, rows), dst=pictures[self._count], interpolation=cv2.INTER_NEAREST_EXACT)
        self._count += 1

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """The pictures (N, height, width, 3) uint8, BGR, and their mean brightness (N,); then there are none."""
        import cv2  # noqa: PLC0415 - optional

        count, self._count = self._count, 0
        if not count:
            return np.zeros((0, self._height, self._width, 3), np.uint8), np.zeros(0)
        planes = [plane[:count] for plane in self._planes]
        rows, columns = self._shapes[0]
        is_full = count == len(self._planes[0])
        packed = self._packed if is_full else np.concatenate([plane.ravel() for plane in planes])
        colors = cv2.cvtColor(packed.reshape(-1, columns), cv2.COLOR_YUV2BGR_I420)
        pictures = colors.reshape(count, rows, columns, 3)[:, :: self._rows_per_row]
        # Numpy takes ten times as long for the mean of bytes.
        brightness = cv2.reduce(planes[0].reshape(count, -1), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] / (rows * columns)
        return pictures, brightness
