"""How exactly does the parser of PhyWorld's protocol see: velocity errors on true frames, by how they were filmed and how they are taken.

    python experiments/phyworld_floor.py data/zoo/balls/train --episodes 60
    python experiments/phyworld_floor.py data/zoo/balls/train --episodes 60 --film 64 128

With --film the episodes are filmed again, lossless, which needs Box2D.

Prints the mean length of the velocity error in m/s, by kind of motion, frames per second and frames of a velocity.
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from worldline.data import read_lerobot, to_float
from worldline.envs.record import replay
from worldline.envs.zoo import start_domain
from worldline.eval.balls import calibrate, color_shares, find_discs, touches_border, velocities
from worldline.eval.suites.phyworld import NUM_BALLS, palette_of
from worldline.interfaces import Clip

FIRST_FRAME, MOST_FRAMES = 2, 30


def errors(clips: list[Clip], motion: str, skip: int, span: int) -> Tensor:
    """(N,): mean error of each episode in which a ball is wholly in view for long enough."""
    clips = [clip for clip in clips if clip.facts["attribute.motion"] == motion]
    frames = torch.stack([to_float(clip.frames[::skip])[FIRST_FRAME : FIRST_FRAME + MOST_FRAMES] for clip in clips])
    states = torch.stack([clip.states[::skip][FIRST_FRAME : FIRST_FRAME + MOST_FRAMES] for clip in clips if clip.states is not None])
    shares = color_shares(frames, torch.stack([palette_of(clip.facts, motion) for clip in clips]))
    rate = clips[0].rate_hz / skip
    sums, weights = torch.zeros(len(clips)), torch.zeros(len(clips))
    for ball in range(NUM_BALLS[motion]):
        place = states[..., 5 * ball : 5 * ball + 2]
        share = shares[:, :, ball]
        found = find_discs(share, share[:, 0].sum((-2, -1)))
        usable = ~touches_border(share) & found.isfinite().all(-1)
        slope, offset = calibrate(found.masked_fill(~usable.unsqueeze(-1), torch.nan), place).T
        valid = usable.unfold(1, span, 1).all(-1).float()
        off = (velocities(found * slope + offset, rate, span) - velocities(place, rate, span)).norm(dim=-1)
        sums += (off * valid).sum(1).float()
        weights += valid.sum(1)
    return (sums / weights)[weights > 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--film", type=int, nargs="*", default=())
    arguments = parser.parse_args()
    filmed = list(islice(read_lerobot(arguments.data), arguments.episodes))
    sets = {f"as filmed, {filmed[0].frames.shape[-1]} px": filmed}
    if arguments.film:
        simulator = start_domain("balls")
        for size in arguments.film:
            bare = [replace(clip, frames=clip.frames.new_zeros(len(clip), 3, size, size)) for clip in filmed]
            sets[f"lossless, {size} px"] = [replay(simulator, clip) for clip in bare]
    for name, clips in sets.items():
        for skip, span in ((2, 3), (1, 8), (2, 8), (2, 12), (2, 16)):
            row = {motion: errors(clips, motion, skip, span) for motion in NUM_BALLS}
            shown = ", ".join(f"{motion} {float(values.mean()):.4f} ({len(values)})" for motion, values in row.items() if len(values))
            print(f"{name}, {clips[0].rate_hz / skip:g} Hz, {span} frames: {shown}", flush=True)


if __name__ == "__main__":
    main()
