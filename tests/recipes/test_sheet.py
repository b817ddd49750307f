"""Contact sheets: as many rows as clips, with what happened and when above each."""

from pathlib import Path

import pytest
import torch

from worldline.interfaces import Clip
from worldline.recipes.sheet import _events, write_sheet


def clip(**labels: torch.Tensor) -> Clip:
    return Clip(
        frames=torch.full((6, 3, 16, 16), 100, dtype=torch.uint8), rate_hz=5.0, source="made/up", text="A gray room.", labels=labels
    )


def happens(*frames: int) -> torch.Tensor:
    label = torch.zeros(6, dtype=torch.bool)
    label[list(frames)] = True
    return label


def test_events_are_listed_in_the_order_of_their_first_frames() -> None:
    labels = {"event.door_passed": happens(4, 5), "event.contact": happens(1, 5), "event.never": happens(), "score": torch.ones(6)}
    assert _events(clip(**labels)) == "1 contact  4 door passed"


def test_a_sheet_has_a_row_for_each_clip(tmp_path: Path) -> None:
    heights = []
    for count in (1, 3):
        write_sheet(tmp_path / "sheet.png", [clip(**{"event.contact": happens(2)})] * count)
        heights.append(int.from_bytes((tmp_path / "sheet.png").read_bytes()[20:24]))  # where a PNG says how high it is
    row = (heights[1] - heights[0]) / 2
    assert row > 128
    assert heights == [row - 6, 3 * row - 6], "rows with a gap between them"
    with pytest.raises(ValueError, match="no clips"):
        write_sheet(tmp_path / "sheet.png", [])
