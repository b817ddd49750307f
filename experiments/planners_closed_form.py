"""Every planner in the worlds whose optimum is known: cost over the optimum, frame evaluations, seconds.

    python experiments/planners_closed_form.py [--seeds 5] [--horizon 8] [--budget 16384]

One row per planner and world: the mean over starts of cost / optimal cost with its 95 % bootstrap interval, the worst of them, what a
search imagined, and the seconds it took. Without a budget every planner has its default; with one, `max_frame_evaluations` cuts it off,
and the settings are those of `control.sizing`.
"""

import argparse
import time
from dataclasses import replace

import torch

from worldline.control import (
    CEM,
    GRASP,
    ICEM,
    MPPI,
    CEMConfig,
    GradientConfig,
    GradientPlanner,
    GRASPConfig,
    ICEMConfig,
    MPPIConfig,
    RandomShooting,
    RandomShootingConfig,
    SearchConfig,
    SearchPlanner,
    SoftTree,
    SoftTreeConfig,
)
from worldline.control.sizing import sized
from worldline.eval.metrics import bootstrap_interval
from worldline.testing import LinearQuadraticWorld, PointMassWorld

WORLDS = {"linear-quadratic": (LinearQuadraticWorld(), 1.0), "point mass": (PointMassWorld(), 0.3)}
DEFAULTS: dict[str, tuple[type[SearchPlanner], SearchConfig]] = {
    "random shooting": (RandomShooting, RandomShootingConfig()),
    "CEM, diagonal": (CEM, CEMConfig(covariance="diagonal")),
    "CEM": (CEM, CEMConfig()),
    "iCEM, diagonal": (ICEM, ICEMConfig(covariance="diagonal")),
    "iCEM": (ICEM, ICEMConfig()),
    "MPPI": (MPPI, MPPIConfig()),
    "Adam": (GradientPlanner, GradientConfig()),
    "GRASP": (GRASP, GRASPConfig()),
    "SoftTree": (SoftTree, SoftTreeConfig()),
    "SoftTree, gradients cut": (SoftTree, SoftTreeConfig(gradient="chunk")),
    "SoftTree, no gradients": (SoftTree, SoftTreeConfig(refine_steps=0, num_rounds=60, width=16)),
}


def fitted(config: SearchConfig, horizon: int, budget: int | None) -> SearchConfig:
    """The settings at a horizon and a budget."""
    config = replace(config, horizon=horizon, max_frame_evaluations=budget)
    return config if budget is None else sized(config, budget // horizon)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--horizon", type=int, default=8)
    parser.add_argument("--budget", type=int, default=None)
    parser.add_argument("--only", default="", help="names of planners that hold this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"horizon {arguments.horizon}, starts of seeds 0 to {arguments.seeds - 1}, budget {arguments.budget or 'default'}, float64")
    print("| world | planner | cost / optimum, mean [95 %] | worst | frame evaluations | processor seconds |")
    print("|---|---|---|---|---|---|")
    for world_name, (world, scale) in WORLDS.items():
        for name, (planner, config) in DEFAULTS.items():
            if arguments.only not in name:
                continue
            ratios, spent, began = [], 0, time.process_time()
            for seed in range(arguments.seeds):
                start = scale * torch.randn(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
                search = planner(world, world.objective(), fitted(config, arguments.horizon, arguments.budget))
                plan = search.plan(world.state(start), seed=seed)
                ratios.append(-plan.score / world.optimal_cost(start, arguments.horizon).item())
                spent = plan.num_frame_evaluations
            seconds = (time.process_time() - began) / arguments.seeds
            low, high = bootstrap_interval(torch.tensor(ratios)) if len(ratios) > 1 else (float("nan"), float("nan"))
            mean = sum(ratios) / len(ratios)
            print(
                f"| {world_name} | {name} | {mean:.4f} [{low:.4f}, {high:.4f}] | {max(ratios):.4f} | {spent:,} | {seconds:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
