"""Text files that are there whole or not at all, and JSON that says which file is damaged.

May import: nothing of the project. Refuses to know: what is written.
"""

import json
import os
from pathlib import Path
from typing import Any


def write_whole(path: Path, text: str) -> Path:
    """Write a text file under another name and rename it: a full disk or a killed process leaves what was there before.

    Raises:
        OSError: if it cannot be written; nothing is left of it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        return partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged; names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); restore it, or remove it where it can be made again") from error
