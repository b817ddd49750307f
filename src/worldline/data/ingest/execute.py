"""Missing results, made: threads, each of which drives a sandboxed process of its own.

An item that cannot be read, or whose process dies, is noted with the reason and never stops the others. A result is kept the moment it
is there, so whoever is killed has lost only what was in the making.

May import: data.curate.isolated, data.sandbox, data.sources, data.ingest.work. Refuses to know: what a pass over a file does.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from worldline.data.curate.config import CurateConfig
from worldline.data.curate.isolated import curate
from worldline.data.ingest.work import WorkFolder
from worldline.data.media import VideoError
from worldline.data.sandbox import Sandbox
from worldline.data.sources import SourceItem

_WAITING_PER_WORKER = 4  # Items may hold the bytes of their files, so few of them wait.


def execute(
    items: Iterable[SourceItem], work: WorkFolder, config: CurateConfig, num_workers: int, on_done: Callable[[SourceItem], None]
) -> None:
    """Make and keep the result of every item; `on_done` is told of each, in this thread.

    Raises:
        OSError: if results cannot be written, or a sandbox cannot be started.
    """
    with Sandbox(num_workers=num_workers) as sandbox, ThreadPoolExecutor(num_workers) as pool:
        running: dict[Future[None], SourceItem] = {}
        try:
            for item in items:
                running[pool.submit(execute_one, item, work, config, sandbox)] = item
                if len(running) >= num_workers * _WAITING_PER_WORKER:
                    for done in _finished(running):
                        on_done(done)
            while running:
                for done in _finished(running):
                    on_done(done)
        finally:
            for future in running:
                future.cancel()


def execute_one(item: SourceItem, work: WorkFolder, config: CurateConfig, sandbox: Sandbox) -> None:
    """Make and keep the result of one item."""
    video: Path | bytes | None = item.path if item.path is not None else item.content
    assert video is not None
    try:
        record, kept = curate(sandbox, video, config, start_seconds=item.start_seconds, end_seconds=item.end_seconds)
    except VideoError as error:
        # The reason is the same wherever the file lies, as the result must be.
        reason = str(error).removeprefix(f"{video}: ") if item.path is not None else str(error)
        work.put_failure(item.key, reason)
    else:
        work.put_result(item.key, record, kept)


def _finished(running: dict[Future[None], SourceItem]) -> Iterator[SourceItem]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        item = running.pop(future)
        future.result()
        yield item
