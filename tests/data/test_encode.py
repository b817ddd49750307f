from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldline.data import VideoWriter, probe, read_video, write_video


def test_frames_come_back_within_the_codec_tolerance(square_video: Path, square_frames: Tensor) -> None:
    clip = read_video(square_video)
    assert clip.frames.shape == square_frames.shape
    assert (clip.frames.float() - square_frames.float()).abs().mean() < 4


def test_the_file_plays_in_browsers(square_video: Path) -> None:
    info = probe(square_video)
    assert (info.codec, info.rate_hz, info.num_frames, info.height, info.width) == ("h264", 10.0, 20, 32, 48)
    assert info.duration_seconds == pytest.approx(2.0)
    content = square_video.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "the index comes first, so that playing can start at once"


def test_floats_and_bytes_write_the_same_video(tmp_path: Path, square_frames: Tensor, square_video: Path) -> None:
    write_video(tmp_path / "float.mp4", square_frames.float() / 255, 10)
    assert torch.equal(read_video(tmp_path / "float.mp4").frames, read_video(square_video).frames)


def test_odd_sizes_repeat_their_last_row_and_column(tmp_path: Path) -> None:
    frames = torch.zeros(3, 3, 33, 47)
    frames[..., -1, :] = frames[..., -1] = 1
    write_video(tmp_path / "odd.mp4", frames, 29.97)
    clip = read_video(tmp_path / "odd.mp4")
    assert clip.frames.shape == (3, 3, 34, 48)
    assert clip.rate_hz == pytest.approx(29.97)
    assert clip.frames[..., -1, :].min() > 200


def test_writing_in_pieces_counts_frames(tmp_path: Path, square_frames: Tensor) -> None:
    with VideoWriter(tmp_path / "pieces.mp4", rate_hz=10) as writer:
        for piece in square_frames.split(7):
            writer.write(piece)
        assert writer.num_frames == 20
    assert len(read_video(tmp_path / "pieces.mp4")) == 20


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, square_frames: Tensor) -> None:
    path = tmp_path / "kept.mp4"
    write_video(path, square_frames, 10)
    before = path.read_bytes()

    def change_size_half_way() -> None:
        with VideoWriter(path, rate_hz=10) as writer:
            writer.write(square_frames)
            writer.write(torch.zeros(1, 3, 16, 16))

    with pytest.raises(ValueError, match="a frame of 16 x 16"):
        change_size_half_way()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_bad_arguments_say_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.mp4"):
        write_video(tmp_path / "video.gif", torch.zeros(1, 3, 8, 8), 10)
    with pytest.raises(ValueError, match="positive number of frames per second"):
        write_video(tmp_path / "video.mp4", torch.zeros(1, 3, 8, 8), 0)
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "video.mp4", torch.zeros(0, 3, 8, 8), 10)
    with pytest.raises(ValueError, match="no frames were written"), VideoWriter(tmp_path / "video.mp4", rate_hz=10):
        pass
    assert list(tmp_path.iterdir()) == []
