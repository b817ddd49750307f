"""Does a training run survive `kill -9` at any moment?

    python experiments/kill_nine.py --kills 50

Trains a small model in a process of its own, kills it at random moments (half of them aimed into a save, the others while it steps or
starts), starts the same command again, and so on. After each death it checks that the newest checkpoint loads and that no more than one
checkpoint interval was lost; at the end, that every tensor of the final checkpoint (weights, average, optimisers, random state) is
equal, to the bit, to that of an unbroken run. Exits with 1 if any of this fails. Figures go to stdout, progress to stderr.

A killed process does not lose what the kernel already holds: loss of power is not tested here.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldline.interfaces import Batch
from worldline.scale import list_checkpoints, load_latest
from worldline.train import TrainConfig, train

INTERVAL = 4
STEPS_PER_KILL = 4 * INTERVAL  # more than a life lasts on average, so that the run outlives its killer


class Stream:
    """Random latents; batch number i depends on i alone."""

    def __init__(self) -> None:
        self.position = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            generator = torch.Generator().manual_seed(self.position)
            self.position += 1
            yield Batch(latents=torch.randn(4, 8, 4, 16, generator=generator))

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


class Denoiser(nn.Module):
    """A residual MLP with dropout and noise, so that every step draws random numbers; its large table makes saves take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20_000, 128)
        self.inner = nn.Linear(16, 128)
        self.blocks = nn.ModuleList(nn.Linear(128, 128) for _ in range(3))
        self.outer = nn.Linear(128, 16)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.latents is not None
        rows = torch.randint(self.table.num_embeddings, batch.latents.shape[:-1])
        hidden = self.inner(batch.latents + torch.randn_like(batch.latents)) + self.table(rows)
        for block in self.blocks:
            hidden = hidden + nn.functional.dropout(torch.relu(block(hidden)), 0.1)
        error = self.outer(hidden) - batch.latents
        return {"square": error.square().mean(), "absolute": error.abs().mean()}


def work(folder: Path, steps: int) -> None:
    """What the process that gets killed does."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = TrainConfig(steps=steps, warmup_steps=4, checkpoint_every_steps=INTERVAL, log_every_steps=1)
    train(Denoiser(), Stream(), config, folder, device="cpu")


def command(folder: Path, steps: int) -> list[str]:
    return [sys.executable, __file__, "--work", str(folder), "--steps", str(steps)]


def leftovers(folder: Path) -> list[str]:
    """Names of half-written or half-dropped checkpoints."""
    return sorted(path.name for path in (folder / "checkpoints").glob("step_*.tmp-*"))


def last_step(folder: Path) -> int:
    """The last step that the log saw; rows reach the kernel one by one, so none is lost with the process."""
    rows = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    return max((json.loads(row)["step"] for row in rows if row.endswith("}")), default=0)


class Killer:
    """Knows how long a start takes, from the life before, and so when to strike."""

    def __init__(self, seed: int) -> None:
        self.luck = random.Random(seed)
        self.start_seconds = 1.0

    def kill(self, process: subprocess.Popen[bytes], folder: Path, moment: str) -> bool:
        """Kill at a random instant of the start, of the steps, or of a save; False if the process ended before."""
        if moment == "start":
            time.sleep(self.luck.uniform(0, self.start_seconds))
        else:
            self._await_steps(process, folder)
            time.sleep(self.luck.uniform(0, 0.03))
        if moment == "save":
            while not leftovers(folder) and process.poll() is None:
                time.sleep(0.0005)
            time.sleep(self.luck.uniform(0, 0.05))
        process.kill()
        return process.wait() == -signal.SIGKILL

    def _await_steps(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Wait until this life has got further than the one before it by a random number of steps."""
        began, before = time.monotonic(), last_step(folder)
        aim = before + self.luck.randint(1, 2 * INTERVAL)
        started = False
        while (step := last_step(folder)) < aim and process.poll() is None:
            if step > before and not started:
                started, self.start_seconds = True, time.monotonic() - began
            time.sleep(0.002)


def inspect(folder: Path, moment: str) -> dict[str, Any]:
    """Load what the death left behind, from a copy of links so that the next life itself has to clean up."""
    reached, cut = last_step(folder), leftovers(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent) as copy:
        if (folder / "checkpoints").exists():
            shutil.copytree(folder / "checkpoints", copy, copy_function=os.link, dirs_exist_ok=True)
        newest = max(list_checkpoints(Path(copy)), default=0)
        try:
            step, _, _ = load_latest(Path(copy)) or (0, None, None)
        except ValueError as error:
            step = f"nothing: {error}"
    whole = step == newest
    return {"moment": moment, "reached": reached, "loaded": step, "lost": reached - newest, "whole": whole, "in_save": bool(cut)}


def fingerprint(folder: Path) -> str:
    """SHA-256 of all tensors of the newest checkpoint."""
    loaded = load_latest(folder / "checkpoints")
    assert loaded is not None
    digest = hashlib.sha256()
    for name, tensor in sorted(loaded[1].items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def run(kills: int, root: Path, seed: int) -> dict[str, Any]:
    killer = Killer(seed)
    steps = kills * STEPS_PER_KILL + INTERVAL
    broken, unbroken = root / "broken", root / "unbroken"
    deaths: list[dict[str, Any]] = []
    for number, moment in zip(range(kills), itertools.cycle(("steps", "save", "start", "save"))):
        life = subprocess.Popen(command(broken, steps), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not killer.kill(life, broken, moment):
            break  # it finished or failed before it could be killed; the figures will say so
        deaths.append(inspect(broken, moment))
        print(f"kill {number + 1:3d}  {deaths[-1]}", file=sys.stderr)
    last = subprocess.run(command(broken, steps), capture_output=True, text=True, check=False)
    if last.returncode:
        raise RuntimeError(f"the last life failed:\n{last.stderr}")
    work(unbroken, steps)
    return {
        "kills": len(deaths),
        "kills_in_save": sum(death["in_save"] for death in deaths),
        "unloadable": sum(not death["whole"] for death in deaths),
        "most_steps_lost": max((death["lost"] for death in deaths), default=0),
        "checkpoint_every_steps": INTERVAL,
        "steps": steps,
        "leftovers": leftovers(broken),
        "equal_to_unbroken": fingerprint(broken) == fingerprint(unbroken),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of death")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.steps)
        return 0
    with tempfile.TemporaryDirectory() as root:
        figures = run(arguments.kills, Path(root), arguments.seed)
    print(json.dumps(figures) if arguments.json else "\n".join(f"{name:>24}  {value}" for name, value in figures.items()))
    good = (
        figures["kills"] == arguments.kills
        and figures["unloadable"] == 0
        and figures["most_steps_lost"] <= INTERVAL
        and figures["equal_to_unbroken"]
        and not figures["leftovers"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
