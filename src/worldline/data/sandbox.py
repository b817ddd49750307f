"""Decode files of unknown origin in processes of their own, with limits: a file can end its own decoder, and nothing else.

    with Sandbox() as sandbox, sandbox.read_video("clip.mp4", size=128) as video:
        for chunk in video:
            chunk.frames                      # (t, 3, 128, 128) uint8

Every file gets a fresh child process, forked from one that has loaded the libraries and has never seen a file. The child has the
file as an open descriptor and cannot open another; processor time, memory, wall time, pixels and frames are bounded; its frames come
back through shared memory while it decodes the next ones. What is killed, crashes or lies is a `VideoError`, after the frames before.

May import: interfaces, data.media, data.geometry, data.sandbox_process, numpy, pyarrow; torch late, for ingest. Refuses to know: data sets.
"""

import dataclasses
import math
import os
import queue
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from worldline.data.geometry import Fit, Size, height_and_width, scaled_size
from worldline.data.media import DecodeLimits, UnfinishedError, VideoError, VideoInfo, check_request
from worldline.data.sandbox_process import SLOTS, Job, SandboxError, UnfinishedJobError, Usage, Worker

if TYPE_CHECKING:
    from torch import Tensor

    from worldline.interfaces import Clip

MEBIBYTE = 1024**2
MAX_CLIP_BYTES = 2 * 1024**3
"""Largest clip that `read_clip` gathers, in bytes of frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxLimits:
    """What one file may cost.

    Attributes:
        memory_bytes: what the child that decodes it may allocate, the shared memory included; its libraries come on top (50 MiB).
        cpu_seconds: processor time, however small the file is.
        cpu_seconds_per_mebibyte: processor time for large files, where that is more: who sends a gigabyte has paid for some decoding.
            Camera video takes 0.2 to 2 s; a still screen, recorded for hours, may take more than this and is then cut.
        wall_slack: the waiting time that is allowed is this many times the processor time, for machines that are busy.
        max_file_bytes: largest content that is given as bytes.
        max_frames: frames handed out for one file, after a change of rate.
        decode: what the decoder itself checks.
        max_rows, max_columns: of a table.
        max_output_bytes: of a table, once decompressed.
    """

    memory_bytes: int = 768 * MEBIBYTE
    cpu_seconds: float = 8.0
    cpu_seconds_per_mebibyte: float = 4.0
    wall_slack: float = 20.0
    max_file_bytes: int = 256 * MEBIBYTE
    max_frames: int = 1_000_000
    decode: DecodeLimits = field(default_factory=lambda: DecodeLimits(max_pixels=8192 * 4352))
    max_rows: int = 10_000_000
    max_columns: int = 4096
    max_output_bytes: int = 256 * MEBIBYTE

    def cpu_seconds_for(self, num_bytes: int) -> float:
        """Processor time for a file of this size."""
        return max(self.cpu_seconds, self.cpu_seconds_per_mebibyte * num_bytes / MEBIBYTE)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameChunk:
    """Some frames in a row.

    Attributes:
        frames: (t, 3, H, W) uint8, in memory of their own; (t, H, W, 3) underneath.
        seconds: (t,) float64, when each is shown, from the file's first frame.
        indices: (t,) int64, among the frames decoded from `start_seconds` on; repeats where the rate was raised.
    """

    frames: "Tensor"
    seconds: "Tensor"
    indices: "Tensor"


class Sandbox:
    """A pool of workers. Threads may share it; it pickles as its settings, and the copy starts workers of its own.

    Args:
        limits: what one file may cost.
        num_workers: processes that decode at the same time; they start when they are needed.
        on_end: told what each child used, in the thread that used it; not pickled.
    """

    def __init__(self, limits: SandboxLimits | None = None, *, num_workers: int = 1, on_end: Callable[[Usage], None] | None = None) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers is {num_workers}; give at least one")
        self.limits = limits or SandboxLimits()
        self.num_workers = num_workers
        self._on_end = on_end
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(num_workers):
            self._idle.put(None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.limits, self.num_workers)

    def probe(self, video: str | Path | bytes) -> VideoInfo:
        """What a file says about itself.

        Raises:
            VideoError: if there is no readable video in it.
        """
        with self._job(video, {"kind": "video", "only_info": True, "limits": dataclasses.asdict(self.limits.decode)}) as job:
            return _info_of(job.hear())

    @contextmanager
    def read_video(
        self,
        video: str | Path | bytes,
        *,
        size: Size | None = None,
        fit: Fit = "stretch",
        rate_hz: float | None = None,
        start_seconds: float = 0.0,
        end_seconds: float | None = None,
        max_frames: int | None = None,
        chunk_frames: int = 64,
    ) -> Generator["SandboxedVideo", None, None]:
        """Decode a file in chunks; use it in a `with` block, which ends the child however it is left.

        Args:
            video: the path of a regular file, or its bytes.
            size, fit, rate_hz, start_seconds, max_frames: as `read_video` of `data.decode`.
            end_seconds: where to stop; the frame at this time is left out.
            chunk_frames: frames per chunk, fewer where frames are large.

        Raises:
            VideoError: if no frame can be read, or a limit was passed before the first.
            ValueError: if an argument makes no sense.
        """
        check_request(rate_hz, start_seconds, end_seconds, max_frames)
        target = None if size is None else height_and_width(size)
        scaled_size((1, 1), (1, 1), fit)
        request = {
            "kind": "video",
            "only_info": False,
            "limits": dataclasses.asdict(self.limits.decode),
            "size": target,
            "fit": fit,
            "rate_hz": rate_hz,
            "start_seconds": start_seconds,
            "end_seconds": end_seconds,
            "max_frames": min(max_frames or self.limits.max_frames, self.limits.max_frames),
            "chunk_frames": min(chunk_frames, 1024),
            "slot_bytes": 8 * MEBIBYTE,
        }
        with self._job(video, request) as job:
            yield SandboxedVideo(job, _name_of(video), rate_hz, target, self.limits)

    def read_clip(self, video: str | Path | bytes, *, source: str, **arguments: Any) -> tuple["Clip", "Tensor"]:
        """Decode a file as one clip, and the indices (T,) of its frames; arguments as `read_video`.

        Raises:
            VideoError: as `read_video`, and if nothing says how many frames per second there are.
        """
        import torch  # noqa: PLC0415 - slow to import

        from worldline.interfaces import Clip  # noqa: PLC0415

        with self.read_video(video, **arguments) as stream:
            chunks = []
            for chunk in stream:
                chunks.append(chunk)
                if stream.num_frames * chunk.frames[0].numel() > MAX_CLIP_BYTES:
                    raise VideoError(f"{_name_of(video)}: more than {MAX_CLIP_BYTES} bytes of frames; give a smaller size, or max_frames")
            frames, indices = torch.cat([chunk.frames for chunk in chunks]), torch.cat([chunk.indices for chunk in chunks])
            if stream.rate_hz is None:
                raise VideoError(f"{_name_of(video)}: nothing says how many frames per second it has; give rate_hz")
            return Clip(frames=frames, rate_hz=stream.rate_hz, source=source), indices

    def read_table(self, file: str | Path | bytes, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a parquet file: those of `columns` that it has, where a name that ends in * stands for all that begin so; or all.

        Raises:
            VideoError: if it cannot be read, or is larger than the limits allow.
        """
        limits = {"max_rows": self.limits.max_rows, "max_columns": self.limits.max_columns}
        with self._job(file, {"kind": "table", "limits": limits, "columns": None if columns is None else list(columns)}) as job:
            num_bytes = job.hear().get("num_bytes")
            if not isinstance(num_bytes, int) or not 0 < num_bytes <= self.limits.max_output_bytes:
                raise SandboxError(f"a table of {num_bytes} bytes; at most {self.limits.max_output_bytes} are read")
            output = job.grant(num_bytes)
            job.hear()
            stream = output.memory[:num_bytes]
            job.finish()
            try:
                table = pa.ipc.open_stream(stream).read_all()
                table.validate(full=True)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise SandboxError(f"not a table ({error})") from error
            return table

    def run_job(self, file: str | Path | bytes, request: dict[str, Any], *, max_bytes: int) -> list[bytes]:
        """Do another kind of job, which answers with parts of bytes: see `sandbox_worker.send_parts`.

        Raises:
            VideoError: if it fails, passes a limit, or would answer with more than `max_bytes`.
        """
        with self._job(file, request) as job:
            sizes = job.hear().get("sizes")
            if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) > max_bytes:
                raise SandboxError(f"results of {sizes} bytes; at most {max_bytes} are taken")
            memory = job.grant(max(sum(sizes), 1)).memory
            job.hear()
            return [memory[sum(sizes[:number]) : sum(sizes[: number + 1])] for number in range(len(sizes))]

    @contextmanager
    def _job(self, file: str | Path | bytes, request: dict[str, Any]) -> Generator[Job, None, None]:
        """A child that works on `file`; errors get its name, and the worker goes back to the pool, or another takes its place."""
        name = _name_of(file)
        worker = self._idle.get()
        job = None
        try:
            with _open(file, self.limits) as (descriptor, num_bytes):
                cpu_seconds = self.limits.cpu_seconds_for(num_bytes) * request.get("effort", 1)
                if worker is None or not worker.is_usable:
                    worker = Worker()
                bounds = {"memory_bytes": self.limits.memory_bytes, "cpu_seconds": cpu_seconds}
                job = worker.submit({**request, **bounds}, descriptor, wall_seconds=20 + self.limits.wall_slack * cpu_seconds)
            yield job
        except SandboxError as error:
            kind = UnfinishedError if isinstance(error, UnfinishedJobError) else VideoError
            raise kind(f"{name}: {error}") from error
        finally:
            if job is not None:
                job.finish()
                if self._on_end is not None and job.usage is not None:
                    self._on_end(job.usage)
            self._idle.put(worker)

    def close(self) -> None:
        """End the idle workers; the sandbox can be used again."""
        workers = [self._idle.get() for _ in range(self.num_workers)]  # all of them first: the queue gives back what was put last
        for worker in workers:
            if worker is not None:
                worker.kill()
            self._idle.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class SandboxedVideo:
    """Chunks of frames from a child process; iterate it once.

    Attributes:
        info: what the file says about itself.
        height, width: of the frames handed out.
        num_frames: handed out so far.
        damage: once at the end: why decoding stopped before the end of the file; None where it did not.
    """

    def __init__(self, job: Job, name: str, rate_hz: float | None, target: tuple[int, int] | None, limits: SandboxLimits) -> None:
        first = job.hear()
        self.info = _info_of(first)
        self.height, self.width, per_slot = (_whole(first, key) for key in ("height", "width", "frames_per_slot"))
        if (target or (self.height, self.width)) != (self.height, self.width) or not (
            0 < self.height * self.width <= limits.decode.max_pixels and 0 < per_slot <= 1024
        ):
            raise SandboxError("the decoder sent frames of another size than was asked for")
        self.num_frames = 0
        self.damage: str | None = None
        self._job, self._name, self._rate_hz, self._max_frames = job, name, rate_hz, limits.max_frames
        num_bytes = SLOTS * per_slot * self.height * self.width * 3
        self._slots = np.frombuffer(job.grant(num_bytes).memory, np.uint8, count=num_bytes).reshape(
            SLOTS, per_slot, self.height, self.width, 3
        )
        self._first_seconds = self._last_seconds = 0.0

    @property
    def rate_hz(self) -> float | None:
        """Frames per second: as asked for, as the file says, or, once some frames are there, as their times say."""
        rate = self._rate_hz or self.info.rate_hz
        if rate is None and self._last_seconds > self._first_seconds:
            rate = (self.num_frames - 1) / (self._last_seconds - self._first_seconds)
        return rate

    def __iter__(self) -> Iterator[FrameChunk]:
        """Each chunk; ends early, with `damage`, where the file is damaged or a limit is passed.

        Raises:
            VideoError: if there was not a single frame before the damage.
        """
        try:
            while (message := self._job.hear()).get("done") is None:
                yield self._chunk(message)
                self._job.say("read")
            damage = message.get("damage")
            self.damage = None if damage is None else str(damage)[:1000]
        except SandboxError as error:
            self.damage = str(error)
        finally:
            del self._slots
        if self.num_frames == 0:
            raise VideoError(f"{self._name}: no frame could be decoded ({self.damage})")

    def _chunk(self, message: dict[str, Any]) -> FrameChunk:
        import torch  # noqa: PLC0415

        slot = _whole(message, "slot")
        try:
            seconds = torch.tensor(message["seconds"], dtype=torch.float64)
            indices = torch.tensor(message["indices"], dtype=torch.int64)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise SandboxError("the decoder sent times that are no numbers") from error
        count = len(seconds) if seconds.ndim == 1 else 0
        if not (0 <= slot < SLOTS and 0 < count <= self._slots.shape[1] and indices.shape == seconds.shape):
            raise SandboxError("the decoder sent frames that do not fit")
        self._first_seconds = self._first_seconds if self.num_frames else float(seconds[0])
        self.num_frames += count
        if self.num_frames > self._max_frames or not torch.isfinite(seconds).all():
            raise SandboxError(f"more than {self._max_frames} frames, or times that are not finite")
        self._last_seconds = float(seconds[-1])
        # The child fills this memory again as soon as it hears that it was read.
        pixels = torch.from_numpy(self._slots[slot, :count].copy())
        return FrameChunk(frames=pixels.permute(0, 3, 1, 2), seconds=seconds, indices=indices)


def _restore(limits: SandboxLimits, num_workers: int) -> Sandbox:
    return Sandbox(limits, num_workers=num_workers)


def _name_of(file: str | Path | bytes) -> str:
    return f"{len(file)} bytes" if isinstance(file, bytes) else str(file)


@contextmanager
def _open(file: str | Path | bytes, limits: SandboxLimits) -> Generator[tuple[int, int], None, None]:
    """A descriptor of a regular file, or of memory that holds these bytes; and how many bytes there are."""
    name = _name_of(file)
    if isinstance(file, bytes):
        if not 0 < len(file) <= limits.max_file_bytes:
            raise VideoError(f"{name}: between 1 and {limits.max_file_bytes} bytes are decoded from memory")
        descriptor = os.memfd_create("worldline", os.MFD_CLOEXEC)
    else:
        try:
            # Opening a pipe or a device to read could block or do something; without blocking, and asking what it is, it does not.
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError) as error:
            raise VideoError(f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    try:
        if isinstance(file, bytes):
            with os.fdopen(os.dup(descriptor), "wb") as memory:
                memory.write(file)
            os.lseek(descriptor, 0, os.SEEK_SET)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"{name}: not a regular file")
        if status.st_size == 0:
            raise VideoError(f"{name}: the file is empty")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def _whole(message: dict[str, Any], key: str) -> int:
    value = message.get(key)
    if not isinstance(value, int):
        raise SandboxError(f"the decoder sent {key} {str(value)[:40]!r}, not a whole number")
    return value


def _info_of(message: dict[str, Any]) -> VideoInfo:
    """The child's description of the file, each part of the type it should have."""
    info = message.get("info")
    if not isinstance(info, dict):
        raise SandboxError("the decoder sent no description of the file")

    def number(key: str) -> float | None:
        value = info.get(key)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    frames, rate = number("num_frames"), number("rate_hz")
    return VideoInfo(
        height=_whole(info, "height"),
        width=_whole(info, "width"),
        codec=str(info.get("codec"))[:40],
        rate_hz=rate if rate and rate > 0 else None,
        num_frames=None if frames is None else int(frames),
        duration_seconds=number("duration_seconds"),
    )
