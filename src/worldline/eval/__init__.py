"""Figures: how good a world is, with the floors, the intervals and the honesty checks beside them.

May import: world, data, interfaces and what lies below. Refuses to know: training, recipes, the command line.
"""

from worldline.eval.metrics import bootstrap_interval, copy_last, linear_extrapolation, psnr, psnr_of_error, random_frames, ssim
from worldline.eval.video import Curve, VideoReport, Windows, evaluate_rollouts, imagine, sample_windows

__all__ = [
    "Curve",
    "VideoReport",
    "Windows",
    "bootstrap_interval",
    "copy_last",
    "evaluate_rollouts",
    "imagine",
    "linear_extrapolation",
    "psnr",
    "psnr_of_error",
    "random_frames",
    "sample_windows",
    "ssim",
]
