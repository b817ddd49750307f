"""`worldline doctor`: see `cli.arguments.Doctor`.

May import: everything. Refuses to know: how to mend what it finds; each finding says what a person can do.
"""

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch

import worldline
from worldline.cli.arguments import Doctor
from worldline.cli.report import Report
from worldline.data import read_video, write_video
from worldline.eval.bench import matrix_peak
from worldline.scale import bfloat16_instructions

_OLDEST_PYTHON = (3, 11)
_NEEDED = ("torch", "av", "numpy", "safetensors", "huggingface-hub", "tyro", "gymnasium", "pyarrow", "rich")
_EXTRAS = {"gym_pusht": ("pusht", "the Push-T simulator: demo, plan, train --recipe push"), "tensorboard": ("logs", "TensorBoard logs")}
_LITTLE_MEMORY_BYTES = 4e9
_LITTLE_DISK_BYTES = 5e9
_MARKS = {"ok": "ok     ", "note": "note   ", "broken": "BROKEN "}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the doctor: `ok`; `note`, worth knowing; or `broken`, something needed does not work."""

    name: str
    verdict: Literal["ok", "note", "broken"]
    detail: str


def run(arguments: Doctor) -> Report:
    """Look at everything; one broken check does not stop the others."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _software,
        _extras,
        _processor,
        _memory,
        lambda: _folder(arguments.folder),
        _video,
        _speed,
        _worlds,
    )
    findings = [finding for check in checks for finding in _examined(check)]
    broken = [finding.name for finding in findings if finding.verdict == "broken"]
    width = max(len(finding.name) for finding in findings)
    lines = [f"{_MARKS[finding.verdict]}{finding.name.ljust(width)}  {finding.detail}" for finding in findings]
    lines.append(f"\nBroken: {', '.join(broken)}." if broken else "\nEverything that is needed works.")
    figures = {"healthy": not broken, "findings": [asdict(finding) for finding in findings]}
    return Report(figures=figures, text="\n".join(lines), exit_status=1 if broken else 0)


def _examined(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:  # a doctor reports whatever goes wrong
        name = getattr(check, "__name__", "check").strip("_<>")
        return [Finding(name=name, verdict="broken", detail=f"{type(error).__name__}: {error}")]


def _software() -> Iterator[Finding]:
    new_enough = sys.version_info >= _OLDEST_PYTHON
    advice = "" if new_enough else "; 3.11 or newer is needed"
    yield Finding(name="python", verdict="ok" if new_enough else "broken", detail=platform.python_version() + advice)
    for package in _NEEDED:
        try:
            yield Finding(name=package, verdict="ok", detail=version(package))
        except PackageNotFoundError:
            yield Finding(name=package, verdict="broken", detail=f'not installed: pip install "{package}"')


def _extras() -> Iterator[Finding]:
    for module, (extra, use) in _EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            yield Finding(name=extra, verdict="ok", detail=use)
        else:
            yield Finding(name=extra, verdict="note", detail=f'missing: {use}; pip install "worldline[{extra}]"')


def _processor() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        name="processor", verdict="ok", detail=f"{platform.machine()}, {usable} cores, {torch.get_num_threads()} threads used by torch"
    )
    capability = torch.backends.cpu.get_cpu_capability()
    bf16 = bfloat16_instructions()
    slow = "" if bf16 else "; none for bfloat16, so training computes in float32 and takes longer"
    yield Finding(name="instructions", verdict="note" if slow else "ok", detail=f"{capability} {' '.join(bf16)}".strip() + slow)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding(name="cuda", verdict="ok", detail=", ".join(names))
    else:
        yield Finding(name="cuda", verdict="note", detail="none; everything runs on the processor, large worlds slowly")


def _memory() -> Iterator[Finding]:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        yield Finding(name="memory", verdict="note", detail="unknown on this system; 4 GB are needed")
        return
    num_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")  # a container may have less than its machine
    text = limit.read_text(encoding="utf-8").strip() if limit.is_file() else "max"
    num_bytes = min(num_bytes, int(text)) if text.isdigit() else num_bytes
    little = num_bytes < _LITTLE_MEMORY_BYTES
    detail = f"{num_bytes / 1e9:.1f} GB" + ("; the demo needs 4, so close other programs" if little else "")
    yield Finding(name="memory", verdict="note" if little else "ok", detail=detail)


def _folder(folder: Path) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".worldline-doctor-"):
            pass
    except OSError as error:
        yield Finding(
            name="folder", verdict="broken", detail=f"{folder.absolute()} cannot be written ({error.strerror}); choose another one"
        )
        return
    free = shutil.disk_usage(folder).free
    little = free < _LITTLE_DISK_BYTES
    detail = f"{folder.absolute()} can be written, {free / 1e9:.1f} GB free" + ("; data and checkpoints want 5" if little else "")
    yield Finding(name="folder", verdict="note" if little else "ok", detail=detail)


def _video() -> Iterator[Finding]:
    """Write three frames as H.264 and read them again."""
    frames = torch.linspace(0.2, 0.8, 3)[:, None, None, None].expand(3, 3, 32, 32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        write_video(path, frames, rate_hz=10)
        num_read = len(read_video(path))
    works = num_read == len(frames)
    detail = (
        "H.264 is written and read"
        if works
        else f"{len(frames)} frames written, {num_read} read; reinstall: pip install --force-reinstall av"
    )
    yield Finding(name="video", verdict="ok" if works else "broken", detail=detail)


def _speed() -> Iterator[Finding]:
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        peak = matrix_peak(dtype, sizes=(384,), repetitions=5)
        yield Finding(name=name, verdict="ok", detail=f"{peak / 1e9:.0f} GFLOP/s in matrix products")


def _worlds() -> Iterator[Finding]:
    folder = Path(worldline.__file__).parent / "worlds"
    names = sorted(path.parent.name for path in folder.glob("*/config.json"))
    yield Finding(name="worlds", verdict="ok" if names else "note", detail=", ".join(names) or "none comes with this package; train one")
