"""Missing results, made: threads, each of which drives a sandboxed process of its own.

An item that cannot be read is noted with the reason and never stops the others. One that was stopped by the clock on the wall, or by
somebody, is tried again and else left for the next run: what a busy machine does must not become part of the data. A result is kept the
moment it is there, so whoever is killed has lost only what was in the making.

May import: data.curate.isolated, data.sandbox, data.sources, data.ingest.work. Refuses to know: what a pass over a file does.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeAlias

from worldline.data.curate.config import CurateConfig
from worldline.data.curate.isolated import curate
from worldline.data.ingest.work import WorkFolder
from worldline.data.media import UnfinishedError, VideoError
from worldline.data.sandbox import Sandbox
from worldline.data.sources import SourceItem

_NUM_ATTEMPTS = 2
_WAITING_PER_WORKER = 4  # Items may hold the bytes of their files, so few of them wait.


OnDone: TypeAlias = Callable[[str, str | None], None]
"""Told of each item its name and, if it was not finished and has no result, why."""


def execute(items: Iterable[SourceItem], work: WorkFolder, config: CurateConfig, num_workers: int, on_done: OnDone) -> None:
    """Make and keep the result of every item; `on_done` is called in this thread.

    Raises:
        OSError: if results cannot be written, or a sandbox cannot be started.
    """
    with Sandbox(num_workers=num_workers) as sandbox, ThreadPoolExecutor(num_workers) as pool:
        running: dict[Future[str | None], SourceItem] = {}
        try:
            for item in items:
                running[pool.submit(execute_one, item, work, config, sandbox)] = item
                if len(running) >= num_workers * _WAITING_PER_WORKER:
                    for name, reason in _finished(running):
                        on_done(name, reason)
            while running:
                for name, reason in _finished(running):
                    on_done(name, reason)
        finally:
            for future in running:
                future.cancel()


def execute_one(item: SourceItem, work: WorkFolder, config: CurateConfig, sandbox: Sandbox) -> str | None:
    """Make and keep the result of one item; returns why it was not finished, None if it was."""
    video: Path | bytes | None = item.path if item.path is not None else item.content
    assert video is not None
    reason = None
    for _ in range(_NUM_ATTEMPTS):
        try:
            record, kept = curate(sandbox, video, config, start_seconds=item.start_seconds, end_seconds=item.end_seconds)
        except VideoError as error:
            # The reason is the same wherever the file lies, as the result must be.
            reason = str(error).removeprefix(f"{video}: ") if item.path is not None else str(error)
            if not isinstance(error, UnfinishedError):
                work.put_failure(item.key, reason)
                return None
        else:
            work.put_result(item.key, record, kept)
            return None
    return reason


def _finished(running: dict[Future[str | None], SourceItem]) -> Iterator[tuple[str, str | None]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        yield running.pop(future).name, future.result()
