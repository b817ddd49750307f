"""What ingest costs beyond what it cannot do without: decode, resize, encode.

    python experiments/ingest_speed.py FOLDER [FOLDER ...] --workers 2

Measured in one run over the same files: first decode + resize + encode alone, in as many plain processes, without a sandbox, without
looking at anything, each file once; then `worldline ingest` from nothing to data set and report. Both at one size, rate, quality and
group length, and with the same code for these three steps. Prints both times, wall and processor, and their ratio; JSON on stdout.
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
from worldline.data.media import DECODE_ERRORS, DecodeLimits, VideoError, open_video, resample, timed_frames

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, help="about so many files, evenly chosen; all if not given")
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    config = CurateConfig(size=(arguments.size, arguments.size))
    paths = sorted(path for folder in arguments.folders for path in folder.rglob("*") if path.suffix in SUFFIXES)
    paths = list({hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths}.values())  # ingest sees equal bytes once, too
    paths = paths[:: max(1, len(paths) // arguments.limit)] if arguments.limit else paths
    os.environ["OMP_NUM_THREADS"] = "1"
    cpu, wall = processor_seconds(), time.perf_counter()
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("fork")) as pool:
        num_frames = sum(pool.map(transcode, paths, [config] * len(paths)))
    alone = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": processor_seconds() - cpu}
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", "import sys; from worldline.cli import main; sys.exit(main())", "ingest"]
        (Path(scratch) / "files.txt").write_text("".join(f"{path.absolute()}\n" for path in paths), encoding="utf-8")
        command += [f"{scratch}/files.txt", "--out", f"{scratch}/out", "--size", str(arguments.size), "--json"]
        cpu, wall = processor_seconds(), time.perf_counter()
        done = subprocess.run([*command, "--workers", str(arguments.workers)], check=True, stdout=subprocess.PIPE)
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
