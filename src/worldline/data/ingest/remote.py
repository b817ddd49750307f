"""Missing results, made by Ray Data: on the cores of this machine, or on a cluster that shares the file system.

Ray decides where each item is worked on, and tries again what a lost worker or node had begun. Results go straight into the work
folder, which every node must see under the same path; only their names come back.

May import: ray, data.ingest.execute, data.ingest.work, data.sources. Refuses to know: what a pass over a file does, how Ray schedules.
"""

import dataclasses
import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from worldline.data.curate.config import CurateConfig
from worldline.data.ingest.execute import OnDone, execute_one
from worldline.data.ingest.work import WorkFolder
from worldline.data.sandbox import Sandbox
from worldline.data.sources import SourceItem

LOCAL = "local"


def execute_on_ray(
    items: Iterable[SourceItem],
    work: WorkFolder,
    config: CurateConfig,
    *,
    num_workers: int | None,
    address: str,
    on_done: OnDone,
) -> None:
    """Make and keep the result of every item; `on_done` is told of each, as `execute` does.

    Args:
        items: what to do; content that is held in memory is written into the work folder, so that nodes find it.
        work: on a file system that all nodes share.
        config: of the passes.
        num_workers: most items at a time; as many as there are cores when None.
        address: of a cluster; `local` for a Ray of our own on this machine, which ends afterwards.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if there is no cluster at the address.
    """
    try:
        import ray  # noqa: PLC0415 - optional, slow
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise ImportError('running on Ray needs it; pip install "worldline[ray]"') from error
    was_running = ray.is_initialized()
    if not was_running:
        # Ray Data keeps a core's worth of resources back, so with one it would wait for ever; the pool below is what limits.
        where: dict[str, Any] = (
            {"num_cpus": 1 + (num_workers or len(os.sched_getaffinity(0)))} if address == LOCAL else {"address": address}
        )
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **where)
    spool = work.folder / "spool" / uuid.uuid4().hex
    try:
        rows = [_row_of(_spooled(item, spool)) for item in items]
        if not rows:
            return
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Process(work.folder.absolute(), work.settings_key, config),
            num_cpus=1,
            compute=ray.data.TaskPoolStrategy(size=num_workers),
        )
        for row in results.iter_rows():
            on_done(row["name"], row["unfinished"] or None)
    finally:
        shutil.rmtree(spool, ignore_errors=True)
        if not was_running:
            ray.shutdown()


class _Process:
    """What a Ray worker does with a row. Pickles; each worker process has one sandbox, made when it is first needed."""

    def __init__(self, folder: Path, settings_key: str, config: CurateConfig) -> None:
        self._folder, self._settings_key, self._config = folder, settings_key, config

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        item = SourceItem(
            key=row["key"],
            name=row["name"],
            source=row["source"],
            path=Path(row["path"]),
            start_seconds=row["start_seconds"],
            end_seconds=row["end_seconds"],
        )
        work = WorkFolder(self._folder, self._settings_key)
        reason = None
        if not work.has_result(item.key):  # A second attempt finds what the first one left.
            reason = execute_one(item, work, self._config, _sandbox())
        return {"name": item.name, "unfinished": reason or ""}


_sandboxes: dict[int, Sandbox] = {}


def _sandbox() -> Sandbox:
    if os.getpid() not in _sandboxes:
        _sandboxes.clear()
        _sandboxes[os.getpid()] = Sandbox(num_workers=1)
    return _sandboxes[os.getpid()]


def _row_of(item: SourceItem) -> dict[str, Any]:
    """What a pass needs of an item, in types that Arrow knows."""
    return {
        "key": item.key,
        "name": item.name,
        "source": item.source,
        "path": str(item.path),
        "start_seconds": item.start_seconds,
        "end_seconds": item.end_seconds,
    }


def _spooled(item: SourceItem, spool: Path) -> SourceItem:
    """The item as a file: its own, or one with its content, so that other processes find it."""
    if item.path is not None:
        return dataclasses.replace(item, path=item.path.absolute())
    assert item.content is not None
    spool.mkdir(parents=True, exist_ok=True)
    path = spool / hashlib.sha256(item.key.encode()).hexdigest()
    path.write_bytes(item.content)
    return dataclasses.replace(item, content=None, path=path)
