import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from torch import Tensor

from worldline.data import VideoError, decode, probe, read_video, resize_frames, to_float, write_video
from worldline.data.decode import read_video_indexed
from worldline.data.media import DecodeLimits


@pytest.mark.parametrize(
    ("rate_hz", "expected"),
    [
        (10, list(range(20))),
        (5, list(range(0, 20, 2))),
        (20, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]),
        (3, [0, 3, 7, 10, 13, 17]),
    ],
)
def test_resampling_takes_the_nearest_frame(square_video: Path, rate_hz: float, expected: list[int]) -> None:
    clip, indices = read_video_indexed(square_video, rate_hz=rate_hz)
    assert indices.tolist()[: len(expected)] == expected
    assert len(clip) == round(2 * rate_hz)
    assert clip.rate_hz == rate_hz
    assert torch.equal(clip.frames, read_video(square_video).frames[indices])


def test_start_and_length_select_frames(square_video: Path) -> None:
    everything = read_video(square_video).frames
    for start in (0, 3, 8, 13):
        part = read_video(square_video, start_seconds=start / 10, max_frames=4)
        assert torch.equal(part.frames, everything[start : start + 4])
    with pytest.raises(VideoError, match="no frame at or after 5 s"):
        read_video(square_video, start_seconds=5)


def test_decoder_resize_agrees_with_resizing_tensors(square_video: Path, square_frames: Tensor) -> None:
    for fit in ("stretch", "crop", "pad"):
        small = read_video(square_video, size=(16, 16), fit=fit).frames.float() / 255
        expected = resize_frames(to_float(square_frames), (16, 16), fit)
        assert small.shape == expected.shape
        assert (small - expected).abs().mean() < 0.03


def test_a_phones_rotation_mark_is_applied(tmp_path: Path) -> None:
    frames = torch.zeros(3, 3, 32, 48)
    frames[:, 0, :, :24] = 1  # Red on the left.
    write_video(tmp_path / "plain.mp4", frames, 10)
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(tmp_path / "turned.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)  # Counter-clockwise.
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    turned = read_video(tmp_path / "turned.mp4").frames
    assert turned.shape == (3, 3, 48, 32)
    assert torch.equal(turned, read_video(tmp_path / "plain.mp4").frames.rot90(1, (-2, -1)))


def test_unreadable_files_say_why(tmp_path: Path, square_video: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {square_video}\n")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "endless.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame(format="s16", layout="mono", samples=800)
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
    reasons = {
        "missing.mp4": "no such file",
        "empty.mp4": "empty",
        "text.mp4": "not readable as video",
        "list.mp4": "not readable as video",
        "folder.mp4": "not a regular file",
        "endless.mp4": "not a regular file",
        "sound.mkv": "no video stream",
    }
    for name, reason in reasons.items():
        for read in (probe, read_video):
            with pytest.raises(VideoError, match=reason):
                read(tmp_path / name)


def test_damage_half_way_keeps_the_frames_before_it(tmp_path: Path, square_frames: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cut.mp4"
    write_video(path, square_frames, 10, keyframe_interval=1)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    middle = start + (len(content) - start) // 2
    content[middle:] = random.Random(0).randbytes(len(content) - middle)
    path.write_bytes(content)
    clip = read_video(path)
    assert 5 <= len(clip) < 20
    assert (clip.frames[:5].float() - square_frames[:5].float()).abs().mean() < 4
    assert "keeping the" in caplog.text
    with pytest.raises(VideoError, match="damaged after"):
        read_video(path, strict=True)


def test_frames_are_limited_before_they_are_decoded(square_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_CLIP_BYTES", 5 * 3 * 32 * 48)
    with pytest.raises(VideoError, match="give a smaller size, a lower rate_hz, or max_frames"):
        read_video(square_video)
    assert len(read_video(square_video, max_frames=5)) == 5
    monkeypatch.setattr(decode, "LIMITS", DecodeLimits(max_pixels=32 * 48 - 1))
    with pytest.raises(VideoError, match="frames of 32 x 48 pixels"):
        read_video(square_video, max_frames=5)


def test_an_endless_stream_ends(square_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LIMITS", DecodeLimits(max_decoded_frames=7))
    assert len(read_video(square_video)) == 7
    with pytest.raises(VideoError, match="no end after 7 frames"):
        read_video(square_video, strict=True)


def test_a_gap_in_the_timestamps_is_not_filled_with_copies(square_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LIMITS", DecodeLimits(max_gap_seconds=0.05))
    with pytest.raises(VideoError, match="a gap of"):
        read_video(square_video, strict=True)


@pytest.mark.parametrize(
    "arguments",
    [{"rate_hz": 0}, {"rate_hz": float("nan")}, {"start_seconds": -1}, {"max_frames": 0}, {"size": 0}, {"size": 8, "fit": "zoom"}],
)
def test_nonsense_arguments_are_refused(square_video: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give|choose"):
        read_video(square_video, **arguments)


def test_reading_leaks_no_file_handles(square_video: Path, tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc to count open files")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(square_video.read_bytes()[:700])
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        read_video(square_video, max_frames=2)
        with pytest.raises(VideoError):
            read_video(broken)
    assert len(list(descriptors.iterdir())) == before


READ_ALL = """
import sys, logging
from worldline.data.decode import VideoError, read_video
logging.disable(logging.CRITICAL)
for path in sys.argv[1:]:
    try:
        frames = read_video(path, size=16, rate_hz=15).frames
        print("frames" if frames.shape[0] > 0 else "nothing", flush=True)
    except VideoError:
        print("refused", flush=True)
"""


def test_a_hundred_mutated_videos_neither_crash_nor_hang(square_video: Path, tmp_path: Path) -> None:
    """In another process, so that a crash or a hang inside the codec would fail this test and not end the run."""
    whole = square_video.read_bytes()
    paths = []
    for seed in range(100):
        path = tmp_path / f"mutated_{seed:03d}.mp4"
        path.write_bytes(mutate(whole, random.Random(seed)))
        paths.append(str(path))
    result = subprocess.run([sys.executable, "-c", READ_ALL, *paths], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    outcomes = result.stdout.split()
    assert len(outcomes) == 100
    assert set(outcomes) == {"frames", "refused"}


def mutate(content: bytes, generator: random.Random) -> bytes:
    """Bit flips, a truncation, a zeroed stretch of the header, wrong bytes in the index, or noise."""
    damaged = bytearray(content)
    start = generator.randrange(len(damaged))
    match generator.randrange(5):
        case 0:
            for _ in range(generator.choice([1, 20, 500])):
                damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        case 1:
            del damaged[start:]
        case 2:
            start = generator.randrange(1000)
            damaged[start : start + 64] = bytes(64)
        case 3:
            for _ in range(generator.choice([1, 4, 16])):
                damaged[generator.randrange(1500)] = generator.randrange(256)
        case _:
            damaged[start : start + 500] = generator.randbytes(500)
    return bytes(damaged)
