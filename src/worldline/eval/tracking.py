"""Does the agent of Push-T go where it should in imagined video: found in each frame, and how far from where it really is.

May import: eval.video, envs.pusht. Refuses to know: which world imagined it.

Shapes: B windows, T predicted frames.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from worldline.envs.pusht import find_agent
from worldline.eval.metrics import copy_last, random_frames
from worldline.eval.video import Windows


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentReport:
    """The agent in imagined frames, per predicted frame, T values each.

    Distances are medians over windows, in pixels; a frame in which the agent is not found counts as infinitely far, so a median of infinity
    says that it is missing in half of them.

    Attributes:
        num_windows: windows in which the agent is found in all true frames; the others say nothing.
        found_share: share of the imagined frames in which it is found.
        distance_px: from the true agent.
        copy_last_px: floor: distance of the agent in the last frame of the prompt.
        random_px: floor: distance of the agent in the last frame of another window's prompt.
    """

    num_windows: int
    found_share: tuple[float, ...]
    distance_px: tuple[float, ...]
    copy_last_px: tuple[float, ...]
    random_px: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; infinity becomes None."""
        figures: dict[str, Any] = {"num_windows": self.num_windows, "found_share": self.found_share}
        for name in ("distance_px", "copy_last_px", "random_px"):
            figures[name] = [value if math.isfinite(value) else None for value in getattr(self, name)]
        return figures


def track_agent(windows: Windows, imagined: Tensor) -> AgentReport:
    """Measure the agent's place in `imagined` (B, T, 3, H, W), what a world made of `windows`.

    Raises:
        ValueError: if no window shows the agent in all of its true frames.
    """
    num_frames = windows.future.shape[1]
    true, last, found = find_agent(windows.future), find_agent(windows.prompt[:, -1]), find_agent(imagined)
    usable = true.isfinite().all(-1).all(-1) & last.isfinite().all(-1)
    if int(usable.sum()) < 2:
        raise ValueError(f"the agent is seen throughout {int(usable.sum())} of {len(usable)} true windows; give frames of Push-T")
    floors = [find_agent(floor(windows.prompt[usable], num_frames)) for floor in (copy_last, random_frames)]
    distances = [_median_distance(positions, true[usable]) for positions in (found[usable], *floors)]
    return AgentReport(
        num_windows=int(usable.sum()),
        found_share=tuple(found[usable].isfinite().all(-1).double().mean(0).tolist()),
        distance_px=distances[0],
        copy_last_px=distances[1],
        random_px=distances[2],
    )


def _median_distance(positions: Tensor, true: Tensor) -> tuple[float, ...]:
    return tuple((positions - true).norm(dim=-1).nan_to_num(math.inf).median(0).values.tolist())
