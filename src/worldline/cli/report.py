"""What a command hands back, and how figures become lines of text.

May import: the standard library. Refuses to know: what was computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a command found: `figures`, JSON-able, for machines; `text` for people; and its exit status."""

    figures: dict[str, Any]
    text: str
    exit_status: int = 0


INTERRUPTED = 130


def interrupted(reason: Exception) -> Report:
    """What a command hands back when it was asked to stop, and has saved."""
    return Report(figures={"interrupted": True, "message": str(reason)}, text=str(reason), exit_status=INTERRUPTED)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with columns as wide as they need to be, numbers to the right and the first column to the left."""
    lines = [header, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def check_output(path: Path, suffix: str) -> None:
    """Refuse a file that could not be written, before the work and not after it; make the folder that it belongs into.

    Raises:
        ValueError: if the name does not end in `suffix`.
        OSError: if its folder cannot be made.
    """
    if path.suffix.lower() != suffix:
        raise ValueError(f"--out is {path}; give a name that ends in {suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
