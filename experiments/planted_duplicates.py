"""Are copies of clips found, and nothing else?

    python experiments/planted_duplicates.py --videos FOLDER [FOLDER ...] --clips 2000 --pairs 200

Cuts the videos into clips of two seconds, copies some of them (each encoded again at a lower quality, and besides: nothing more, resized,
cropped by 5 %, brighter or darker by 10 %, or all of it), and looks for duplicates among all, as ingest does. Without --videos the clips
are drawn: textures in motion. Files of equal bytes are used once. Real video repeats itself: two stretches of one fixed camera's film in
which nothing moves are the same picture twice, and count neither as right nor as wrong (`still_pairs_of_one_file`); every other pair that
was not planted is an error, and the first of them are listed for a look. Prints recall and precision; JSON on stdout.
"""

import argparse
import hashlib
import io
import json
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

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
STILL = 0.02  # widths per second
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
        for time in range(300):
            row, column = (start + 1.5 * walk[time]).tolist()
            blob = torch.exp(-((rows - row % 120) ** 2 + (columns - column % 160) ** 2) / 120)
            frames[time] = frames[time] * (1 - blob) + color[:, None, None] * blob
    write_video(path, frames, 30.0)


def originals_of(paths: list[Path], wanted: int) -> list[Original]:
    found: list[Original] = []
    for path in paths:
        with path.open("rb") as file:
            try:
                passage = curate_video(file, CONFIG, io.BytesIO())
            except VideoError as error:
                print(error, file=sys.stderr)
                continue
        found += [Original(path, clip) for clip in passage.clips if clip.verdict == "kept"]
        if len(found) >= wanted:
            break
    return found[:wanted]


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
    clip = read_video(original.path, start_seconds=max(original.record.start_seconds, 0.0), max_frames=round(SECONDS * 60))
    num_frames = round((original.record.end_seconds - original.record.start_seconds) * clip.rate_hz)
    path = folder / "copy.mp4"
    frames = changed(to_float(clip.frames[:num_frames]), kind, rng)
    frames = frames[..., : frames.shape[-2] // 2 * 2, : frames.shape[-1] // 2 * 2]
    write_video(path, frames, clip.rate_hz, quality=30, keyframe_interval=30)
    with path.open("rb") as file:
        return curate_video(file, CONFIG, io.BytesIO()).clips[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="*", default=[])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
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
        originals = originals_of(paths, arguments.clips - arguments.pairs)
        chosen = rng.sample(range(len(originals)), arguments.pairs)
        kinds = [KINDS[index % len(KINDS)] for index in range(arguments.pairs)]
        copies = [copy_of(originals[index], kind, rng, folder) for index, kind in zip(chosen, kinds, strict=True)]
    records = [original.record for original in originals] + copies
    hashes = np.stack([np.frombuffer(record.hash, np.uint8) for record in records])
    pictures = np.stack([np.frombuffer(record.pictures, np.uint8).reshape(NUM_PICTURES, SIDE, SIDE) for record in records])
    found = set(find_duplicates(hashes, pictures, DuplicateConfig()))
    planted = {(index, len(originals) + number) for number, index in enumerate(chosen)}
    missed = Counter(kinds[second - len(originals)] for _, second in planted - found)
    strangers = sorted(found - planted)
    files = [original.path for original in originals] + [originals[index].path for index in chosen]
    still = [record.scores["motion"] < STILL for record in records]
    excused = {(first, second) for first, second in strangers if files[first] == files[second] and still[first] and still[second]}
    strangers = [pair for pair in strangers if pair not in excused]
    names = [original.path.name for original in originals] + [f"copy of {originals[index].path.name}" for index in chosen]
    figures = {
        "clips": len(records),
        "pairs": len(planted),
        "recall": round(len(found & planted) / len(planted), 4),
        "precision": round(len(found & planted) / max(len(found) - len(excused), 1), 4),
        "missed_by_kind": dict(missed),
        "unplanted_pairs": len(strangers),
        "still_pairs_of_one_file": len(excused),
        "unplanted": [
            [names[first], round(records[first].start_seconds, 2), names[second], round(records[second].start_seconds, 2)]
            for first, second in strangers[:20]
        ],
        "seed": arguments.seed,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
