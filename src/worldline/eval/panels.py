"""Panels: videos beside each other, each under a strip that says what it is, for people to look at.

May import: torch. Refuses to know: worlds, files.

Shapes: T frames, H, W pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Glyphs of 5 x 7 pixels: one byte per column, from left to right, the lowest bit on top.
_GLYPHS = {
    **dict(zip("ABCDE", ("7e1111117e", "7f49494936", "3e41414122", "7f4141413e", "7f49494941"), strict=True)),
    **dict(zip("FGHIJ", ("7f09090901", "3e4149497a", "7f0808087f", "00417f4100", "2040413f01"), strict=True)),
    **dict(zip("KLMNO", ("7f08142241", "7f40404040", "7f020c027f", "7f0408107f", "3e4141413e"), strict=True)),
    **dict(zip("PQRST", ("7f09090906", "3e4151215e", "7f09192946", "4649494931", "01017f0101"), strict=True)),
    **dict(zip("UVWXY", ("3f4040403f", "1f2040201f", "3f4038403f", "6314081463", "0708700807"), strict=True)),
    **dict(zip("Z0123", ("6151494543", "3e5149453e", "00427f4000", "4261514946", "2141454b31"), strict=True)),
    **dict(zip("45678", ("1814127f10", "2745454539", "3c4a494930", "0171090503", "3649494936"), strict=True)),
    **dict(zip("9+-. ", ("064949291e", "08083e0808", "0808080808", "0060600000", "0000000000"), strict=True)),
}
_SCALE = 2  # screen pixels per pixel of a glyph
_STRIP = 7 * _SCALE + 8  # height of the strip
_INK, _PAPER = 0.95, 0.13
_GAP = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A video (T, 3, H, W) in [0, 1] and its label: one for all frames, or one for each."""

    label: str | Sequence[str]
    frames: Tensor

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[1] != 3 or 0 in self.frames.shape:
            raise ValueError(f"a panel's frames are (T, 3, H, W) with at least one frame, got {tuple(self.frames.shape)}")
        if not isinstance(self.label, str) and len(self.label) != len(self.frames):
            raise ValueError(f"{len(self.label)} labels for {len(self.frames)} frames; give one per frame, or one for all")


def draw_panels(panels: Sequence[Panel], *, min_height: int = 192) -> Tensor:
    """Panels of one size and length as one video (T, 3, H', W'), from left to right, enlarged without smoothing to `min_height` or more.

    Labels are drawn in capitals; a character without a glyph is drawn as a space, and what does not fit is cut off.

    Raises:
        ValueError: if there are no panels, or they differ in size or length.
    """
    if len({panel.frames.shape for panel in panels}) != 1:
        raise ValueError(f"panels must have one shape, got {[tuple(panel.frames.shape) for panel in panels]}")
    num_frames, _, height, width = panels[0].frames.shape
    scale = max(1, math.ceil(min_height / height))
    columns = []
    for panel in panels:
        labels = [panel.label] * num_frames if isinstance(panel.label, str) else panel.label
        strips = torch.stack([_strip(label, width * scale) for label in labels]).to(panel.frames)
        columns.append(torch.cat([strips, F.interpolate(panel.frames, scale_factor=scale, mode="nearest")], dim=-2))
        columns.append(columns[0].new_full((num_frames, 3, height * scale + _STRIP, _GAP), _PAPER))
    return torch.cat(columns[:-1], dim=-1)


def _strip(label: str, width: int) -> Tensor:
    """(3, _STRIP, width): the label, light on dark."""
    strip = torch.full((3, _STRIP, width), _PAPER)
    columns = [byte for character in label.upper() for byte in (*bytes.fromhex(_GLYPHS.get(character, _GLYPHS[" "])), 0)]
    bits = (torch.tensor(columns or [0])[None, :] >> torch.arange(7)[:, None]) & 1
    ink = bits.float().repeat_interleave(_SCALE, 0).repeat_interleave(_SCALE, 1)[:, : max(0, width - 6)]
    strip[:, 4 : 4 + 7 * _SCALE, 6 : 6 + ink.shape[1]] += (_INK - _PAPER) * ink
    return strip
