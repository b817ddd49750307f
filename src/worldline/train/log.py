"""What a run tells the people who watch it: a progress bar, `metrics.jsonl` and, where installed, TensorBoard.

May import: rich, tensorboard (extra `logs`). Refuses to know: how the figures come about.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SHOWN = ("train/loss", "train/frames_per_second", "train/learning_rate")
_QUIET_SHARE = 0.1  # without a terminal: one line per this share of the run


class RunLog:
    """Context that shows progress and records figures; continues the files of an interrupted run without a double or missing row.

    Args:
        folder: where `metrics.jsonl` and `tensorboard/` are written.
        title: what the bar is called.
        step: step the run starts or resumes at; rows of later steps, lost by a crash or a rollback, are dropped.
        progress: share of the run done so far, in [0, 1].
    """

    def __init__(self, folder: Path, title: str, *, step: int, progress: float) -> None:
        self._folder = folder
        self._title = title
        self._console = Console(stderr=True)
        self._bar = _bar(self._console) if self._console.is_terminal and not os.environ.get("CI") else None
        self._began_at, self._began_with = time.monotonic(), progress
        self._shown_at = progress - _QUIET_SHARE  # so that the first figures appear at once
        self._rows = _open_rows(folder / "metrics.jsonl", step)
        self._board = self._open_board(step)
        if self._bar:
            self._task = self._bar.add_task(title, total=1.0, figures="")
            self._bar.update(self._task, completed=progress)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()
        self._rows.close()
        if self._board:
            self._board.close()

    def record(self, step: int, progress: float, figures: Mapping[str, float]) -> None:
        """Write one row of named figures, and show the main ones."""
        self._rows.write(json.dumps({"step": step, **figures}) + "\n")
        self._rows.flush()
        if self._board:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)
        self._show(step, progress, figures)

    def note(self, text: str) -> None:
        """Say something that deserves a line of its own."""
        self._console.print(f"{self._title}: {text}", highlight=False, markup=False, soft_wrap=True)

    def rewind(self, step: int) -> None:
        """Drop the rows after `step`, to which training went back."""
        self._rows.close()
        self._rows = _open_rows(self._folder / "metrics.jsonl", step)

    def _show(self, step: int, progress: float, figures: Mapping[str, float]) -> None:
        shown = {name: value for name, value in figures.items() if not name.startswith("train/") or name in _SHOWN}
        text = "  ".join(f"{name.rpartition('/')[2].replace('_', ' ')} {value:.4g}" for name, value in shown.items())
        if "train/loss" not in figures:  # an evaluation: rare, and worth keeping on the screen
            self.note(f"step {step}  {text}")
        elif self._bar:
            self._bar.update(self._task, completed=progress, figures=f"step {step}  {text}")
        elif progress - self._shown_at >= _QUIET_SHARE or progress >= 1:
            self._shown_at = progress
            left = (time.monotonic() - self._began_at) * (1 - progress) / max(progress - self._began_with, 1e-9)
            self.note(f"{progress:4.0%}  step {step}  {text}" + (f"  {left / 60:.1f} min left" if progress < 1 else ""))

    def _open_board(self, step: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (optional)
        except ImportError:
            self.note('no TensorBoard log, since it is not installed: pip install "worldline[logs]"')
            return None
        return SummaryWriter(str(self._folder / "tensorboard"), purge_step=step + 1 if step else None)


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TextColumn("{task.percentage:3.0f}%"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(*columns, *times, TextColumn("{task.fields[figures]}", markup=False), console=console, refresh_per_second=2)


def _open_rows(path: Path, step: int) -> Any:
    """Open for appending, after dropping rows beyond `step` and a last row that a crash cut short."""
    kept = []
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
        fresh = path.with_suffix(".tmp")
        fresh.write_text("".join(kept))
        fresh.replace(path)
    return path.open("a")
