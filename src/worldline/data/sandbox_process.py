"""This side of the sandbox: a worker process that is started once, and one conversation per file with a child of it.

Nothing that a child says is believed: its messages are JSON of a bounded size, the memory that it fills can be neither cut nor grown,
and a child that is silent for too long, or speaks nonsense, is killed with its worker.

May import: numpy and the standard library. Refuses to know: what videos and tables are.
"""

import contextlib
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_MESSAGE_BYTES = 1 << 16
SLOTS = 2  # Of the shared memory: one is filled while the other is read.
_START_SECONDS = 120.0

# The packages' own __init__ files import torch, which the worker does without; so their folders are named instead.
_BOOTSTRAP = """
import json, socket, sys, types
number, folder, path = json.loads(sys.argv[1])
sys.path[:] = path
for name in ("worldline", "worldline.data"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["worldline"].__path__, sys.modules["worldline.data"].__path__ = [folder], [folder + "/data"]
from worldline.data.sandbox_worker import serve
serve(socket.socket(fileno=number))
"""
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")

# A child lives for milliseconds and takes megabytes, and every page of 4 KiB that it is the first to touch costs about two microseconds.
# So its allocator takes memory in huge pages, and gives nothing back. Other C libraries than glibc do not look at this.
_GLIBC_SETTINGS = {"hugetlb": 1, "mmap_threshold": 32 << 20, "trim_threshold": 1 << 30, "top_pad": 4 << 20}
_SETTINGS = {
    "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in _GLIBC_SETTINGS.items()),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class SandboxError(Exception):
    """A job that did not end well; the message says what happened, without a name."""


class UnfinishedJobError(SandboxError):
    """A job that was ended by the clock on the wall, or by somebody else; the file need not be to blame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a child used: processor time of it alone, and its largest resident memory."""

    cpu_seconds: float
    peak_bytes: int


class Worker:
    """A process that forks a child for every job.

    Raises:
        OSError: if it does not start.
    """

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError(f"the sandbox needs Linux (memfd, resource limits); this is {sys.platform}")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = json.dumps([theirs.fileno(), str(Path(__file__).parent.parent), sys.path])
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOTSTRAP, arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # A hostile file must not fill the terminal; what goes wrong comes back as a message.
                stderr=subprocess.DEVNULL,
                env={**environment, **_SETTINGS},
                start_new_session=True,
            )
        self._control = ours
        self._output: Output | None = None
        self._owner = os.getpid()
        self.is_alive = True
        self._control.settimeout(_START_SECONDS)
        try:
            ready = self._control.recv(MAX_MESSAGE_BYTES)
        except OSError:
            ready = b""
        if not ready:
            self.kill()
            raise OSError(f"the sandbox's process did not start; try: {sys.executable} -c 'import av, numpy'")

    @property
    def is_usable(self) -> bool:
        """Whether it lives and was started by this process, not by one that this was forked from."""
        return self.is_alive and self._owner == os.getpid()

    def submit(self, request: Mapping[str, object], file: int, *, wall_seconds: float) -> "Job":
        """Start a child that reads the open file `file`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno(), file])
            except OSError as error:
                ours.close()
                self.kill()
                raise UnfinishedJobError(f"the sandbox's process is gone ({error})") from error
        return Job(self, ours, wall_seconds)

    def output(self, num_bytes: int) -> "Output":
        """Shared memory of at least `num_bytes`; the last one again where it is large enough."""
        if self._output is None or self._output.num_bytes < num_bytes:
            self.release_output()
            self._output = Output(num_bytes)
        return self._output

    def release_output(self) -> None:
        """Give the shared memory back."""
        if self._output is not None:
            self._output.close()
            self._output = None

    def ending(self, wall_seconds: float) -> dict[str, Any]:
        """How the last child ended."""
        self._control.settimeout(max(wall_seconds, 0.01))
        message = json.loads(self._control.recv(MAX_MESSAGE_BYTES))
        return dict(message)

    def kill(self) -> None:
        """End the process and its child."""
        if not self.is_alive:
            return
        self.is_alive = False
        self._control.close()
        self.release_output()
        if self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Output:
    """Memory that both sides map; sealed, so that a child cannot cut it short under a reader."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self.descriptor = os.memfd_create("worldline", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, num_bytes)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.memory = mmap.mmap(self.descriptor, num_bytes, prot=mmap.PROT_READ)

    def close(self) -> None:
        """Free it; where somebody still looks at it, as soon as nobody does."""
        with contextlib.suppress(BufferError):
            self.memory.close()
        os.close(self.descriptor)


class Job:
    """One child's work. Once it has ended, `usage` is known, and whether it `was_stopped` by something outside of it."""

    def __init__(self, worker: Worker, link: socket.socket, wall_seconds: float) -> None:
        self.worker = worker
        self.usage: Usage | None = None
        self.was_stopped = False
        self._link = link
        self._wall_seconds = wall_seconds
        self._waited_seconds = 0.0
        self._is_open = True

    def hear(self) -> dict[str, Any]:
        """The child's next message. Only waiting counts as wall time, not what the caller does in between.

        Raises:
            SandboxError: if the child failed, died, was too slow, or sent no message of ours.
        """
        started = time.monotonic()
        self._link.settimeout(max(self._wall_seconds - self._waited_seconds, 0.01))
        try:
            message = self._receive()
        except TimeoutError as error:
            self.abandon()
            raise UnfinishedJobError(f"stopped after {self._wall_seconds:g} s without an end") from error
        except OSError:
            message = b""
        self._waited_seconds += time.monotonic() - started
        if not message:
            raise self.ending_error()
        try:
            content = json.loads(message)
            failed = content.get("failed")
        except (ValueError, AttributeError, RecursionError) as error:
            self.abandon()
            raise SandboxError("the decoder sent no message of ours; it was stopped") from error
        if failed is not None:
            self.finish()
            raise SandboxError(str(failed)[:1000])
        return content

    def _receive(self) -> bytes:
        try:
            return self._link.recv(MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            # The child left before it read our last word. Linux says so first, and once; what the child said is still there.
            return self._link.recv(MAX_MESSAGE_BYTES)

    def grant(self, num_bytes: int) -> Output:
        """Give the child memory for its results."""
        output = self.worker.output(num_bytes)
        try:
            socket.send_fds(self._link, [b"output"], [output.descriptor])
        except OSError as error:
            raise self.ending_error() from error
        return output

    def say(self, word: str) -> None:
        """Tell the child something; one that has ended does not hear it, which its last message explains."""
        with contextlib.suppress(OSError):
            self._link.send(word.encode())

    def ending_error(self) -> SandboxError:
        """Wait for the end of a child that said no more, and say why it ended."""
        reason = self.finish() or "it ended without a result"
        return UnfinishedJobError(reason) if self.was_stopped else SandboxError(reason)

    def finish(self) -> str | None:
        """Wait for the end of the child; returns what killed it, None where nothing did."""
        if not self._is_open:
            return None
        self._is_open = False
        self._link.close()
        try:
            ending = self.worker.ending(self._wall_seconds)
            status = int(ending["status"])
            self.usage = Usage(cpu_seconds=float(ending["cpu_seconds"]), peak_bytes=int(ending["peak_bytes"]))
        except (OSError, ValueError, TypeError, LookupError):
            self.worker.kill()
            self.was_stopped = True
            return "it did not end and was stopped"
        if not os.WIFSIGNALED(status):
            return None
        number = os.WTERMSIG(status)
        if number in {signal.SIGPROF, signal.SIGXCPU}:
            return f"stopped after {self.usage.cpu_seconds:.2g} s of processor time"
        # No fault of a decoder sends this one: a system short of memory does, or a person.
        self.was_stopped = number == signal.SIGKILL
        return f"the decoder crashed ({signal.Signals(number).name})"

    def abandon(self) -> None:
        """Kill the child and, because only its worker knows it, that too."""
        if self._is_open:
            self._is_open = False
            self._link.close()
            self.worker.kill()
