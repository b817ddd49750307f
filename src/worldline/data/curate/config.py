"""What a clip must be to be kept, and what it is made into.

May import: data.geometry. Refuses to know: how any of it is measured.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from worldline.data.geometry import Fit, height_and_width

REVISION = 4
"""Raised whenever the same settings would give another result, so that old results are made again."""

ShotDetector = Literal["adaptive", "content", "transnet", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CurateConfig:
    """Settings of the pass over one file. The limits were set on real videos so that what a person would keep is kept.

    Attributes:
        size: (height, width) of the clips in pixels, even numbers.
        fit: how a frame meets another aspect ratio, see `data.Fit`.
        rate_hz: frames per second of the clips.
        keyframe_interval: frames from one independently decodable frame to the next; short makes random reading fast.
        quality: x264's constant rate factor.
        shots: what finds the cuts; none takes every file for one shot.
        min_seconds: shorter clips are dropped.
        max_seconds: longer shots are cut into clips of this length.
        max_black: largest share of black frames.
        max_frozen: largest share of frames that repeat the one before.
        min_sharpness: smallest energy of the finest details, relative to contrast.
        max_text: largest evidence for a card of text, 0 to 1.
        max_bars: largest share of the picture in black bars.
        max_flicker: largest mean jump of brightness back and forth, in levels of 255.
        min_motion: least mean speed of what is seen, in frame widths per second; 0 keeps still clips.
    """

    size: tuple[int, int] = (128, 128)
    fit: Fit = "stretch"
    rate_hz: float = 10.0
    keyframe_interval: int = 4
    quality: int = 18
    shots: ShotDetector = "adaptive"
    min_seconds: float = 1.0
    max_seconds: float = 20.0
    max_black: float = 0.5
    max_frozen: float = 0.95
    min_sharpness: float = 0.1
    max_text: float = 0.5
    max_bars: float = 0.4
    max_flicker: float = 12.0
    min_motion: float = 0.0

    def __post_init__(self) -> None:
        height, width = height_and_width(self.size)
        if height % 2 or width % 2 or min(height, width) < 16:
            raise ValueError(f"size is {height} x {width}; video has even sides, give even numbers from 16 on")
        if not 0 < self.rate_hz <= 240:
            raise ValueError(f"rate_hz is {self.rate_hz}; give frames per second between 0 and 240")
        if not 0 < self.min_seconds <= self.max_seconds <= 600:
            raise ValueError(f"clips of {self.min_seconds} to {self.max_seconds} seconds; give 0 < min_seconds <= max_seconds <= 600")
        if self.keyframe_interval < 1:
            raise ValueError(f"keyframe_interval is {self.keyframe_interval}; give at least 1")

    @property
    def key(self) -> str:
        """A sha256 of all that a result depends on, besides the file."""
        return hashlib.sha256(json.dumps([REVISION, asdict(self)], sort_keys=True).encode()).hexdigest()
