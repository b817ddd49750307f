"""Figures: how good a world is, with the floors, the intervals and the honesty checks beside them.

May import: world, data, interfaces and what lies below. Refuses to know: training, recipes, the command line.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_OF_METRICS = {"bootstrap_interval", "copy_last", "linear_extrapolation", "psnr", "psnr_of_error", "random_frames", "ssim"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch takes seconds, and pages do without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module("worldline.eval.metrics" if name in _OF_METRICS else "worldline.eval.video")
    value = globals()[name] = getattr(home, name)
    return value
