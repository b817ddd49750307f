"""Does the data set depend on who made it, in which order, or on what died on the way?

    python experiments/ingest_ray.py --videos FOLDER --files 40

Ingests the same files several times, each from nothing: with 1, 2 and 4 workers; in shuffled order; in two runs, the second of which is
told everything; killed (SIGKILL) in the middle and started again; on Ray embedded in the process; and on a Ray cluster of two local
nodes, a process of which is killed while it works on a file, and with --kill-node then a whole node. Compares the hashes. Needs the
extras curate and ray; JSON on stdout, exit status 1 if a hash differs or nothing could be killed.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from worldline.data.ingest import ingest
from worldline.data.sources import SourceItem

SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm"}
_PATIENCE = {
    "health_check_initial_delay_ms": "60000",
    "health_check_period_ms": "30000",
    "health_check_timeout_ms": "60000",
    "health_check_failure_threshold": "10",
    "agent_register_timeout_ms": "1800000",
    "worker_register_timeout_seconds": "1800",
    "raylet_start_wait_time_s": "1800",
    "gcs_server_request_timeout_seconds": "300",
}


def items_of(paths: Sequence[Path]) -> Iterator[SourceItem]:
    for path in paths:
        yield SourceItem(key=hashlib.sha256(path.read_bytes()).hexdigest(), name=path.name, source=path.stem, path=path)


def run(paths: Sequence[Path], out: Path, *, num_workers: int | None = 1, ray_address: str | None = None) -> str:
    return str(ingest(items_of(paths), out, num_workers=num_workers, ray_address=ray_address).figures["hash"])


def true_hash(out: Path) -> str:
    """Of every byte under the data sets, independent of what ingest says."""
    root = (out / "datasets").resolve()
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(path.relative_to(root).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def num_done(out: Path) -> int:
    return len(list((out / "work" / "results").glob("*/*/*/passage.json")))


def interrupted(videos: Path, num_files: int, out: Path) -> str:
    """A process that is killed when some results are there, and then another that goes on."""
    command = [sys.executable, __file__, "--videos", str(videos), "--files", str(num_files), "--only", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and num_done(out) < num_files // 3:
        time.sleep(0.05)
    was_killed = process.poll() is None
    if was_killed:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    print(f"killed: {was_killed}, {num_done(out)} results kept", file=sys.stderr)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def on_two_nodes(paths: Sequence[Path], out: Path, *, kill_node: bool) -> tuple[str, dict[str, int]]:
    """Two Ray nodes; a process that works on a file dies once there is a result, a node after half of the results."""
    import ray  # noqa: PLC0415 - optional, slow
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    memory = {"object_store_memory": 100 * 1024**2}
    # Ray Data keeps a core's worth of resources back: on a node of one core that is left alone it would wait for ever.
    head = {"num_cpus": 2, "include_dashboard": False, **memory, **_agent_ports()}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    doomed = cluster.add_node(num_cpus=2, **memory, **_agent_ports())
    ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
    killed = {"workers": 0, "nodes": 0}

    def kill() -> None:
        while num_done(out) < 1:
            time.sleep(0.05)
        while not killed["workers"] and num_done(out) < len(paths):
            found = subprocess.run(["pgrep", "-f", "ray::(Map|_Process)"], stdout=subprocess.PIPE, text=True, check=False).stdout.split()
            for number in [int(number) for number in found if _is_below(int(number), os.getpid())][:1]:
                os.kill(number, signal.SIGKILL)
                killed["workers"] += 1
            time.sleep(0.05)
        print(f"killed a process when {num_done(out)} of {len(paths)} results were there", file=sys.stderr)
        while kill_node and num_done(out) < len(paths) // 2:
            time.sleep(0.05)
        if kill_node:
            cluster.remove_node(doomed, allow_graceful=False)
            killed["nodes"] += 1

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        digest = run(paths, out, num_workers=None, ray_address=cluster.address)
        killer.join(timeout=10)
    finally:
        ray.shutdown()
        cluster.shutdown()
    return digest, killed


def _agent_ports() -> dict[str, int]:
    """Ports for the agents of a node. Where they may choose, the node waits 15 s for their choice and then dies."""
    names = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: taken.getsockname()[1] for name, taken in zip(names, sockets, strict=True)}


def _is_below(number: int, ancestor: int) -> bool:
    """Whether a process was started by `ancestor` or by one that it started, so that nobody else's is killed."""
    while number > 1:
        if number == ancestor:
            return True
        try:
            number = int(Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False


def main() -> None:
    # Ray's workers are modest by default, and on a busy machine never get their turn.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Nor is a node dead because it is slow to answer on a machine that has other things to do.
    for name, value in _PATIENCE.items():
        os.environ.setdefault(f"RAY_{name}", value)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray-only", action="store_true", help="compare Ray with one worker, and leave the rest out")
    parser.add_argument("--kill-node", action="store_true", help="besides the process, kill one of the two nodes")
    parser.add_argument("--skip-embedded", action="store_true", help="leave Ray embedded in the process out")
    parser.add_argument("--only", type=Path, help="ingest once into this folder and print the hash")
    arguments = parser.parse_args()
    paths = sorted(path.absolute() for path in arguments.videos.rglob("*") if path.suffix in SUFFIXES)[: arguments.files]
    if arguments.only is not None:
        print(run(paths, arguments.only))
        return
    shuffled = random.Random(arguments.seed).sample(paths, len(paths))
    hashes: dict[str, str] = {}
    seconds: dict[str, float] = {}
    checks: dict[str, str] = {}
    killed: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:

        def note(name: str, start: float, digest: str) -> None:
            hashes[name], seconds[name] = digest, round(time.perf_counter() - start, 1)
            checks[name] = true_hash(Path(scratch) / name)
            print(f"{name}: {digest[:16]} in {seconds[name]} s", file=sys.stderr)

        for name, order, workers in (("one", paths, 1), ("two", paths, 2), ("four", paths, 4), ("shuffled", shuffled, 2)):
            if not arguments.ray_only or name == "one":
                note(name, time.perf_counter(), run(order, Path(scratch) / name, num_workers=workers))
        if not arguments.ray_only:
            start = time.perf_counter()
            run(shuffled[: len(paths) // 2], Path(scratch) / "in_two_runs")
            note("in_two_runs", start, run(paths, Path(scratch) / "in_two_runs"))
            note("killed", time.perf_counter(), interrupted(arguments.videos, arguments.files, Path(scratch) / "killed"))
        if not arguments.skip_embedded:
            note("ray_embedded", time.perf_counter(), run(paths, Path(scratch) / "ray_embedded", num_workers=1, ray_address="local"))
        start = time.perf_counter()
        digest, killed = on_two_nodes(paths, Path(scratch) / "ray_two_nodes", kill_node=arguments.kill_node)
        note("ray_two_nodes", start, digest)
        shutil.rmtree(scratch, ignore_errors=True)
    same = len(set(hashes.values())) == 1 and len(set(checks.values())) == 1
    print(json.dumps({"files": len(paths), "same": same, "hashes": hashes, "seconds": seconds, "killed": killed}, indent=1))
    sys.exit(0 if same and killed["workers"] else 1)


if __name__ == "__main__":
    main()
