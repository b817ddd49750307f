"""Do malformed videos and hostile archives stay without effect?

    python experiments/hostile_media.py > hostile.json

Makes small videos of ten formats and damages each in fifty ways; makes bombs, playlists, pipes and links; makes sixty archives that
lie, lead astray or explode; all from nothing, in a temporary folder. Reads everything as an ingest does, in a process of its own with
good files in between, and prints as JSON what it cost and what came through. Exits with 1 where a bar is missed: no hang, no crash of
the reading process, nothing opened or written outside, no connection made, at most 1 GiB and 10 s of processor time for each, good
files byte-identical.
"""

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hostile_archives import DAMAGED, write_archives
from hostile_videos import FORMATS, encode, write_mutations, write_special

from worldline.data.media import VideoError
from worldline.data.sandbox import Sandbox
from worldline.data.sandbox_process import Usage
from worldline.data.sources import SourceItem, iterate_sources
from worldline.data.sources.folder import FolderReader

MAX_CPU_SECONDS = 10.0
MAX_BYTES = 1024**3
GOOD_EVERY = 10


def read(sandbox: Sandbox, video: Path | bytes) -> tuple[str, int]:
    """Decode a file as an ingest would: a hash of its frames, and how many there are."""
    digest = hashlib.sha256()
    with sandbox.read_video(video, size=64) as frames:
        for chunk in frames:
            digest.update(chunk.frames.contiguous().numpy().data)
        return digest.hexdigest(), frames.num_frames


def peak_mebibytes() -> int:
    """The largest resident memory of this process; `getrusage` would include the one that it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


class Tally:
    """What the files of one kind did."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.cpu_seconds: list[float] = []
        self.wall_seconds: list[float] = []
        self.peak_bytes = 0
        self.slowest: tuple[float, str] = (0.0, "")

    @contextmanager
    def measure(self, name: str, usages: list[Usage]) -> Generator[None]:
        usages.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        # What the reading process itself spends on a file counts as well.
        spent = time.process_time() - cpu + sum(usage.cpu_seconds for usage in usages)
        self.cpu_seconds.append(spent)
        self.wall_seconds.append(time.perf_counter() - wall)
        self.slowest = max(self.slowest, (spent, name))
        self.peak_bytes = max([self.peak_bytes, *(usage.peak_bytes for usage in usages)])

    def note(self, outcome: str, reason: str | None = None) -> None:
        self.outcomes[outcome] += 1
        if reason:
            self.reasons[reason.rpartition(": ")[2][:80]] += 1

    def summary(self) -> dict[str, Any]:
        return {
            "files": len(self.cpu_seconds),
            "outcomes": dict(self.outcomes),
            "largest_cpu_seconds": round(max(self.cpu_seconds), 3),
            "slowest": self.slowest[1],
            "mean_cpu_seconds": round(sum(self.cpu_seconds) / len(self.cpu_seconds), 4),
            "largest_wall_seconds": round(max(self.wall_seconds), 2),
            "largest_child_mebibytes": round(self.peak_bytes / 2**20),
            "reasons": dict(self.reasons.most_common(12)),
        }


def read_everything(folder: Path) -> dict[str, Any]:
    """Read what lies in `folder`, file by file, with a good one in between; what happened."""
    opened: list[str] = []
    usages: list[Usage] = []
    good, tampered, num_good = folder / "good.mp4", 0, 0
    videos, archives = Tally(), Tally()
    secret = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.parent.joinpath("outside").iterdir()}
    leaked = 0
    with Sandbox(on_end=usages.append) as sandbox:
        expected, _ = read(sandbox, good)
        secret_frames = {read(sandbox, path)[0] for path in folder.parent.joinpath("outside").glob("*.mp4")}
        watch_opened(opened, folder)
        for number, path in enumerate(sorted(folder.joinpath("videos").iterdir())):
            if number % GOOD_EVERY == 0:
                num_good += 1
                tampered += read(sandbox, good)[0] != expected
            with videos.measure(path.name, usages):
                for found in FolderReader(folder / "videos", "", sandbox, None).read_video(path):
                    if isinstance(found, SourceItem):
                        leaked += found.key in secret or note_decoded(found, sandbox, videos, secret_frames)
                    else:
                        videos.note("left out", found.reason)
        content = good.read_bytes()
        for path in sorted(folder.joinpath("archives").iterdir()):
            with archives.measure(path.name, usages):
                for found in iterate_sources([path], sandbox=sandbox):
                    if not isinstance(found, SourceItem):
                        archives.note("left out", found.reason)
                    elif "good" in found.name and path.name not in DAMAGED:
                        num_good += 1
                        tampered += found.content != content or read(sandbox, content)[0] != expected
                    else:
                        leaked += found.key in secret or note_decoded(found, sandbox, archives, secret_frames)
    return {
        "videos": videos.summary(),
        "archives": archives.summary(),
        "good_files_read": num_good,
        "good_files_changed": tampered,
        "secrets_leaked": leaked,
        "opened_outside": opened[:10],
        "reader_mebibytes": peak_mebibytes(),
    }


def note_decoded(item: SourceItem, sandbox: Sandbox, tally: Tally, secret_frames: set[str]) -> bool:
    """Decode an item and note what came of it; whether its frames are a secret."""
    try:
        video = item.path or item.content
        assert video is not None
        digest, num_frames = read(sandbox, video)
    except VideoError as error:
        tally.note("stopped" if "stopped" in str(error) else "crashed alone" if "crashed" in str(error) else "refused", str(error))
        return False
    tally.note("frames" if num_frames else "nothing")
    return digest in secret_frames


def watch_opened(opened: list[str], folder: Path) -> None:
    """Note what the reading process opens to write, makes, moves or connects to outside the folder, and secrets that it opens."""
    secrets = str(folder.parent / "outside")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            name, flags = os.fsdecode(arguments[0]), arguments[2] or 0
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and name != os.devnull:
                opened.append(f"to write: {name}")
            if name.startswith(secrets):
                opened.append(f"a secret: {name}")
        elif event in {"os.symlink", "os.link", "os.mkdir", "os.rename", "os.remove", "socket.connect"}:
            opened.append(f"{event}: {arguments}")

    sys.addaudithook(hook)


@contextmanager
def listener() -> Generator[tuple[int, list[str]]]:
    """A server on this machine that hostile files point to; its port, and who came."""
    visitors: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, address = server.accept()
                except TimeoutError:
                    continue
                visitors.append(str(address))
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], visitors
        stop.set()
        thread.join()


def snapshot(folder: Path) -> dict[str, str]:
    """Every file below a folder and its hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "not a file"
        for path in sorted(folder.rglob("*"))
    }


def run(num_mutations: int, wall_seconds: float) -> dict[str, Any]:
    """Make everything, read it in a process of its own, and judge."""
    with tempfile.TemporaryDirectory() as temporary, listener() as (port, visitors):
        root = Path(temporary)
        inside, outside = root / "inside", root / "outside"
        for folder in (inside / "videos", inside / "archives", outside):
            folder.mkdir(parents=True)
        (inside / "good.mp4").write_bytes(encode("mp4_h264", seed=1))
        (outside / "secret.mp4").write_bytes(encode("mp4_h264", seed=2))
        (outside / "secret.txt").write_text("secret")
        num_videos = write_mutations(inside / "videos", num_mutations)
        num_special = write_special(inside / "videos", outside / "secret.mp4", port)
        num_archives = write_archives(inside / "archives", inside / "good.mp4", outside / "secret.mp4", port)
        before = snapshot(outside)
        listed = sorted(path.name for path in root.rglob("*"))
        command = [sys.executable, __file__, "--inside", str(inside)]
        started = time.monotonic()
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=wall_seconds, check=False)
            hung, code, report = False, result.returncode, json.loads(result.stdout) if result.returncode == 0 else {"error": result.stderr}
        except subprocess.TimeoutExpired:
            hung, code, report = True, None, {}
        figures = {
            "formats": len(FORMATS),
            "mutations": num_videos,
            "special_files": num_special,
            "archives_made": num_archives,
            "seconds": round(time.monotonic() - started, 1),
            "hung": hung,
            "reader_exit_code": code,
            "outside_unchanged": snapshot(outside) == before,
            "nothing_new": sorted(path.name for path in root.rglob("*")) == listed,
            "connections": len(visitors),
            **report,
        }
    figures["missed"] = missed(figures)
    return figures


def missed(figures: dict[str, Any]) -> list[str]:
    """The bars that these figures miss."""
    if figures["hung"] or figures["reader_exit_code"] != 0:
        return ["the reading process hung or crashed"]
    checks = {
        "something outside changed": not (figures["outside_unchanged"] and figures["nothing_new"]) or figures["opened_outside"],
        "a connection was made": figures["connections"],
        "a secret came through": figures["secrets_leaked"],
        "a good file changed": figures["good_files_changed"],
        "too much memory in the reading process": figures["reader_mebibytes"] * 2**20 > MAX_BYTES,
    }
    for kind in ("videos", "archives"):
        checks[f"{kind}: too much processor time"] = figures[kind]["largest_cpu_seconds"] > MAX_CPU_SECONDS
        checks[f"{kind}: too much memory"] = figures[kind]["largest_child_mebibytes"] * 2**20 > MAX_BYTES
    return [name for name, is_missed in checks.items() if is_missed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=50, help="per format")
    parser.add_argument("--wall-seconds", type=float, default=3600.0, help="until the reading process counts as hung")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        json.dump(read_everything(arguments.inside), sys.stdout)
        return
    figures = run(arguments.mutations, arguments.wall_seconds)
    json.dump(figures, sys.stdout, indent=2)
    print()
    sys.exit(bool(figures["missed"]))


if __name__ == "__main__":
    main()
