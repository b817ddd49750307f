"""LeRobotDataset in: robot recordings in the format that most of them are shared in.

Both layouts of `lerobot_layout` are read. Real downloads are incomplete: an episode whose files are missing or broken is skipped,
counted and logged. `lerobot_writer` writes v3.0.

May import: interfaces, data.decode, data.lerobot_layout, data.report, data.action_range, pyarrow. Refuses to know: the lerobot
package, training.
"""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from worldline.data.action_range import spec_from_actions, spec_from_range
from worldline.data.decode import VideoError, read_video
from worldline.data.lerobot_layout import (
    ACTION,
    OWN_COLUMNS,
    REWARD,
    STATE,
    Dataset,
    DatasetError,
    Entry,
    array_of,
    flat_names,
    open_dataset,
)
from worldline.data.pixels import Fit, Size
from worldline.data.report import ReadReport
from worldline.interfaces import ActionSpec, Clip

logger = logging.getLogger(__name__)


def read_lerobot(
    root: str | Path,
    *,
    camera: str | None = None,
    size: Size | None = None,
    fit: Fit = "stretch",
    report: ReadReport | None = None,
) -> Iterator[Clip]:
    """Read a LeRobotDataset (v2.1 or v3.0), one clip per episode, in order.

    Actions come from `action`, states from `observation.state`, rewards from `next.reward` (one frame
    later, and 0 at the first), text from the episode's task, and every other column of numbers is a label. The rate is the data
    set's; the source is that which `write_lerobot` noted, as it did the facts, else `<folder name>/episode_<index>`. An episode whose
    video ends early is cut to it.

    Args:
        root: the folder that holds `meta/`.
        camera: which video feature to read; the first one that has files when None.
        size: height and width to resize to, in pixels; the file's own when None.
        fit: see `read_video`.
        report: filled while the clips are consumed.

    Raises:
        FileNotFoundError: if there is no data set at `root`, or no video of the camera in it.
        DatasetError: if its version or its `meta/` cannot be read, or, after the last episode, if none could be.
    """
    dataset = open_dataset(Path(root))
    camera = dataset.choose_camera(camera)
    report = ReadReport() if report is None else report
    episodes = dataset.episodes(camera)
    for entry in episodes:
        name = f"episode_{entry.index:06d}"
        try:
            clip = _read_episode(dataset, entry, size, fit, f"{dataset.root.absolute().name}/{name}")
        except (DatasetError, VideoError, FileNotFoundError) as error:
            report.skipped[name] = str(error)
            logger.warning("%s: skipped: %s", name, error)
            continue
        report.num_clips += 1
        yield clip
    logger.info("%s: %s", root, report)
    if report.num_clips == 0:
        raise DatasetError(f"{root}: none of its {len(episodes)} episodes could be read: {report}")


def action_spec_of(root: str | Path) -> ActionSpec | None:
    """Bounds and names of the actions of the data set at `root`: from its statistics, or from the data where it has none.

    Statistics give the exact minimum and maximum; without them the bounds are those of `spec_from_actions`. None when the
    data set has no actions.

    Raises:
        FileNotFoundError, DatasetError: as `read_lerobot`.
    """
    dataset = open_dataset(Path(root))
    if ACTION not in dataset.features:
        return None
    names = flat_names(dataset.features[ACTION].get("names"))
    try:
        bounds = [stats for stats in dataset.statistics(ACTION) if {"min", "max"} <= stats.keys()]
        if bounds:
            low, high = (torch.tensor([stats[end] for stats in bounds], dtype=torch.float64) for end in ("min", "max"))
            low, high = low.reshape(len(bounds), -1).amin(0), high.reshape(len(bounds), -1).amax(0)
            if low.shape != high.shape:
                raise ValueError(f"{len(low)} and {len(high)} components")
            return spec_from_range(low, high, names if len(names) == len(low) else ())
    except (AttributeError, TypeError, LookupError, ValueError, RuntimeError) as error:
        raise DatasetError(f"{root}: the statistics of its actions do not hold a least and a largest vector ({error})") from error
    actions = list(_all_actions(dataset))
    if not actions:
        raise FileNotFoundError(f"{root}: neither statistics of the actions nor data files to take their bounds from")
    everything = torch.cat(actions)
    return spec_from_actions(everything, names if len(names) == everything.shape[1] else ())


def _all_actions(dataset: Dataset) -> Iterator[Tensor]:
    """The actions of each data file (rows, A); one that cannot be read is left out, as its episodes are."""
    for path in sorted((dataset.root / "data").rglob("*.parquet")):
        try:
            yield matrix_of(pq.read_table(path, columns=[ACTION]), ACTION)
        except (pa.ArrowException, OSError, LookupError, DatasetError) as error:
            logger.warning("%s: left out of the bounds of the actions: %s", path, error)


def _read_episode(dataset: Dataset, entry: Entry, size: Size | None, fit: Fit, source: str) -> Clip:
    table = dataset.rows_of(entry)
    if table.num_rows == 0:
        raise DatasetError(f"{entry.data}: no rows of episode {entry.index}")
    if not 0 <= entry.start_seconds < math.inf:
        raise DatasetError(f"{entry.video}: episode {entry.index} begins at {entry.start_seconds} s")
    video = dataset.path(entry.video)
    clip = read_video(video, size=size, fit=fit, start_seconds=entry.start_seconds, max_frames=table.num_rows)
    length = len(clip)
    if length < table.num_rows:
        logger.warning("%s: %d of %d frames; the episode is cut to them", video, length, table.num_rows)
    labels = {name: matrix_of(table, name)[:length] for name in (ACTION, STATE, REWARD) if name in table.column_names}
    rewards = labels.get(REWARD)
    return Clip(
        frames=clip.frames,
        rate_hz=dataset.rate_hz,
        source=entry.source or source,
        actions=labels.get(ACTION),
        states=labels.get(STATE),
        # LeRobot notes what an action earned, a clip what arriving at a frame earned; the first frame earned nothing that is known.
        rewards=None if rewards is None else torch.cat([torch.zeros(1), rewards[:-1, 0]]),
        text=entry.task or None,
        labels={name: values[:length] for name, values in _further_labels(dataset, table).items()},
        facts=entry.facts,
    )


def _further_labels(dataset: Dataset, table: pa.Table) -> dict[str, Tensor]:
    """Columns of numbers that no other part of a clip is made of, each (T,) or (T, D), of the kind that they are stored as."""
    labels = {}
    for name in table.column_names:
        kind = str(dataset.features.get(name, {}).get("dtype", ""))
        if name in (ACTION, STATE, REWARD, *OWN_COLUMNS) or not kind.startswith(("float", "int", "bool")):
            continue
        values = torch.from_numpy(array_of(table, name, np.int64)) if kind.startswith("int") else matrix_of(table, name)
        values = values[:, 0] if values.shape[1] == 1 else values
        labels[name] = values.bool() if kind == "bool" else values
    return labels


def matrix_of(table: pa.Table, name: str) -> Tensor:
    """A column as `array_of` reads it, as (rows, dim) float32."""
    return torch.from_numpy(array_of(table, name))
