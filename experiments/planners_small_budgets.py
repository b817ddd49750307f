"""Planners without gradients at small budgets, in the worlds whose optimum is known: geometric mean over starts of cost / optimum.

    python experiments/planners_small_budgets.py [--seeds 8] [--horizon 12] [--budgets 1024 4096 16384]

Settings are those of `control.sizing`, as in the control suite.
"""

import argparse
import math
from dataclasses import replace

import torch

from worldline.control import CEM, ICEM, MPPI, CEMConfig, ICEMConfig, MPPIConfig, SearchConfig, SearchPlanner, SoftTree, SoftTreeConfig
from worldline.control.sizing import sized
from worldline.testing import LinearQuadraticWorld, PointMassWorld

WORLDS = {"linear-quadratic": (LinearQuadraticWorld(), 1.0), "point mass": (PointMassWorld(), 0.3)}
PLANNERS: dict[str, tuple[type[SearchPlanner], SearchConfig]] = {
    "CEM": (CEM, CEMConfig()),
    "iCEM": (ICEM, ICEMConfig()),
    "MPPI": (MPPI, MPPIConfig()),
    "SoftTree, no gradients": (SoftTree, SoftTreeConfig(refine_steps=0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--horizon", type=int, default=12)
    parser.add_argument("--budgets", type=int, nargs="+", default=[1024, 4096, 16384])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| world | frame evaluations | {' | '.join(PLANNERS)} |")
    print("|---|---|" + "---|" * len(PLANNERS))
    for world_name, (world, scale) in WORLDS.items():
        for budget in arguments.budgets:
            cells = []
            for planner, config in PLANNERS.values():
                settings = sized(replace(config, horizon=arguments.horizon), budget // arguments.horizon)
                logs = []
                for seed in range(arguments.seeds):
                    start = scale * torch.randn(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
                    plan = planner(world, world.objective(), settings).plan(world.state(start), seed=seed, max_frame_evaluations=budget)
                    logs.append(math.log(-plan.score / world.optimal_cost(start, arguments.horizon).item()))
                cells.append(f"{math.exp(sum(logs) / len(logs)):.3f}")
            print(f"| {world_name} | {budget:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
