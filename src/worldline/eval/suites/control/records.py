"""What attempts came to, kept on disk line by line: a suite that was broken off goes on where it was, and several processes share one.

May import: data, torch, its siblings. Refuses to know: worlds, planners, figures.
"""

import hashlib
import json
import os
import pickle
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from worldline.data import to_float, to_uint8
from worldline.eval.suites.control.attempt import Attempt, Shown

try:
    import fcntl
except ImportError:  # not on Windows; there, give one folder to one process
    fcntl = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Environment, protocol, and simulator frames from start to goal."""

    environment: str
    protocol: str
    offset: int

    def __str__(self) -> str:
        return f"{self.environment}, {self.protocol}, offset {self.offset}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """Which attempt; `settings` are the planner's, see `planners.settings_of`."""

    scene: Scene
    planner: str
    frame_evaluations: int
    seed: int
    pair: int
    settings: str

    def __str__(self) -> str:
        scene = f"{self.scene.environment}/{self.scene.protocol}/{self.scene.offset}"
        return f"{scene}/{self.planner}/{self.frame_evaluations}/{self.seed}/{self.pair}"


class Records:
    """Attempts by key, in `folder/attempts.jsonl`, and films of some of them in `folder/films`.

    Args:
        folder: made if it is not there.
        setup: all that attempts depend on besides their key; those of another setup are not read.
    """

    def __init__(self, folder: Path, setup: Mapping[str, object]) -> None:
        self.folder = folder
        self._setup = json.dumps(setup, sort_keys=True, default=str)
        self._found: dict[tuple[str, str], Attempt] = {}
        (folder / "films").mkdir(parents=True, exist_ok=True)
        self._path, self._read = folder / "attempts.jsonl", 0
        self._catch_up()

    def _catch_up(self) -> None:
        """Read what was written since."""
        if not self._path.exists() or self._path.stat().st_size == self._read:
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        *lines, rest = new.split(b"\n")
        self._read += len(new) - len(rest)
        for line in lines:
            try:
                row = json.loads(line)
                if row["setup"] == self._setup and "settings" in row:
                    values = row["attempt"]
                    lists = {name: tuple(values[name]) for name in ("predicted", "realised", "seconds")}
                    self._found[row["key"], row["settings"]] = Attempt(**values | lists)
            except (ValueError, TypeError, LookupError):
                continue  # the line that was being written when a run was broken off, or one that a crash of the machine left damaged

    def get(self, key: Key) -> Attempt | None:
        """What is known of an attempt, also by other processes."""
        if (str(key), key.settings) not in self._found:
            self._catch_up()
        return self._found.get((str(key), key.settings))

    @contextmanager
    def claim(self, what: object, *, wait: bool) -> Generator[bool]:
        """Hold `what` against other processes that use this folder; whether it is held.

        A process that dies lets go. With `wait` it waits until nobody else holds it.
        """
        folder = self.folder / "claims"
        folder.mkdir(exist_ok=True)
        name = hashlib.sha256(f"{self._setup}{what}".encode()).hexdigest()[:16]
        with (folder / name).open("w", encoding="utf-8") as file:
            held = True
            if fcntl is not None:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except (BlockingIOError, PermissionError):
                    held = False
            try:
                yield held
            finally:
                if held:  # whoever waits for it looks at what is known by now, so a new claim beside theirs does no harm
                    (folder / name).unlink(missing_ok=True)

    def add(self, key: Key, attempt: Attempt, film: Shown | None = None) -> None:
        """Keep an attempt, and its film if there is one: the attempt first, which is what took the time."""
        self._found[str(key), key.settings] = attempt
        line = json.dumps({"key": str(key), "setup": self._setup, "settings": key.settings, "attempt": attempt.to_dict()})
        start = "" if not self._path.exists() or self._path.read_bytes()[-1:] in (b"\n", b"") else "\n"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{start}{line}\n")
        if film is not None:
            path = self._film(key)
            partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
            torch.save([to_uint8(film.real), to_uint8(film.imagined)], partial)
            partial.replace(path)

    def film(self, key: Key) -> Shown | None:
        """The film of an attempt, if it was kept and can be read."""
        try:
            real, imagined = torch.load(self._film(key), weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
            return None
        return Shown(real=to_float(real), imagined=to_float(imagined))

    def _film(self, key: Key) -> Path:
        """Of one setup and settings: a folder may hold attempts of several worlds."""
        of = hashlib.sha256(f"{self._setup}{key.settings}".encode()).hexdigest()[:8]
        return self.folder / "films" / f"{str(key).replace('/', '_')}_{of}.pt"
