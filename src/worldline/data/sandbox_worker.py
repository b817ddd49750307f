"""The other side of the sandbox: a process that forks a child for every file, and what the child does.

The parent of the children never looks at a byte of a file, so it stays clean; a child lives for one file, in which nothing can be
opened, little memory be had, and time runs out. What it has to say is JSON on a socket; pixels and tables go through memory that
both sides map. See `data.sandbox_process` for the side that asks.

May import: data.media, av, numpy, and, for their kinds of jobs, pyarrow and data.curate. Refuses to know: torch; names and places of
files.
"""

import ctypes
import dataclasses
import gc
import importlib
import json
import math
import mmap
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from worldline.data.media import DECODE_ERRORS, DecodeLimits, Picked, VideoError, describe, open_video, pick_frames, reason_of
from worldline.data.sandbox_process import MAX_MESSAGE_BYTES, SLOTS


def serve(control: socket.socket) -> None:
    """Fork a child for every request until the other side hangs up; say how each child ended."""
    gc.collect()
    gc.freeze()  # Pages that the collector does not touch stay shared with the children.
    control.send(b'{"ready": true}')
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 2)
        if not message:
            return
        request = json.loads(message)
        _warm_up(request["kind"])
        if request.get("config", {}).get("shots") == "transnet":  # Its network would not fit into what a child may allocate.
            with suppress(ImportError):  # The child says so.
                importlib.import_module("worldline.data.curate.transnet").load_network()
        own_bytes = _own_bytes()
        child = os.fork()
        if child == 0:
            control.close()
            _run_child(request, own_bytes, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status, usage = os.wait4(child, 0)
        ending = {"status": status, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}
        with suppress(OSError):
            control.send(json.dumps(ending).encode())


def _own_bytes() -> int:
    """The address space of this process, which a child begins with."""
    with open("/proc/self/statm", "rb", buffering=0) as status:
        return int(status.read().split()[0]) * resource.getpagesize()


def _run_child(request: dict[str, Any], own_bytes: int, asker: int, file: int) -> None:
    """Does one job and ends the process, whatever happens."""
    gc.disable()  # It ends soon, and looking through what it shares with its parent would copy it.
    job = ChildJob(socket.socket(fileno=asker), request)
    try:
        _limit(own_bytes + request["memory_bytes"], request["cpu_seconds"])
        with os.fdopen(file, "rb", buffering=0) as content:
            _ANSWERS[request["kind"]](job, content)
    except VideoError as error:
        job.tell(failed=str(error)[:1000])
    except MemoryError:
        job.tell(failed=f"it needs more memory than the limit of {request['memory_bytes'] >> 20} MiB")
    except (*DECODE_ERRORS, OSError, ValueError, RuntimeError, TypeError, LookupError, ImportError) as error:
        job.tell(failed=reason_of(error)[:1000])
    finally:
        os._exit(0)


def _limit(memory_bytes: int, cpu_seconds: float) -> None:
    """From here on this process can run out of memory and time, and has two descriptors left, which the output takes: see there."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    free = [os.dup(0), os.dup(0)]  # Not always in a row: there may be a gap where the control socket was.
    for descriptor in free:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free) + 1, max(free) + 1))
    # The timer is exact but could be set again by code that took over; the limit is in whole seconds and final.
    whole = math.ceil(cpu_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)


class ChildJob:
    """One child's side of the conversation."""

    def __init__(self, asker: socket.socket, request: dict[str, Any]) -> None:
        self._asker = asker
        self.request = request

    def tell(self, **message: object) -> None:
        """Say something to who asked; ends the process when nobody listens."""
        try:
            self._asker.send(json.dumps(message).encode())
        except OSError:
            os._exit(0)

    def hear(self) -> str:
        """The next word of the other side; ends the process when that has hung up."""
        return self._asker.recv(64).decode() or os._exit(0)

    def receive_output(self) -> mmap.mmap:
        """The memory to write results to."""
        message, descriptors, _, _ = socket.recv_fds(self._asker, 64, 1)
        if not message:
            os._exit(0)
        output = mmap.mmap(descriptors[0], 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        return output


def send_parts(job: ChildJob, *parts: bytes) -> None:
    """Hand over parts of bytes, as `Sandbox.run_job` takes them."""
    job.tell(sizes=[len(part) for part in parts])
    memory, start = job.receive_output(), 0
    for part in parts:
        memory[start : start + len(part)] = part
        start += len(part)
    job.tell(done=True)


def _warm_up(kind: str) -> None:
    """Import what a kind of job needs and the process does without until the first of that kind, before the fork."""
    if kind == "table" and "pyarrow.parquet" not in sys.modules:
        importlib.import_module("pyarrow.parquet")
    if kind == "curate" and "worldline.data.curate.isolated" not in sys.modules:
        from worldline.data.curate.isolated import warm_up  # noqa: PLC0415

        # In a thread, because what a thread frees stays in a heap of its own. In the heap of the children it would be holes in memory
        # that they share with this process, each of which is copied when a child uses it.
        thread = threading.Thread(target=warm_up)
        thread.start()
        thread.join()
        gc.collect()
        gc.freeze()
        with suppress(AttributeError):  # Of glibc; what is given back need not be shared with every child.
            ctypes.CDLL(None).malloc_trim(0)


def _send_curated(job: ChildJob, content: BinaryIO) -> None:
    from worldline.data.curate.isolated import answer  # noqa: PLC0415

    send_parts(job, *answer(job.request, content))


def _send_video(job: ChildJob, content: BinaryIO) -> None:
    request = job.request
    limits = DecodeLimits(**request["limits"])
    with open_video(content, limits) as (container, stream):
        info = describe(container, stream)
        if request["only_info"]:
            job.tell(info=dataclasses.asdict(info))
            return
        picked = pick_frames(
            container,
            stream,
            target=None if request["size"] is None else tuple(request["size"]),
            fit=request["fit"],
            rate_hz=request["rate_hz"],
            start_seconds=request["start_seconds"],
            end_seconds=request["end_seconds"],
            limits=limits,
        )
        try:
            first = next(picked, None)
        except DECODE_ERRORS as error:
            raise VideoError(f"no frame could be decoded ({reason_of(error)})") from error
        if first is None:
            raise VideoError(f"no frame at or after {request['start_seconds']:g} s")
        height, width = first.pixels.shape[:2]
        frames_per_slot = max(1, min(request["chunk_frames"], request["slot_bytes"] // first.pixels.nbytes))
        job.tell(info=dataclasses.asdict(info), height=height, width=width, frames_per_slot=frames_per_slot)
        shape = (SLOTS, frames_per_slot, height, width, 3)
        output = np.frombuffer(job.receive_output(), np.uint8, count=math.prod(shape)).reshape(shape)
        damage = _fill_slots(job, output, _repeat(first, picked, request["max_frames"]))
    job.tell(done=True, damage=damage)


def _repeat(first: Picked, rest: Iterator[Picked], max_frames: int) -> Iterator[Picked]:
    """Every frame as often as it is shown, up to `max_frames`."""
    num_frames = 0
    picked: Picked | None = first
    while picked is not None:
        for _ in range(min(picked.copies, max_frames - num_frames)):
            yield picked
            num_frames += 1
        if num_frames >= max_frames:
            return
        picked = next(rest, None)


def _fill_slots(job: ChildJob, output: np.ndarray, frames: Iterator[Picked]) -> str | None:
    """Write frames into one slot after the other and say so; a slot is used again when it has been read. Returns what was damaged."""
    free, slot, damage, more = list(range(SLOTS)), 0, None, True
    while more:
        if slot not in free:
            if job.hear() != "read":
                return None
            free.append(slot)
        seconds, indices = [], []
        try:
            while len(seconds) < output.shape[1]:
                picked = next(frames, None)
                if picked is None:
                    more = False
                    break
                output[slot, len(seconds)] = picked.pixels
                seconds.append(round(picked.seconds, 6))
                indices.append(picked.index)
        except (*DECODE_ERRORS, OSError) as error:
            damage, more = reason_of(error), False
        if seconds:
            job.tell(slot=slot, seconds=seconds, indices=indices)
            free.remove(slot)
            slot = (slot + 1) % SLOTS
    return damage


def _send_table(job: ChildJob, content: BinaryIO) -> None:
    """A parquet file as an Arrow stream, without compression: all that is left to do for the reader is to check offsets."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    limits = job.request["limits"]
    file = pq.ParquetFile(pa.BufferReader(content.readall()))  # ty: ignore[missing-attribute]
    rows, columns = file.metadata.num_rows, file.metadata.num_columns
    if rows > limits["max_rows"] or columns > limits["max_columns"]:
        raise ValueError(f"a table of {rows} rows and {columns} columns; at most {limits['max_rows']} and {limits['max_columns']} are read")
    wanted = job.request["columns"]
    prefixes = tuple(name.removesuffix("*") for name in wanted or () if name.endswith("*"))
    names = None if wanted is None else [name for name in file.schema_arrow.names if name in wanted or name.startswith(prefixes)]
    table = file.read(columns=names, use_threads=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue()
    job.tell(num_bytes=stream.size)
    job.receive_output()[: stream.size] = memoryview(stream)
    job.tell(done=True)


_ANSWERS = {"video": _send_video, "table": _send_table, "curate": _send_curated}
