"""`worldline data show | sheet | stats`: see `cli.arguments.Data`.

May import: data, recipes.sheet, rich, the other files of cli. Refuses to know: how anything is measured.
"""

import dataclasses
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from worldline.cli.arguments import Data
from worldline.cli.report import Report, check_output
from worldline.data.inspection import ActionComponent, Contents, LagEstimate, Statistics, describe_contents, measure_statistics, read_clips
from worldline.data.inspection.contents import kind_of
from worldline.recipes.sheet import write_sheet

_MOST_TEXTS = 8
_MOST_REASONS = 3
_WIDTH = 100


def run(arguments: Data) -> Report:
    """Look, and say what was found."""
    match arguments.what:
        case "show":
            contents = describe_contents(arguments.dataset, camera=arguments.camera, action_columns=arguments.action_columns)
            return Report(figures=dataclasses.asdict(contents), text=_show(arguments.dataset, contents))
        case "sheet":
            return _sheet(arguments)
        case "stats":
            statistics = measure_statistics(
                arguments.dataset,
                camera=arguments.camera,
                action_columns=arguments.action_columns,
                expected_lag=arguments.latency_frames,
                max_frames=arguments.max_frames,
            )
            return Report(figures=_figures(statistics), text=_stats(arguments.dataset, statistics))


def _show(dataset: Path, contents: Contents) -> str:
    shortest, median, longest = contents.lengths
    rows = [
        ("kind", contents.kind),
        ("episodes", f"{contents.num_episodes:,}" + (f" ({len(contents.skipped):,} left out)" if contents.skipped else "")),
        ("frames", f"{contents.num_frames:,}; {shortest:,} to {longest:,} per episode, {median:,} in the median"),
        ("video", f"{contents.hours:.2f} h" if contents.hours >= 1 else f"{contents.hours * 60:.1f} min"),
        ("shapes", "\n".join(f"{name}: {count:,} episodes" for name, count in contents.shapes.items())),
        ("cameras", ", ".join(contents.cameras)),
        ("actions", _actions(contents)),
        ("sources", f"{contents.num_sources:,}, of which some can be held out"),
        ("tasks", "\n".join(_texts(contents))),
        ("left out", "\n".join(_reasons(contents))),
        ("disk", f"{contents.num_bytes / 2**20:,.1f} MiB"),
    ]
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title=str(dataset), title_justify="left")
    for name, value in rows:
        if value:
            table.add_row(name, value)
    return _drawn(table)


def _actions(contents: Contents) -> str:
    if not contents.action_names:
        return "none"
    return f"{len(contents.action_names)} in {contents.num_labelled:,} episodes: {', '.join(contents.action_names)}"


def _texts(contents: Contents) -> list[str]:
    lines = [f"{count:,} x {text}" for text, count in itertools.islice(contents.texts.items(), _MOST_TEXTS)]
    more = len(contents.texts) - len(lines)
    return [*lines, f"and {more:,} more"] if more > 0 else lines


def _reasons(contents: Contents) -> list[str]:
    lines = [f"{name}: {reason}" for name, reason in itertools.islice(contents.skipped.items(), _MOST_REASONS)]
    more = len(contents.skipped) - len(lines)
    return [*lines, f"and {more:,} more"] if more > 0 else lines


def _sheet(arguments: Data) -> Report:
    out = arguments.out or Path("sheet.png")
    check_output(out, ".png")
    num_clips = arguments.num_clips
    if num_clips < 1:
        raise ValueError(f"--num-clips is {num_clips}; give 1 or more")
    size = arguments.image_size or (128 if kind_of(arguments.dataset) == "folder of videos" else None)
    clips = read_clips(arguments.dataset, size=size, camera=arguments.camera, action_columns=arguments.action_columns)
    if arguments.every > 1:
        clips = itertools.islice(clips, 0, None, arguments.every)
    chosen = list(itertools.islice(clips, num_clips))
    write_sheet(out, chosen)
    lines = [f"row {number}: {clip.source}{f': {clip.text}' if clip.text else ''}" for number, clip in enumerate(chosen, start=1)]
    figures = {"out": str(out), "rows": [{"source": clip.source, "text": clip.text} for clip in chosen]}
    return Report(figures=figures, text="\n".join([*lines, "", f"wrote {out}"]))


def _stats(dataset: Path, statistics: Statistics) -> str:
    parts = []
    if statistics.components:
        lags: Sequence[LagEstimate | None] = [None] * len(statistics.components)
        if statistics.alignment is not None:
            lags = statistics.alignment.components
        table = Table(box=box.SIMPLE_HEAD, title=str(dataset), title_justify="left")
        for name in ("action", "low", "high", "mean", "std", "at ends", "missing", "lag"):
            table.add_column(name, justify="left" if name == "action" else "right")
        for component, lag in zip(statistics.components, lags, strict=True):
            table.add_row(*_cells(component, lag))
        parts.append(_drawn(table))
    if statistics.alignment is not None:
        parts.append(_lags(statistics))
    if statistics.warnings:
        parts += ["warnings:", *(f"  - {warning}" for warning in statistics.warnings)]
    else:
        parts.append("no warnings")
    return "\n".join(parts)


def _cells(component: ActionComponent, lag: LagEstimate | None) -> list[str]:
    numbers = [f"{value:.4g}" for value in (component.low, component.high, component.mean, component.std)]
    return [
        component.name,
        *numbers,
        f"{component.share_at_ends:.0%}",
        f"{component.num_missing:,}" if component.num_missing else "",
        "" if lag is None else "?" if lag.lag is None else f"{lag.lag:+d}" if lag.lag else "0",
    ]


def _lags(statistics: Statistics) -> str:
    assert statistics.alignment is not None
    joint = statistics.alignment.joint
    seen = f"{statistics.num_frames:,} frames of {statistics.num_episodes:,} episodes"
    if joint.lag is None or joint.interval is None:
        return f"lag of the picture behind the actions: cannot tell from {seen}: {joint.reason}\n"
    most = max(joint.curve.values())
    bars = [
        f"  {lag:+3d}  {share:7.4f}  {'█' * round(30 * max(share, 0) / most)}{'  <' if lag == joint.lag else ''}"
        for lag, share in joint.curve.items()
    ]
    low, high = joint.interval
    head = (
        f"lag of the picture behind the actions: {joint.lag:+d} frames; {low:+.1f} to {high:+.1f} in 98 % of resamples of {seen}\n"
        "share of what is new in an action that what is new in the motion explains, beyond what that of other episodes does:"
    )
    return "\n".join([head, *bars, ""])


def _figures(statistics: Statistics) -> dict[str, Any]:
    figures = dataclasses.asdict(statistics)
    if statistics.alignment is not None:
        figures["lag"] = statistics.alignment.joint.lag
        figures["is_misaligned"] = statistics.alignment.joint.is_misaligned
    return figures


def _drawn(table: Table) -> str:
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
