"""Files in a folder that somebody else filled: found, opened and hashed without being led anywhere else.

Links are followed only as far as the folder itself; pipes, devices and sockets are never opened to be read.

May import: data.sources (the record), the standard library. Refuses to know: what is in a file.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath

from worldline.data.sources.item import Rejection

MAX_LABEL_BYTES = 16 * 1024**2
_MAX_DEPTH = 32


class Refused(ValueError):
    """A file that is not read; the message says why, without its name."""


def inside(root: Path, relative: str) -> Path:
    """The path of a name that a table or a list gives, below `root`.

    Raises:
        Refused: if it leads elsewhere.
    """
    name = PurePosixPath(relative)
    if not relative or name.is_absolute() or ".." in name.parts or "\0" in relative or "://" in relative:
        raise Refused(f"{relative[:200]!r} leads out of its folder")
    return root / name


def check_inside(path: Path, root: Path) -> None:
    """Refuse a path that, with its links followed, does not lie below `root`.

    Raises:
        Refused: says where it leads.
    """
    try:
        if not path.resolve(strict=True).is_relative_to(root.resolve(strict=True)):
            raise Refused("a link that leads out of its folder")
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13.
        raise Refused("missing" if isinstance(error, FileNotFoundError) else "a link that leads nowhere") from error


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read.

    Raises:
        Refused: if it is missing, cannot be opened, or is something else.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise Refused("missing" if isinstance(error, FileNotFoundError) else f"cannot be opened ({error})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused("not a regular file")
    return os.fdopen(descriptor, "rb")


def hash_file(path: Path) -> str:
    """The sha256 of a file.

    Raises:
        Refused: if it cannot be read, or is empty.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise Refused("the file is empty")
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise Refused(f"cannot be read ({error})") from error


def read_small(path: Path, max_bytes: int = MAX_LABEL_BYTES) -> bytes:
    """The content of a file of labels.

    Raises:
        Refused: if it cannot be read, or is larger than `max_bytes`.
    """
    with open_regular(path) as file:
        try:
            content = file.read(max_bytes + 1)
        except OSError as error:
            raise Refused(f"cannot be read ({error})") from error
    if len(content) > max_bytes:
        raise Refused(f"more than {max_bytes} bytes of labels")
    return content


def walk(folder: Path, root: Path, depth: int = 0) -> Iterator[tuple[Path, list[Path]] | Rejection]:
    """Every folder below `folder` and its files, both in order of name, hidden ones left out."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Rejection(name=str(folder), reason=f"cannot be listed ({error.strerror})")
        return
    files, folders = [], []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        is_folder = False
        with suppress(OSError):
            is_folder = entry.is_dir()
        (folders if is_folder else files).append(Path(entry.path))
    yield folder, files
    for path in folders:
        try:
            check_inside(path, root)
            # A link back up would otherwise be walked for ever.
            if path.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
                raise Refused("a link to a folder that it lies in")
            if depth >= _MAX_DEPTH:
                raise Refused(f"deeper than {_MAX_DEPTH} folders")
        except Refused as refusal:
            yield Rejection(name=str(path), reason=str(refusal))
            continue
        yield from walk(path, root, depth + 1)
