"""Are cuts found where they are?

    python experiments/planted_cuts.py --videos FOLDER [FOLDER ...] --clips 100

Takes stretches of one to four seconds from different videos, joins them into films of ten, encoded as they might be found, and looks for
cuts in them as ingest does. A cut counts as found within two frames. Stretches in which a detector run on the untouched video already
finds a cut are not used, because they would be right answers that nobody planted. Prints F1, precision and recall; JSON on stdout.
"""

import argparse
import io
import json
import random
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from worldline.data import read_video, resize_frames, to_float, write_video
from worldline.data.curate.config import CurateConfig, ShotDetector
from worldline.data.curate.passage import curate_video
from worldline.data.media import VideoError

RATE_HZ = 25.0
SIZE = (180, 320)
CLIPS_PER_FILM = 10
TOLERANCE = 2
SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm"}


def cuts_in(frames: Tensor, detector: ShotDetector, folder: Path, quality: int) -> list[int]:
    """The frames that begin a shot, as ingest finds them in a film of these frames (T, 3, H, W) in [0, 1]."""
    path = folder / "film.mp4"
    write_video(path, frames, RATE_HZ, quality=quality, keyframe_interval=50)
    config = CurateConfig(rate_hz=RATE_HZ, shots=detector, max_seconds=600.0)
    with path.open("rb") as file:
        clips = curate_video(file, config, io.BytesIO()).clips
    return [clip.frame_indices[0] for clip in clips[1:]]


def stretches(paths: list[Path], wanted: int, detector: ShotDetector, folder: Path, rng: random.Random) -> list[Tensor]:
    found: list[Tensor] = []
    for path in paths:
        num_frames = rng.randint(round(RATE_HZ), round(4 * RATE_HZ))
        try:
            clip = read_video(path, rate_hz=RATE_HZ, max_frames=num_frames, size=SIZE)
        except VideoError:
            continue
        if len(clip) < num_frames:
            continue
        frames = resize_frames(to_float(clip.frames), SIZE)
        if not cuts_in(frames, detector, folder, 18):
            found.append(clip.frames)
        if len(found) == wanted:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="+", required=True)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--detector", choices=("adaptive", "content", "transnet"), default="adaptive")
    parser.add_argument("--quality", type=int, default=23)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    # As many of each folder as of the others, so that one large set of one kind of scene is not the whole test.
    by_root = [sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES) for root in arguments.videos]
    for paths in by_root:
        rng.shuffle(paths)
    paths = [paths[index] for index in range(max(map(len, by_root))) for paths in by_root if index < len(paths)]
    found = planted = right = num_frames = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clips = stretches(paths, arguments.clips, arguments.detector, folder, rng)
        rng.shuffle(clips)
        for start in range(0, len(clips), CLIPS_PER_FILM):
            film = clips[start : start + CLIPS_PER_FILM]
            truth = torch.tensor([len(clip) for clip in film]).cumsum(0).tolist()
            frames = to_float(torch.cat(film))
            answer = cuts_in(frames, arguments.detector, folder, arguments.quality)
            right += sum(any(abs(cut - there) <= TOLERANCE for there in answer) for cut in truth[:-1])
            planted, found, num_frames = planted + len(truth) - 1, found + len(answer), num_frames + len(frames)
    precision, recall = right / max(found, 1), right / max(planted, 1)
    figures = {
        "clips": len(clips),
        "frames": num_frames,
        "cuts": planted,
        "found": found,
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(2 * precision * recall / max(precision + recall, 1e-9), 4),
        "tolerance_frames": TOLERANCE,
        "detector": arguments.detector,
        "seed": arguments.seed,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
