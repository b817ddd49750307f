import contextlib
import os
import pickle
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from worldline.data import VideoError, probe, read_video, write_video
from worldline.data.media import DecodeLimits, UnfinishedError
from worldline.data.sandbox import Sandbox, SandboxLimits
from worldline.data.sandbox_process import Usage


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_frames_are_those_that_decoding_here_gives(sandbox: Sandbox, square_video: Path) -> None:
    cases: list[dict[str, Any]] = [
        {},
        {"size": (16, 24)},
        {"size": 16, "fit": "crop"},
        {"rate_hz": 15.0},
        {"start_seconds": 0.8, "max_frames": 5},
    ]
    for arguments in cases:
        clip, indices = sandbox.read_clip(square_video, source="here", **arguments)
        expected = read_video(square_video, **arguments)
        assert torch.equal(clip.frames, expected.frames), arguments
        assert clip.rate_hz == expected.rate_hz
        assert len(indices) == len(clip)
    assert torch.equal(sandbox.read_clip(square_video.read_bytes(), source="bytes")[0].frames, read_video(square_video).frames)
    assert sandbox.probe(square_video) == probe(square_video)


@pytest.mark.parametrize("rate_hz", [None, 10.0, 5.0, 20.0])
def test_a_stretch_ends_before_its_end(sandbox: Sandbox, square_video: Path, rate_hz: float | None) -> None:
    stretch, _ = sandbox.read_clip(square_video, source="x", start_seconds=0.4, end_seconds=1.2, rate_hz=rate_hz)
    whole = read_video(square_video, start_seconds=0.4, rate_hz=rate_hz)
    assert len(stretch) == round(0.8 * (rate_hz or 10))
    assert torch.equal(stretch.frames, whole.frames[: len(stretch)])


def test_chunks_are_in_order_and_keep_their_pixels(sandbox: Sandbox, square_video: Path) -> None:
    with sandbox.read_video(square_video, chunk_frames=3) as video:
        chunks = list(video)
        assert [len(chunk.frames) for chunk in chunks] == [3] * 6 + [2]
        assert (video.num_frames, video.damage, video.rate_hz) == (20, None, 10)
    assert torch.equal(torch.cat([chunk.frames for chunk in chunks]), read_video(square_video).frames)
    assert torch.cat([chunk.indices for chunk in chunks]).tolist() == list(range(20))
    assert np.allclose(torch.cat([chunk.seconds for chunk in chunks]), np.arange(20) / 10)


def test_leaving_early_leaves_the_sandbox_usable(sandbox: Sandbox, square_video: Path) -> None:
    with sandbox.read_video(square_video, chunk_frames=1) as video:
        assert next(iter(video)).frames.shape == (1, 3, 32, 48)
    assert len(sandbox.read_clip(square_video, source="x")[0]) == 20


def test_unreadable_files_say_why(sandbox: Sandbox, tmp_path: Path, square_video: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    reasons = {
        "missing.mp4": "cannot be opened",
        "empty.mp4": "empty",
        "text.mp4": "not readable as video",
        "folder.mp4": "not a regular file",
        "pipe.mp4": "not a regular file",
    }
    for name, reason in reasons.items():
        with pytest.raises(VideoError, match=reason):
            sandbox.probe(tmp_path / name)
    with pytest.raises(VideoError, match="between 1 and"):
        sandbox.probe(b"")
    with pytest.raises(VideoError, match="no frame at or after 5 s"):
        sandbox.read_clip(square_video, source="x", start_seconds=5.0)


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile '{path}'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{path}</BaseURL></Period></MPD>',
        "{path}\n",
        "v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\n",
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "txt", "mpd"])
def test_playlists_lead_nowhere(sandbox: Sandbox, tmp_path: Path, square_video: Path, playlist: str, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    for target in (str(square_video), f"file:{square_video}", "http://127.0.0.1:9/x.mp4", "concat:/etc/passwd|/etc/hosts"):
        path.write_text(playlist.format(path=target))
        with pytest.raises(VideoError):
            sandbox.probe(path)


def test_damage_half_way_keeps_the_frames_before_it(sandbox: Sandbox, tmp_path: Path, square_frames: Tensor) -> None:
    path = tmp_path / "cut.mp4"
    write_video(path, square_frames, 10, keyframe_interval=1)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    middle = start + (len(content) - start) // 2
    content[middle:] = random.Random(0).randbytes(len(content) - middle)
    with sandbox.read_video(bytes(content)) as video:
        frames = torch.cat([chunk.frames for chunk in video])
    assert 5 <= len(frames) < 20
    assert video.damage


def large_picture(path: Path, side: int) -> Path:
    """One flat picture in a few kilobytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10, width=side, height=side, pix_fmt="yuvj420p", options={"threads": "1"})
        frame = av.VideoFrame(side, side, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_too_much_of_anything_is_stopped(square_video: Path, tmp_path: Path) -> None:
    bomb = large_picture(tmp_path / "bomb.avi", 6500)
    any_size = DecodeLimits(max_pixels=10**8)
    limits = {
        "of processor time": SandboxLimits(cpu_seconds=0.02, cpu_seconds_per_mebibyte=0, decode=any_size),
        "memory": SandboxLimits(memory_bytes=48 * 1024**2, decode=any_size),
        "from 1 to 100 pixels": SandboxLimits(decode=DecodeLimits(max_pixels=100)),
    }
    for reason, limit in limits.items():
        used: list[Usage] = []
        with Sandbox(limit, on_end=used.append) as sandbox:
            for _ in range(2):  # Refused again, rather than dead from the first.
                with pytest.raises(VideoError, match=reason):
                    sandbox.read_clip(bomb, source="x", size=16)
        assert len(used) == 2
        assert all(usage.peak_bytes <= 256 * 1024**2 for usage in used)
    with Sandbox(SandboxLimits(max_frames=7)) as sandbox:
        assert len(sandbox.read_clip(square_video, source="x")[0]) == 7


def test_a_silent_worker_is_replaced(square_video: Path) -> None:
    with Sandbox() as sandbox:
        sandbox.probe(square_video)
        sandbox.limits = SandboxLimits(cpu_seconds=0.1, wall_slack=-300)  # No patience at all.
        worker = sandbox._idle.get()
        assert worker is not None
        os.killpg(worker._process.pid, signal.SIGSTOP)
        sandbox._idle.put(worker)
        with pytest.raises(UnfinishedError, match="without an end"):
            sandbox.read_clip(square_video, source="x")
        sandbox.limits = SandboxLimits()
        assert len(sandbox.read_clip(square_video, source="x")[0]) == 20


def test_a_worker_that_falls_silent_half_way_leaves_the_frames_before(square_video: Path) -> None:
    with Sandbox() as sandbox, sandbox.read_video(square_video, chunk_frames=1) as video:
        chunks = iter(video)
        frames = [next(chunks).frames]
        os.killpg(video._job.worker._process.pid, signal.SIGSTOP)
        video._job._wall_seconds = 0.0
        frames += [chunk.frames for chunk in chunks]
        assert 1 <= len(frames) < 20
        assert "without an end" in str(video.damage)
        assert torch.equal(torch.cat(frames), read_video(square_video).frames[: len(frames)])


def test_a_killed_worker_is_replaced(square_video: Path) -> None:
    with Sandbox() as sandbox:
        sandbox.probe(square_video)
        worker = sandbox._idle.get()
        assert worker is not None
        os.killpg(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        sandbox._idle.put(worker)
        with pytest.raises(VideoError, match="is gone"):
            sandbox.probe(square_video)
        assert sandbox.probe(square_video).num_frames == 20


def test_a_sandbox_travels_as_its_settings(square_video: Path) -> None:
    with Sandbox(SandboxLimits(max_frames=3), num_workers=2) as sandbox:
        sandbox.probe(square_video)
        with pickle.loads(pickle.dumps(sandbox)) as copy:
            assert (copy.num_workers, copy.limits) == (2, sandbox.limits)
            assert len(copy.read_clip(square_video, source="x")[0]) == 3


def test_tables_come_back_whole(sandbox: Sandbox, tmp_path: Path) -> None:
    table = pa.table({"action": [[0.0, 1.0], [2.0, 3.0]], "caption": ["a", "b"], "index": [0, 1]})
    pq.write_table(table, tmp_path / "table.parquet")
    assert sandbox.read_table(tmp_path / "table.parquet").equals(table)
    assert sandbox.read_table(parquet_bytes(table), ["index"]).column_names == ["index"]


def test_hostile_tables_are_refused(sandbox: Sandbox) -> None:
    zeros = parquet_bytes(pa.table({"zeros": np.zeros(9_000_000, np.int64)}))
    many = parquet_bytes(pa.table({"zeros": pa.array(np.zeros(20_000_000, np.int8))}))
    whole = parquet_bytes(pa.table({"x": np.arange(1000), "words": ["word"] * 1000}))
    assert len(zeros) < 1_000_000
    with Sandbox(SandboxLimits(max_output_bytes=10**6)) as small, pytest.raises(VideoError, match="at most 1000000"):
        small.read_table(zeros)
    with pytest.raises(VideoError, match="20000000 rows"):
        sandbox.read_table(many)
    for seed in range(20):
        generator = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(30):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        with pytest.raises(VideoError):
            sandbox.read_table(bytes(damaged[: generator.randrange(10, len(damaged))]))
    assert sandbox.read_table(whole).num_rows == 1000


def test_closing_ends_every_worker(square_video: Path) -> None:
    with Sandbox(num_workers=3) as sandbox, contextlib.ExitStack() as stack:
        videos = [stack.enter_context(sandbox.read_video(square_video)) for _ in range(3)]
        assert [len(list(video)) for video in videos] == [1, 1, 1]
        stack.close()
        idle = [sandbox._idle.get() for _ in range(3)]
        for worker in idle:
            sandbox._idle.put(worker)
        workers = [worker for worker in idle if worker is not None]
        assert [worker.is_alive for worker in workers] == [True] * 3
    assert [worker.is_alive for worker in workers] == [False] * 3
