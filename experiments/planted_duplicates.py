"""Are copies of clips found, and nothing else?

    python experiments/planted_duplicates.py --videos FOLDER [FOLDER ...] --clips 2000 --pairs 200

Cuts the videos into clips of two seconds, copies some of them (each encoded again at a lower quality, and besides: nothing more, resized,
cropped by 5 %, brighter or darker by 10 %, or all of it), and looks for duplicates among all, as ingest does. Without --videos the clips
are drawn: textures in motion. Files of equal bytes are used once. A fixed camera's film holds the same picture many times: of the
stretches of one file in which nothing moves (a motion score below 0.02) and whose mean pictures differ by less than 6 levels of 255 in
every one of 16 x 16 places, only the first is used; this is checked on larger pictures and without the code that is tested, and how many
were left out is printed. Beyond that every pair that was not planted is an error, also where a set holds one film as two files; how much
the changes from each frame to the next correlate, at 30 frames a second, is printed of each, and tells a copy from another take.

Prints recall, for each kind of copy too, and precision; JSON on stdout. --sheet writes all unplanted pairs, frame by frame, for a look.
"""

import argparse
import hashlib
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from worldline.data import read_video, resize_frames, to_float, write_video
from worldline.data.curate.config import CurateConfig
from worldline.data.curate.duplicates import DuplicateConfig, find_duplicates
from worldline.data.curate.fingerprint import NUM_PICTURES, SIDE
from worldline.data.curate.passage import curate_video
from worldline.data.curate.record import ClipRecord
from worldline.data.media import VideoError

SECONDS = 2.0
RATE_HZ = 30.0  # of the copies, and of what is compared here
STILL = 0.02  # widths per second
SAME_PICTURE_LEVELS = 6.0
KINDS = ("encoded", "resized", "cropped", "brighter", "darker", "all")
CONFIG = CurateConfig(max_seconds=SECONDS, min_seconds=SECONDS / 2, shots="none")
SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm"}


@dataclass(frozen=True, slots=True)
class Original:
    path: Path
    record: ClipRecord


def draw_video(path: Path, seed: int) -> None:
    """Ten seconds of a smooth texture with blobs that wander over it."""
    generator = torch.Generator().manual_seed(seed)
    ground = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 8, generator=generator), (120, 160), mode="bicubic").clamp(0, 1)[0]
    rows, columns = torch.meshgrid(torch.arange(120.0), torch.arange(160.0), indexing="ij")
    steps = torch.randn(5, 300, 2, generator=generator).cumsum(1)
    starts, colors = torch.rand(5, 2, generator=generator) * torch.tensor([120.0, 160.0]), torch.rand(5, 3, generator=generator)
    frames = ground.expand(300, 3, 120, 160).clone()
    for start, walk, color in zip(starts, steps, colors, strict=True):
        for moment in range(300):
            row, column = (start + 1.5 * walk[moment]).tolist()
            blob = torch.exp(-((rows - row % 120) ** 2 + (columns - column % 160) ** 2) / 120)
            frames[moment] = frames[moment] * (1 - blob) + color[:, None, None] * blob
    write_video(path, frames, 30.0)


def frames_of(original: Original, size: int | None = None) -> Tensor:
    """The stretch's frames (T, 3, H, W) in [0, 1], as they are shown at `RATE_HZ`."""
    start, end = original.record.start_seconds, original.record.end_seconds
    clip = read_video(original.path, start_seconds=max(start, 0.0), max_frames=round((end - start) * RATE_HZ), rate_hz=RATE_HZ, size=size)
    return to_float(clip.frames)


def without_repetitions(clips: list[Original]) -> list[Original]:
    """The stretches of a file without those in which nothing moves and which show a picture that an earlier one shows."""
    kept, pictures = [], []
    for clip in clips:
        if clip.record.scores["motion"] < STILL:
            picture = 255 * torch.nn.functional.avg_pool2d(frames_of(clip, 64).mean((0, 1))[None], 4)
            if any((picture - other).abs().max() < SAME_PICTURE_LEVELS for other in pictures):
                continue
            pictures.append(picture)
        kept.append(clip)
    return kept


def change_correlation(first: Original, second: Original) -> float:
    """Of the changes from each frame to the next, at full rate; near 1 for a film and its copy."""
    changes = [frames_of(original, 64).mean(1).diff(dim=0).flatten() for original in (first, second)]
    length = min(map(len, changes))
    return float(torch.corrcoef(torch.stack([change[:length] for change in changes]))[0, 1])


def originals_of(paths: list[Path], wanted: int) -> tuple[list[Original], int]:
    """The stretches, and how many of those that were looked at repeat another."""
    found: list[Original] = []
    num_left_out = 0
    for path in paths:
        with path.open("rb") as file:
            try:
                passage = curate_video(file, CONFIG, io.BytesIO())
            except VideoError as error:
                print(error, file=sys.stderr)
                continue
        clips = [Original(path, clip) for clip in passage.clips if clip.verdict == "kept"]
        different = without_repetitions(clips)
        num_left_out += len(clips) - len(different)
        found += different
        if len(found) >= wanted:
            break
    return found[:wanted], num_left_out


def changed(frames: Tensor, kind: str, rng: random.Random) -> Tensor:
    """Frames (T, 3, H, W) in [0, 1] as a copy would have them."""
    height, width = frames.shape[-2:]
    if kind in ("cropped", "all"):
        top, left = round(0.05 * height * rng.random()), round(0.05 * width * rng.random())
        frames = frames[..., top : top + round(0.95 * height), left : left + round(0.95 * width)]
    if kind in ("resized", "all"):
        scale = rng.choice([0.5, 0.75, 1.5])
        frames = resize_frames(frames, (2 * round(height * scale / 2), 2 * round(width * scale / 2)))
    factor = {"brighter": 1.1, "darker": 0.9, "all": rng.choice([0.9, 1.1])}.get(kind, 1.0)
    return (frames * factor).clamp(0, 1)


def copy_of(original: Original, kind: str, rng: random.Random, folder: Path) -> ClipRecord:
    path = folder / "copy.mp4"
    frames = changed(frames_of(original), kind, rng)
    frames = frames[..., : frames.shape[-2] // 2 * 2, : frames.shape[-1] // 2 * 2]
    write_video(path, frames, RATE_HZ, quality=30, keyframe_interval=30)
    with path.open("rb") as file:
        return curate_video(file, CONFIG, io.BytesIO()).clips[0]


def write_sheet(path: Path, clips: list[np.ndarray]) -> None:
    """A row for each clip's pictures (N, S, S); a white line below every second one."""
    rows = [np.hstack([np.kron(picture, np.ones((3, 3), np.uint8)) for picture in pictures]) for pictures in clips]
    for number in range(1, len(rows), 2):
        rows[number][-3:] = 255
    cv2.imwrite(str(path), np.vstack(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="*", default=[])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="where to write a picture of all unplanted pairs, such as pairs.png")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = sorted(path for root in arguments.videos for path in root.rglob("*") if path.suffix in SUFFIXES)
        if not paths:
            for number in range(-(-(arguments.clips - arguments.pairs) // 5)):
                draw_video(folder / f"{number:04d}.mp4", number)
            paths = sorted(folder.glob("*.mp4"))
        paths = list({hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths}.values())
        rng.shuffle(paths)
        originals, num_left_out = originals_of(paths, arguments.clips - arguments.pairs)
        chosen = rng.sample(range(len(originals)), arguments.pairs)
        kinds = [KINDS[index % len(KINDS)] for index in range(arguments.pairs)]
        copies = [copy_of(originals[index], kind, rng, folder) for index, kind in zip(chosen, kinds, strict=True)]
        records = [original.record for original in originals] + copies
        hashes = np.stack([np.frombuffer(record.hash, np.uint8) for record in records])
        pictures = np.stack([np.frombuffer(record.pictures, np.uint8).reshape(NUM_PICTURES, SIDE, SIDE) for record in records])
        started = time.process_time()
        found = set(find_duplicates(hashes, pictures, DuplicateConfig()))
        search_seconds = time.process_time() - started
        planted = {(index, len(originals) + number) for number, index in enumerate(chosen)}
        sources = originals + [originals[index] for index in chosen]
        strangers = {pair: round(change_correlation(*(sources[index] for index in pair)), 3) for pair in sorted(found - planted)}
    missed = Counter(kinds[second - len(originals)] for _, second in planted - found)
    names = [original.path.name for original in originals] + [f"copy of {originals[index].path.name}" for index in chosen]
    if arguments.sheet and strangers:
        write_sheet(arguments.sheet, [pictures[index] for pair in strangers for index in pair])
    figures = {
        "clips": len(records),
        "pairs": len(planted),
        "recall": round(len(found & planted) / len(planted), 4),
        "precision": round(len(found & planted) / max(len(found), 1), 4),
        "recall_by_kind": {kind: round(1 - missed[kind] / kinds.count(kind), 4) for kind in sorted(set(kinds))},
        "missed": sorted(names[first] for first, _ in planted - found),
        "errors": len(strangers),
        "unplanted": [
            {
                "clips": [names[first], names[second]],
                "seconds": [round(sources[index].record.start_seconds, 2) for index in (first, second)],
                "change_correlation": correlation,
            }
            for (first, second), correlation in strangers.items()
        ],
        "repeated_stretches_left_out": num_left_out,
        "search_cpu_seconds": round(search_seconds, 2),
        "seed": arguments.seed,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
