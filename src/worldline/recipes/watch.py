"""Watching a world while it trains: rollout figures for the log and an mp4 of truth beside imagination.

May import: eval, data, world. Refuses to know: training.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from worldline.data import ArrayStore, write_video
from worldline.eval import evaluate_rollouts, imagine, sample_windows
from worldline.world import World


def watch_rollouts(
    held_out: ArrayStore, *, prompt_frames: int = 4, num_frames: int = 8, num_windows: int = 32, frame_skip: int = 1
) -> Callable[[World, Path, int], dict[str, float]]:
    """A callback for `train_world`: measures rollouts on held-out windows and writes `step_N.mp4`, truth above imagination."""
    windows = sample_windows(held_out, prompt_frames=prompt_frames, num_frames=num_frames, num_windows=num_windows, frame_skip=frame_skip)

    def watch(world: World, folder: Path, step: int) -> dict[str, float]:
        report = evaluate_rollouts(world, windows)
        folder.mkdir(parents=True, exist_ok=True)
        imagined = torch.cat([windows.prompt, imagine(world, windows)], dim=1)
        true = torch.cat([windows.prompt, windows.future], dim=1)
        write_video(folder / f"step_{step:07d}.mp4", side_by_side(true[:6], imagined[:6]), rate_hz=world.config.rate_hz or 5)
        figures = {"rollout_gain_db": report.mean_gain_db, "rollout_psnr_db": sum(report.world.psnr_db) / num_frames}
        if report.shuffled_action_ratio is not None:
            figures["shuffled_action_ratio"] = report.shuffled_action_ratio
        return figures

    return watch


def side_by_side(above: Tensor, below: Tensor, *, scale: int = 2) -> Tensor:
    """Two batches of videos (B, T, 3, H, W) as one video (T, 3, 2 h, B w): one column per row of the batch, enlarged without smoothing."""
    columns = torch.cat([above, below], dim=-2)
    video = torch.cat(list(columns), dim=-1)
    return F.interpolate(video, scale_factor=scale, mode="nearest")
