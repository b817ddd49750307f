"""Contact sheets: a row of frames per episode, under its caption and the frames at which its events began.

May import: data, eval, torch. Refuses to know: where the clips came from.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from worldline.data import to_float
from worldline.eval.charts import png
from worldline.eval.panels import Panel, draw_panels
from worldline.interfaces import Clip

_COLUMNS = 8
_HEIGHT = 128  # of a frame on the sheet, screen pixels
_GAP = 6


def write_sheet(path: str | Path, clips: Sequence[Clip]) -> None:
    """Draw `clips`, one row each, into a PNG: frames spread evenly, labelled with their number and the events since the last one.

    Above each row stand the caption, and each event with the frame at which it first happened: what there is to be seen, and where.

    Raises:
        ValueError: if there are no clips.
    """
    if not clips:
        raise ValueError("no clips to draw a contact sheet of")
    rows = [_row(clip) for clip in clips]
    width = max(row.shape[-1] for row in rows)
    rows = [functional.pad(row, (0, width - row.shape[-1], 0, _GAP), value=1.0) for row in rows]
    Path(path).write_bytes(png(torch.cat(rows, dim=-2)[:, :-_GAP]))


def _row(clip: Clip) -> torch.Tensor:
    chosen = torch.linspace(0, len(clip) - 1, min(_COLUMNS, len(clip))).round().long().tolist()
    panels = []
    for previous, index in zip([-1, *chosen], chosen):
        happened = [name.removeprefix("event.") for name, label in clip.labels.items() if label[previous + 1 : index + 1].any()]
        frame = to_float(clip.frames[index : index + 1])
        label = f"{index} {' '.join(happened)}".replace("_", " ")
        panels.append(Panel(label=label, frames=frame))
    row = draw_panels(panels, min_height=_HEIGHT)
    for line in (_events(clip), clip.text or ""):
        row = draw_panels([Panel(label=line, frames=row)], min_height=1)
    return row[0]


def _events(clip: Clip) -> str:
    """Each event that happened, with its first frame, in the order of time."""
    events = {name.removeprefix("event."): label for name, label in clip.labels.items() if name.startswith("event.")}
    first = {name: int(label.int().argmax()) for name, label in events.items() if label.any()}
    return "  ".join(f"{frame} {name}" for name, frame in sorted(first.items(), key=lambda pair: pair[1])).replace("_", " ")
