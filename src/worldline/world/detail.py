"""What the newest true frame shows beyond its latents, kept in the pictures where nothing has changed since.

A tokenizer loses fine detail, on scenes that it never saw most of all, and a world that draws a still background from latents alone is
worse than a photograph of it. So a state that comes from frames remembers its newest true one, and where the decoder still draws what it
drew then, a picture shows what was true then:

    (1 - k) D(z) + k sigmoid(l(x0) + h (l(D(z)) - l(D(z0)))),  k = exp(-|D(z) - D(z0)|^2 / (2 s^2)),

l the logit, the squared difference summed over colours and averaged over 3 x 3 pixels. Small differences of what stands still are mostly
the dynamics' error, so only a share h of them is shown: enough for gradients to pass everywhere, and pictures stay in [0, 1]. Where
something moves, away or in front, the picture is the decoder's.

May import: torch. Refuses to know: what decodes, how frames are predicted.

Shapes: B rows of a state, b of a detail (B / b consecutive rows share one), H height, W width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SMOOTHED_PIXELS = 3
_HEARD = 0.2  # h
_DARKEST = 1 / 510  # half a step of eight bits: what black counts as, and white alike


@dataclass(frozen=True, slots=True)
class Detail:
    """The newest true frame, and how the decoder draws it.

    Attributes:
        drawn: (b, 3, H, W), D(z0).
        seen: (b, 3, H, W), l(x0), the true frame.
        tolerance: s, by how much a pixel may change and count as the same, in units of the picture's range.
    """

    drawn: Tensor
    seen: Tensor
    tolerance: float

    @classmethod
    def of(cls, frames: Tensor, drawn: Tensor, tolerance: float) -> "Detail":
        """Of true frames and of what the decoder makes of them, (b, 3, H, W) in [0, 1] both."""
        return cls(drawn, torch.logit(frames.clamp(_DARKEST, 1 - _DARKEST)), tolerance)

    def select(self, rows: Tensor, batch_size: int) -> "Detail":
        """The detail of some rows of a batch of `batch_size`; a copy, unless all rows share it."""
        if len(self.drawn) == 1:
            return self
        index = rows // (batch_size // len(self.drawn))
        return Detail(self.drawn[index], self.seen[index], self.tolerance)

    def restore(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) of the decoder with the detail where it still belongs."""
        num_shared = len(frames) // len(self.drawn)
        grouped = frames.unflatten(0, (len(self.drawn), num_shared))
        change = (grouped - self.drawn[:, None, None]).square().sum(3, keepdim=True)
        smooth = F.avg_pool2d(change.flatten(0, 2), _SMOOTHED_PIXELS, stride=1, padding=_SMOOTHED_PIXELS // 2, count_include_pad=False)
        kept = torch.exp(-smooth.unflatten(0, change.shape[:3]) / (2 * self.tolerance**2))
        still = torch.sigmoid(self.seen[:, None, None] + _HEARD * (_logit(grouped) - _logit(self.drawn)[:, None, None]))
        return torch.lerp(grouped, still, kept.expand_as(grouped)).flatten(0, 1)


def _logit(frames: Tensor) -> Tensor:
    # The decoder's sigmoid may round to 0 or 1.
    return torch.logit(frames, eps=torch.finfo(frames.dtype).eps)
