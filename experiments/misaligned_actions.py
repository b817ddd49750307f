"""Are shifted actions found, and found to be shifted by as much as they are?

    python experiments/misaligned_actions.py
    python experiments/misaligned_actions.py --simulators push two_room reacher
    python experiments/misaligned_actions.py my_drives my_arm

Films Push-T and the simulators that are named (40 episodes of 64 frames each), where the truth is known, and reads the data sets that are
named: LeRobotDatasets, or folders of videos with CSV files. The actions of each are moved by -3 to 3 rows against the pictures and
`worldline data stats` is asked for the lag. A simulator has lag 0 as it is, and must pass as it is. A real recording has the latency of its
camera and motors, so it is measured first, as it is (`as recorded`), and moving the rows by k must change the lag by exactly k; with that
latency declared, the recording itself must pass and each shift must be flagged. For false alarms, actions are also paired with the
pictures of other episodes: nothing may be flagged then.

JSON goes to stdout, progress to stderr. Exits with 1 if a shift is missed, found wrong, or an alarm is false.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from worldline.data.inspection import measure_alignment, read_clips
from worldline.data.inspection.motion import FRAME_SIZE
from worldline.data.inspection.statistics import Seen, look_at
from worldline.envs.pusht import collect_pusht
from worldline.envs.record import record
from worldline.envs.zoo import start_domain
from worldline.interfaces import Clip

SHIFTS = (-3, -2, -1, 0, 1, 2, 3)
NUM_PAIRINGS = 10


def shifted(rows: np.ndarray, shift: int) -> np.ndarray:
    """Rows that come `shift` frames too early; the ends are repeated."""
    return rows[np.clip(np.arange(len(rows)) + shift, 0, len(rows) - 1)]


def judge(name: str, clips: Iterable[Clip], known_latency: int | None) -> dict[str, Any]:
    """Shift the actions of `clips` and see what is found; `known_latency` is None where only the recording itself can tell."""
    seen: Seen = look_at(clips, 10**9)
    recorded = measure_alignment(seen.actions, seen.motions).joint
    latency = recorded.lag if known_latency is None else known_latency
    report: dict[str, Any] = {
        "episodes": len(seen.actions),
        "frames": seen.num_frames,
        "rate_hz": sorted(seen.rates),
        "lag as recorded": recorded.lag,
        "flagged as recorded": recorded.is_misaligned,
        "position as recorded": recorded.position,
        "interval as recorded": recorded.interval,
        "share explained at that lag": None if recorded.lag is None else round(recorded.curve[recorded.lag], 4),
    }
    if latency is None:
        return report | {"reason": recorded.reason, "passed": False}
    rows = []
    for shift in SHIFTS:
        found = measure_alignment([shifted(actions, shift) for actions in seen.actions], seen.motions, expected_lag=latency).joint
        right = found.lag == latency + shift and found.is_misaligned == (shift != 0)
        rows.append({"shift": shift, "lag": found.lag, "interval": found.interval, "flagged": found.is_misaligned, "right": right})
        print(f"{name}: shift {shift:+d}: lag {found.lag}, {'flagged' if found.is_misaligned else 'passes'}", file=sys.stderr)
    false_alarms = 0
    for others in range(1, 1 + min(NUM_PAIRINGS, len(seen.actions) - 1)):
        strangers = [*seen.actions[others:], *seen.actions[:others]]
        strangers = [np.resize(rows, (len(own), rows.shape[1])) for rows, own in zip(strangers, seen.actions, strict=True)]
        found = measure_alignment(strangers, seen.motions)
        false_alarms += found.joint.is_misaligned or any(component.is_misaligned for component in found.components)
    passed = all(row["right"] for row in rows) and not false_alarms and (known_latency is None or not recorded.is_misaligned)
    return report | {"shifts": rows, "alarms on actions of other episodes": false_alarms, "passed": passed}


def film(name: str, num_episodes: int, seed: int) -> Iterable[Clip]:
    """Episodes of a domain of `worldline collect`."""
    simulator = start_domain(name)
    return (record(simulator, seed=seed + number)[0] for number in range(num_episodes))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", type=Path, help="LeRobotDatasets, or folders of videos with CSV files")
    parser.add_argument("--simulators", nargs="*", default=[], help="domains of worldline collect, such as push, two_room, reacher")
    parser.add_argument("--episodes", type=int, default=100, help="of each data set, at most")
    parser.add_argument("--filmed", type=int, default=40, help="episodes of each simulator")
    parser.add_argument("--seed", type=int, default=0, help="of the simulators")
    arguments = parser.parse_args()
    reports = {"pusht": judge("pusht", collect_pusht(arguments.filmed, num_frames=64, seed=arguments.seed), known_latency=0)}
    for name in arguments.simulators:
        reports[name] = judge(name, film(name, arguments.filmed, arguments.seed), known_latency=0)
    for path in arguments.datasets:
        clips = itertools.islice(read_clips(path, size=FRAME_SIZE), arguments.episodes)
        reports[path.name] = judge(path.name, clips, known_latency=None)
    print(json.dumps(reports, indent=1))
    return 0 if all(report["passed"] for report in reports.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
