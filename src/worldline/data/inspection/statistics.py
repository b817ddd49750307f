"""The figures of a data set's actions, and what is wrong with them, in words.

May import: interfaces, the other files of inspection, numpy. Refuses to know: how anything is printed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldline.data.inspection.actions import ActionComponent, ActionTable, describe_actions, read_actions
from worldline.data.inspection.alignment import Alignment, measure_alignment
from worldline.data.inspection.contents import read_clips
from worldline.data.inspection.motion import FAMILIES, FRAME_SIZE, motion_features
from worldline.data.report import ReadReport
from worldline.interfaces import Clip

_MOST_AT_ENDS = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """What is known of the actions.

    Attributes:
        components: ranges, in the order of the action.
        alignment: None where there are no actions to align.
        rate_hz: of the clips that were looked at; None if there were none, or several rates.
        num_episodes, num_frames: that the alignment was measured on.
        num_still: frames in which nothing changed since the one before.
        warnings: what should be looked at before training, a sentence each.
    """

    components: tuple[ActionComponent, ...]
    alignment: Alignment | None
    rate_hz: float | None
    num_episodes: int
    num_frames: int
    num_still: int
    warnings: tuple[str, ...]


def measure_statistics(
    root: str | Path,
    *,
    camera: str | None = None,
    action_columns: Sequence[str] = (),
    expected_lag: int = 0,
    max_frames: int = 20_000,
) -> Statistics:
    """Read the actions of the data set at `root`, decode some of its video, and compare the two.

    Args:
        root: a LeRobotDataset, a store, or a folder of videos with CSV files.
        camera: which video feature of a LeRobotDataset.
        action_columns: of CSV files; all columns of numbers if none are given.
        expected_lag: frames from an action to the motion that it causes that count as aligned: the known latency of the recording.
        max_frames: how much video to compare with; episodes are taken in order until it is reached.

    Raises:
        FileNotFoundError, ValueError: if there is no data set, or none of its clips can be read.
    """
    table = read_actions(root, action_columns=action_columns)
    components = describe_actions(table)
    report = ReadReport()
    clips = read_clips(root, size=FRAME_SIZE, camera=camera, action_columns=action_columns, report=report) if components else ()
    seen = look_at(clips, max_frames)
    alignment = measure_alignment(seen.actions, seen.motions, expected_lag=expected_lag) if seen.actions else None
    rate_hz = seen.rates.pop() if len(seen.rates) == 1 else None
    warnings = [
        *_about_tables(table, components),
        *_about_reading(report, seen),
        *(_about_alignment(alignment, [component.name for component in components], expected_lag, rate_hz) if alignment else ()),
    ]
    return Statistics(
        components=components,
        alignment=alignment,
        rate_hz=rate_hz,
        num_episodes=len(seen.actions),
        num_frames=seen.num_frames,
        num_still=seen.num_still,
        warnings=tuple(warnings),
    )


@dataclass(kw_only=True, slots=True)
class Seen:
    """What was read of labelled clips: their actions, the motion in them, and how many frames stand still."""

    actions: list[np.ndarray]
    motions: list[list[np.ndarray]]
    rates: set[float]
    num_frames: int = 0
    num_still: int = 0


def look_at(clips: Iterable[Clip], max_frames: int) -> Seen:
    """Actions and motion of labelled clips, until `max_frames` are reached."""
    seen = Seen(actions=[], motions=[], rates=set())
    for clip in clips:
        if clip.actions is None or len(clip) < 2:
            continue
        features = motion_features(clip.frames)
        seen.actions.append(clip.actions.double().numpy())
        seen.motions.append([features[family] for family in FAMILIES])
        seen.rates.add(round(clip.rate_hz, 3))
        seen.num_frames += len(clip)
        seen.num_still += int((features["change"] == 0).all(1).sum())
        if seen.num_frames >= max_frames:
            break
    return seen


def _about_tables(table: ActionTable, components: Sequence[ActionComponent]) -> list[str]:
    num_rows = sum(len(rows) for rows in table.episodes.values())
    warnings = []
    if not components:
        warnings.append("no actions: a world of this data set cannot be steered")
    if table.unreadable:
        name, reason = next(iter(table.unreadable.items()))
        warnings.append(f"the actions of {len(table.unreadable)} file(s) cannot be read; the first: {name}: {reason}")
    for component in components:
        if component.num_missing:
            broken = [name for name, rows in table.episodes.items() if not np.isfinite(rows[:, _place(components, component)]).all()]
            warnings.append(
                f"{component.name}: {component.num_missing} of {num_rows} rows are NaN, infinite or missing, in {len(broken)} episode(s) "
                f"such as {broken[0]}; readers leave these episodes out"
            )
        if component.is_constant:
            warnings.append(f"{component.name}: constant at {component.low:g}; it teaches nothing, and its bounds are a guess")
    return warnings


def _place(components: Sequence[ActionComponent], component: ActionComponent) -> int:
    return list(components).index(component)


def _about_reading(report: ReadReport, seen: Seen) -> list[str]:
    warnings = []
    if report.skipped:
        name, reason = next(iter(report.skipped.items()))
        warnings.append(f"{len(report.skipped)} episode(s) cannot be read and are left out; the first: {name}: {reason}")
    if seen.num_frames and seen.num_still > 0.2 * seen.num_frames:
        warnings.append(
            f"{seen.num_still / seen.num_frames:.0%} of the frames repeat the one before: nothing moves, or the camera was slower "
            "than the table"
        )
    return warnings


def _about_alignment(alignment: Alignment, names: Sequence[str], expected_lag: int, rate_hz: float | None) -> list[str]:
    joint = alignment.joint
    warnings = []
    if joint.lag is not None and joint.is_misaligned:
        warnings.append(f"misaligned actions: {_lag_in_words(joint.lag, expected_lag, rate_hz)}")
    # Where all are off, joints that answer a frame sooner than others are no news.
    reference, tolerance = (joint.lag, 1) if joint.lag is not None and joint.is_misaligned else (expected_lag, 0)
    for name, component in zip(names, alignment.components, strict=True):
        if component.lag is not None and component.is_misaligned and abs(component.lag - reference) > tolerance:
            warnings.append(f"{name}: misaligned, and not like the others: {_lag_in_words(component.lag, expected_lag, rate_hz)}")
    return warnings


def _lag_in_words(lag: int, expected_lag: int, rate_hz: float | None) -> str:
    after = f" ({abs(lag) / rate_hz:.2g} s)" if rate_hz else ""
    frames = f"{abs(lag)} frame{'s' * (abs(lag) != 1)}{after}"
    shift = lag - expected_lag
    remedy = f"move the actions {abs(shift)} row{'s' * (abs(shift) != 1)} {'down' if shift > 0 else 'up'}"
    if lag < 0:
        return f"lag {lag}: the picture moves {frames} before its action, which no latency explains; {remedy}"
    if lag == 0:
        return f"lag 0, where {expected_lag} was expected; {remedy}, or expect 0"
    return (
        f"lag +{lag}: the picture answers {frames} after its action. Either the rows are early or camera and motors take that long; "
        f"{remedy}, or expect a lag of {lag} if it is known latency"
    )
