"""Measures every installed domain and prints the table of docs/simulators.md: frames per second of processor time, one core.

    OMP_NUM_THREADS=1 LP_NUM_THREADS=0 python experiments/simulator_table.py [DOMAIN ...]

An episode counts whole: reset, policy, physics, events, pictures of one size.
"""

import sys
import time

import torch

from worldline.envs.record import record
from worldline.envs.simulator import Simulator
from worldline.envs.zoo import DOMAINS, start_domain

NUM_FRAMES = 64


def frames_per_second(simulator: Simulator, size: int, *, num_episodes: int = 1) -> float:
    record(simulator, seed=0, num_frames=4, sizes=(size,))  # the first picture builds what draws the others
    started = time.process_time()
    for seed in range(num_episodes):
        record(simulator, seed=seed, num_frames=NUM_FRAMES, sizes=(size,))
    return num_episodes * NUM_FRAMES / (time.process_time() - started)


def row(name: str) -> str:
    simulator = start_domain(name)
    spec = simulator.action_spec
    speeds = " / ".join(f"{frames_per_second(simulator, size):.0f}" for size in (64, 128))
    cells = (
        name,
        DOMAINS[name].extra,
        str(spec.dim) if spec else "none",
        ", ".join(simulator.policy_names),
        ", ".join(simulator.event_names),
        ", ".join(attribute.name for attribute in simulator.attributes),
        f"{simulator.rate_hz:g}",
        speeds,
    )
    simulator.close()
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| domain | extra | actions | policies | events | attributes | Hz | fps at 64 / 128 px |\n" + "|---" * 8 + "|", flush=True)
    for domain in sys.argv[1:] or DOMAINS:
        try:
            print(row(domain), flush=True)
        except ImportError as error:
            print(f"{domain}: {error}", file=sys.stderr)
