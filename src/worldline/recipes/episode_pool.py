"""Runs many independent pieces of work in processes that may crash or hang: each is tried again, then given up, and the others go on.

May import: pebble, torch. Refuses to know: what the work is.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

import torch
from pebble import ProcessPool

Name = TypeVar("Name")

_PIECES_PER_PROCESS = 500
"""Then a process is replaced: simulators and their drivers leak."""


def run_in_processes(
    function: Callable[..., object],
    pieces: Mapping[Name, Sequence[Any]],
    *,
    num_workers: int,
    timeout_seconds: float,
    attempts: int = 2,
) -> Iterator[tuple[Name, str | None]]:
    """Call `function(*arguments)` for every piece of work, in any order, and say how each one ended.

    Processes are spawned, so a calling script needs the usual `if __name__ == "__main__"`. Breaking off the iteration ends them.

    Args:
        function: importable by its name; what it returns is dropped.
        pieces: arguments of each call, picklable, by a name of the piece.
        num_workers: processes.
        timeout_seconds: a call that takes longer is killed.
        attempts: calls before a piece is given up.

    Yields:
        The name of each piece, and why it failed in its last attempt; None if it did not.
    """
    pool = ProcessPool(num_workers, _PIECES_PER_PROCESS, _start_process, context=multiprocessing.get_context("spawn"))
    try:
        failures = dict.fromkeys(pieces, 0)
        running: dict[Future[object], Name] = {}

        def start(name: Name) -> None:
            running[pool.schedule(function, args=pieces[name], timeout=timeout_seconds)] = name

        for name in pieces:
            start(name)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                error = future.exception()
                failures[name] += error is not None
                if error is not None and failures[name] < attempts:
                    start(name)
                else:
                    yield name, None if error is None else _in_words(error, timeout_seconds)
    finally:
        pool.stop()
        pool.join()


def _start_process() -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's software renderer would start a thread per core in every process


def _in_words(error: BaseException, timeout_seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"took longer than {timeout_seconds:g} s"
    return f"{type(error).__name__}: {error}"
