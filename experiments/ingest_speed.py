"""What ingest costs beyond what it cannot do without: decode, resize, encode.

    python experiments/ingest_speed.py FOLDER [FOLDER ...] --workers 2

    python experiments/ingest_speed.py FOLDER [FOLDER ...] --limit 150 --in-turns     # on a machine that has other work

Measured in one run over the same files: first decode + resize + encode alone, in as many plain processes, without a sandbox, without
looking at anything, each file once; then `worldline ingest` from nothing to data set and report. Both at one size, rate, quality and
group length, and with the same code for these three steps. Prints both times, wall and processor, and their ratio; JSON on stdout.

Processor time grows, too, when others use the caches, and other work comes and goes. With --in-turns each file is done both ways, one
right after the other, with one process each; what ingest does once (starting, finding files, publishing, the report) is measured
afterwards, as an ingest that finds all passes made, and added. Then only processor times are given.
"""

import argparse
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from av.video.reformatter import Interpolation, VideoReformatter

from worldline.data.curate.config import CurateConfig
from worldline.data.image_writer import COLORS, ImageWriter
from worldline.data.ingest.execute import execute_one
from worldline.data.ingest.work import WorkFolder
from worldline.data.media import DECODE_ERRORS, DecodeLimits, VideoError, open_video, resample, timed_frames
from worldline.data.sandbox import Sandbox
from worldline.data.sources import SourceItem

SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm"}


def transcode(path: Path, config: CurateConfig) -> int:
    """Decode, resize, encode one file, and nothing else; returns the frames that were encoded."""
    height, width = config.size
    resize, output, writer, num_frames = VideoReformatter(), io.BytesIO(), None, 0
    try:
        with path.open("rb", buffering=0) as file, open_video(file, DecodeLimits()) as (container, stream):
            period = 1 / float(stream.average_rate or 25)
            for _, _, frame, copies in resample(timed_frames(container, stream, 0.0, period, DecodeLimits()), config.rate_hz, 0.0, period):
                image = resize.reformat(
                    frame, width=width, height=height, format="yuv420p", interpolation=Interpolation.AREA, threads=1, **COLORS
                )
                if writer is None:
                    writer = ImageWriter(output, rate_hz=config.rate_hz, quality=config.quality, keyframe_interval=config.keyframe_interval)
                for _ in range(copies):
                    writer.write(image)
                    num_frames += 1
    except (VideoError, *DECODE_ERRORS) as error:
        print(path, error, file=sys.stderr)
    if writer is not None:
        writer.close()
    return num_frames


def processor_seconds() -> float:
    """Of this process and all that have ended below it."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def ingest_command(paths: list[Path], scratch: Path, size: int, workers: int) -> list[str]:
    (scratch / "files.txt").write_text("".join(f"{path.absolute()}\n" for path in paths), encoding="utf-8")
    command = [sys.executable, "-c", "import sys; from worldline.cli import main; sys.exit(main())", "ingest", f"{scratch}/files.txt"]
    return [*command, "--out", f"{scratch}/out", "--size", str(size), "--json", "--workers", str(workers)]


def in_turns(paths: list[Path], config: CurateConfig) -> dict[str, object]:
    """Each file both ways, in alternating order; then all that ingest does besides the passes."""
    cpu = {"alone": 0.0, "driving": 0.0}
    with tempfile.TemporaryDirectory() as scratch:
        work = WorkFolder(Path(scratch) / "out" / "work", config.key)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        transcode(paths[0], config)  # Not counted: sets up libraries, as the sandbox does for its own process.
        with Sandbox() as sandbox:
            for number, path in enumerate(paths):
                item = SourceItem(key=hashlib.sha256(path.read_bytes()).hexdigest(), name=path.name, source=path.stem, path=path.absolute())
                for kind in ("alone", "driving") if number % 2 else ("driving", "alone"):
                    began = time.process_time()
                    if kind == "alone":
                        transcode(path, config)
                    else:
                        execute_one(item, work, config, sandbox)
                    cpu[kind] += time.process_time() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu["sandboxed"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        done = subprocess.run(ingest_command(paths, Path(scratch), config.size[0], 1), check=True, stdout=subprocess.PIPE)
        last = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu["once"] = last.ru_utime + last.ru_stime - after.ru_utime - after.ru_stime
        figures = json.loads(done.stdout)
    assert figures["num_new"] == 0, "the passes that were made are not those that ingest wants"
    passes = cpu["driving"] + cpu["sandboxed"]
    return {
        "files": len(paths),
        "cpu_seconds": {name: round(value, 2) for name, value in cpu.items()},
        "ratio_cpu_passes": round(passes / cpu["alone"], 3),
        "ratio_cpu": round((passes + cpu["once"]) / cpu["alone"], 3),
        "figures": figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, help="about so many files, evenly chosen; all if not given")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--in-turns", action="store_true", help="each file both ways, one right after the other; processor time alone")
    arguments = parser.parse_args()
    config = CurateConfig(size=(arguments.size, arguments.size))
    paths = sorted(path for folder in arguments.folders for path in folder.rglob("*") if path.suffix in SUFFIXES)
    paths = list({hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths}.values())  # ingest sees equal bytes once, too
    paths = paths[:: max(1, len(paths) // arguments.limit)] if arguments.limit else paths
    os.environ["OMP_NUM_THREADS"] = "1"
    if arguments.in_turns:
        print(json.dumps(in_turns(paths, config), indent=1))
        return
    cpu, wall = processor_seconds(), time.perf_counter()
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("fork")) as pool:
        num_frames = sum(pool.map(transcode, paths, [config] * len(paths)))
    alone = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": processor_seconds() - cpu}
    with tempfile.TemporaryDirectory() as scratch:
        command = ingest_command(paths, Path(scratch), arguments.size, arguments.workers)
        cpu, wall = processor_seconds(), time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        whole = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": processor_seconds() - cpu}
    figures = json.loads(done.stdout)
    report = {
        "files": len(paths),
        "frames_encoded_alone": num_frames,
        "alone": {name: round(value, 2) for name, value in alone.items()},
        "ingest": {name: round(value, 2) for name, value in whole.items()},
        "ratio_wall": round(whole["wall_seconds"] / alone["wall_seconds"], 3),
        "ratio_cpu": round(whole["cpu_seconds"] / alone["cpu_seconds"], 3),
        "workers": arguments.workers,
        "figures": figures,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
