"""Do the agent and the block of Push-T go where they should in imagined video: found in each frame, and how far from where they really are.

May import: eval.video, envs.pusht. Refuses to know: which world imagined it.

Shapes: B windows, T predicted frames.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from worldline.envs.pusht import find_agent, find_block
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


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockReport:
    """The block in imagined frames, per predicted frame, T values each; medians over windows, infinite where it is mostly not found.

    Attributes:
        num_windows: windows in which the block is found in all true frames.
        found_share: share of the imagined frames in which it is found.
        distance_px: of its centre from the true one, in pixels.
        angle_deg: between its angle and the true one, in degrees.
        copy_last_px, copy_last_deg: floors: the block in the last frame of the prompt.
        moved_share: share of the windows in which the true block has moved by more than a pixel or five degrees.
    """

    num_windows: int
    found_share: tuple[float, ...]
    distance_px: tuple[float, ...]
    angle_deg: tuple[float, ...]
    copy_last_px: tuple[float, ...]
    copy_last_deg: tuple[float, ...]
    moved_share: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; infinity becomes None."""
        figures: dict[str, Any] = asdict(self)
        for name in ("distance_px", "angle_deg", "copy_last_px", "copy_last_deg"):
            figures[name] = [value if math.isfinite(value) else None for value in figures[name]]
        return figures


def track_block(windows: Windows, imagined: Tensor) -> BlockReport:
    """Measure the block's pose in `imagined` (B, T, 3, H, W), what a world made of `windows`.

    Raises:
        ValueError: if fewer than two windows show the block in all of their true frames.
    """
    num_frames = windows.future.shape[1]
    true, last, found = find_block(windows.future), find_block(windows.prompt[:, -1]), find_block(imagined)
    usable = true.isfinite().all(-1).all(-1) & last.isfinite().all(-1)
    if int(usable.sum()) < 2:
        raise ValueError(f"the block is seen throughout {int(usable.sum())} of {len(usable)} true windows; give frames of Push-T")
    true, found = true[usable], found[usable]
    still = last[usable, None].expand(-1, num_frames, -1)
    moved = ((still - true)[..., :2].norm(dim=-1) > 1) | (_turned(still, true) > 5)
    return BlockReport(
        num_windows=int(usable.sum()),
        found_share=tuple(found.isfinite().all(-1).double().mean(0).tolist()),
        distance_px=_median_distance(found[..., :2], true[..., :2]),
        angle_deg=tuple(_turned(found, true).nan_to_num(math.inf).median(0).values.tolist()),
        copy_last_px=_median_distance(still[..., :2], true[..., :2]),
        copy_last_deg=tuple(_turned(still, true).median(0).values.tolist()),
        moved_share=tuple(moved.double().mean(0).tolist()),
    )


def _turned(poses: Tensor, true: Tensor) -> Tensor:
    """Degrees between the angles of poses (..., 3), at most 180."""
    difference = poses[..., 2] - true[..., 2]
    return torch.rad2deg((torch.remainder(difference + math.pi, 2 * math.pi) - math.pi).abs())


def _median_distance(positions: Tensor, true: Tensor) -> tuple[float, ...]:
    return tuple((positions - true).norm(dim=-1).nan_to_num(math.inf).median(0).values.tolist())
