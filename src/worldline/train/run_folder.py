"""The folder of one run: a lock against a second process, the configuration it was begun with, and where its checkpoints lie.

May import: scale. Refuses to know: models and training.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worldline.scale import read_json, refuse_pickles, write_whole

try:
    import fcntl
except ImportError:  # Windows has no such lock; a second process is then the user's to avoid
    fcntl = None


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Create `folder` if needed and hold it for this process alone; the lock dies with the process, however it dies.

    Raises:
        ValueError: if another process trains in this folder, or it holds pickled files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refuse_pickles(folder)
    with (folder / ".lock").open("w") as lock:
        if fcntl is not None:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not passed on to worker processes that outlive us
            except (BlockingIOError, PermissionError):
                raise ValueError(f"another process is training in {folder}; wait for it, stop it, or give another folder") from None
        yield


def agree_on_config(folder: Path, config: Mapping[str, Any], *, may_grow: frozenset[str], may_change: frozenset[str]) -> None:
    """Write `config.json`, or check that it says the same.

    Args:
        folder: the run's folder.
        config: JSON-serialisable settings.
        may_grow: names of numbers that may be larger than before (None, no limit, is the largest).
        may_change: names that do not affect the result.

    Raises:
        ValueError: if a run was begun here with other settings; names each.
    """
    path = folder / "config.json"
    wanted = json.loads(json.dumps(config))
    if path.exists():
        begun = read_json(path)
        problems = []
        for name in sorted(wanted.keys() | begun.keys()):
            before, now = begun.get(name), wanted.get(name)
            if before == now or name in may_change:
                continue
            if name in may_grow and (now is None or (before is not None and now > before)):
                continue
            problems.append(f"{name} was {before} and is {now}" + (" (it may only grow)" if name in may_grow else ""))
        if problems:
            raise ValueError(
                f"{folder} holds a run with other settings: {'; '.join(problems)}. Repeat its settings, or give another folder"
            )
        if begun == wanted:
            return
    write_whole(path, json.dumps(wanted, indent=2) + "\n")
