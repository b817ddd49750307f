import pytest
import torch

from worldline.eval.panels import Panel, draw_panels

LETTERS = {
    "T": ["#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."],
    "R": ["####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"],
    "2": [".###.", "#...#", "....#", "...#.", "..#..", ".#...", "#####"],
    "+": [".....", "..#..", "..#..", "#####", "..#..", "..#..", "....."],
}


@pytest.mark.parametrize("letter", LETTERS)
def test_letters_can_be_read(letter: str) -> None:
    strip = draw_panels([Panel(label=letter, frames=torch.zeros(1, 3, 64, 64))])[0, 0, :22]
    glyph = strip[4:18:2, 6:16:2] > 0.5
    assert ["".join(".#"[int(bit)] for bit in row) for row in glyph] == LETTERS[letter]


def test_panels_stand_side_by_side_under_their_labels() -> None:
    left, right = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    video = draw_panels([Panel(label="truth", frames=left), Panel(label=["one", "two"], frames=right)])
    assert video.shape == (2, 3, 22 + 192, 192 + 4 + 192)
    torch.testing.assert_close(video[:, :, 22::6, :192:6], left)
    torch.testing.assert_close(video[:, :, 22::6, 196::6], right)
    assert torch.equal(video[0, :, :22, :192], video[1, :, :22, :192])
    assert not torch.equal(video[0, :, :22, 196:], video[1, :, :22, 196:])


def test_a_label_that_is_too_long_is_cut() -> None:
    assert draw_panels([Panel(label="W" * 100, frames=torch.zeros(1, 3, 8, 8))], min_height=8).shape == (1, 3, 30, 8)


def test_large_frames_are_not_enlarged() -> None:
    assert draw_panels([Panel(label="", frames=torch.zeros(1, 3, 200, 220))]).shape == (1, 3, 222, 220)


def test_panels_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        draw_panels([Panel(label="a", frames=torch.zeros(1, 3, 8, 8)), Panel(label="b", frames=torch.zeros(2, 3, 8, 8))])
    with pytest.raises(ValueError, match="one shape"):
        draw_panels([])
    with pytest.raises(ValueError, match="one per frame"):
        Panel(label=["a"], frames=torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="T, 3, H, W"):
        Panel(label="a", frames=torch.zeros(0, 3, 8, 8))
