"""`worldline bench`: see `cli.arguments.Bench`.

May import: eval.bench and its siblings, the other files of cli. Refuses to know: what is timed, and how.
"""

from typing import Any

import torch

from worldline.cli.arguments import Bench
from worldline.cli.load import device_of
from worldline.cli.report import Report, table
from worldline.eval.bench import bench_step, bench_train
from worldline.eval.bench_data import bench_data
from worldline.eval.bench_plan import bench_plan


def run(arguments: Bench) -> Report:
    """Measure, and list the figures."""
    figures = _measure(arguments)
    rows = [[name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in figures.items()]
    return Report(figures=figures, text=table([f"bench {arguments.what}", ""], rows))


def _measure(arguments: Bench) -> dict[str, Any]:
    _refuse(arguments)
    if arguments.what == "data":
        if arguments.dataset is None:
            raise ValueError("bench data needs a data set: a LeRobotDataset, or a folder of videos, after the word data")
        return bench_data(arguments.dataset, num_frames=arguments.frames, size=arguments.image_size)
    if arguments.dataset is not None:
        raise ValueError(f"bench {arguments.what} takes no data set, got {arguments.dataset}")
    if arguments.what == "plan":
        return bench_plan(size=arguments.size, budget=arguments.budget, dtype=getattr(torch, arguments.dtype))
    if arguments.what == "step":
        return bench_step(size=arguments.size, device=arguments.device)
    return bench_train(size=arguments.size, batch_size=arguments.batch, device=arguments.device, compile_modes=arguments.compile)


def _refuse(arguments: Bench) -> None:
    """Options that would say nothing about what is measured."""
    if arguments.device == "cuda" and arguments.what in ("plan", "data"):
        raise ValueError(f"bench {arguments.what} measures the processor; leave --device out, or bench step or train")
    if arguments.dtype != "float32" and arguments.what != "plan":
        raise ValueError(f"--dtype is of bench plan; bench {arguments.what} " + _WITHOUT_DTYPE[arguments.what])
    device_of(arguments.device)
    if arguments.what != "train" and (arguments.batch is not None or arguments.compile is not None):
        raise ValueError(f"--batch and --compile are of bench train, not of bench {arguments.what}; leave them out")
    if arguments.batch is not None and arguments.batch < 1:
        raise ValueError(f"--batch is {arguments.batch}; give at least 1 window per step")


_WITHOUT_DTYPE = {
    "step": "lists float32 and bfloat16 beside each other",
    "train": "computes as training does, under autocast where that pays",
    "data": "runs no world",
}
