"""LeRobotDatasets v2.1 and v3: the episodes that are there, of those that `meta/` lists.

Video is not touched; tables are read in the sandbox.

May import: data.sources, data.lerobot_layout, data.sandbox, numpy, pyarrow. Refuses to know: how the data set is laid out.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from worldline.data.lerobot_layout import ACTION, REWARD, STATE, Dataset, DatasetError, Entry, array_of, flat_names, open_dataset
from worldline.data.media import VideoError
from worldline.data.sandbox import Sandbox
from worldline.data.sources.item import Rejection, SourceItem
from worldline.data.sources.places import Refused, check_inside, hash_file

# Whatever a strange `meta/` brings about in code that expects a proper one.
_ERRORS = (DatasetError, VideoError, Refused, OSError, ValueError, TypeError, LookupError, AttributeError, pa.ArrowException)


def is_lerobot(folder: Path) -> bool:
    """Whether a folder is the root of a LeRobotDataset."""
    return (folder / "meta" / "info.json").is_file()


def read_lerobot_items(root: Path, prefix: str, sandbox: Sandbox, *, camera: str | None = None) -> Iterator[SourceItem | Rejection]:
    """One item per episode of which the video is there, labelled where the rows are there too.

    Args:
        root: the folder that holds `meta/`.
        prefix: goes in front of names.
        sandbox: where tables are read.
        camera: which video feature; the first one that has files when None.
    """
    try:
        check_inside(root / "meta" / "info.json", root)
        dataset = open_dataset(root, sandbox.read_table)
        camera = dataset.choose_camera(camera)
        entries = dataset.episodes(camera)
    except _ERRORS as error:
        yield Rejection(name=prefix.rstrip("/"), reason=str(error))
        return
    hashes: dict[Path, str] = {}  # Of the last file alone: neighbours share it.
    for entry in entries:
        name = f"{prefix}episode_{entry.index:06d}"
        try:
            path = dataset.path(entry.video)
            check_inside(path, root)
            if path not in hashes:
                hashes = {path: hash_file(path)}
        except _ERRORS as error:
            yield Rejection(name=name, reason=f"its video: {error}")
            continue
        yield from _item(dataset, entry, path, hashes[path], name)


def _item(dataset: Dataset, entry: Entry, path: Path, key: str, name: str) -> Iterator[SourceItem | Rejection]:
    table, labels = None, {}
    try:
        check_inside(dataset.path(entry.data), dataset.root)
        table = dataset.rows_of(entry)
        if table.num_rows == 0:
            raise DatasetError("no rows")
        labels = {kind: array_of(table, kind) for kind in (ACTION, STATE, REWARD) if kind in table.column_names}
    except _ERRORS as error:
        yield Rejection(name=name, reason=f"labels left out: {error}")
        if dataset.is_packed and table is None:
            return  # Without its rows nothing says where the episode ends in the file.
    start, end = None, None
    if dataset.is_packed:
        length = 0 if table is None else table.num_rows
        if length == 0:
            return
        start, end = entry.start_seconds, entry.start_seconds + length / dataset.rate_hz
        key = f"{key}:{start:.6f}-{end:.6f}"
    rewards = labels.get(REWARD)
    actions = labels.get(ACTION)
    names = flat_names(dataset.features.get(ACTION, {}).get("names"))
    yield SourceItem(
        key=key,
        name=name,
        source=entry.source or name,
        path=path,
        start_seconds=start,
        end_seconds=end,
        caption=entry.task,
        facts=entry.facts,
        actions=actions,
        action_names=names if actions is not None and len(names) == actions.shape[1] else (),
        states=labels.get(STATE),
        # LeRobot notes what an action earned; the first frame earned nothing that is known.
        rewards=None if rewards is None else np.concatenate([np.zeros(1, np.float32), rewards[:-1, 0]]),
        rate_hz=dataset.rate_hz,
    )
