"""Planners' settings for a budget: how many candidates in how many iterations so many rollouts are best spent on.

May import: files of `control`. Refuses to know: worlds, objectives, frames.
"""

import math
from dataclasses import replace
from typing import TypeVar

from worldline.control.cem import CEMConfig
from worldline.control.gradient import GradientConfig
from worldline.control.grasp import GRASPConfig
from worldline.control.icem import ICEMConfig
from worldline.control.mppi import MPPIConfig
from worldline.control.random_shooting import RandomShootingConfig
from worldline.control.search import BACKWARD, FORWARD, SearchConfig
from worldline.control.soft_tree import SoftTreeConfig

ConfigT = TypeVar("ConfigT", bound=SearchConfig)

_GRADIENT = FORWARD + BACKWARD
_FOR_COVARIANCE = 80
_SHARED = 0.75  # of what paths would cost apart, those of a tree cost together, about


def sized(config: ConfigT, num_rollouts: int) -> ConfigT:
    """The settings, with populations and iterations for about `num_rollouts` rollouts of one candidate, one with a gradient counted thrice.

    It is a rule of thumb, not a limit: set `max_frame_evaluations` for that. Iterations grow with the square root of the rollouts.

    Raises:
        ValueError: if there is not one rollout.
    """
    if num_rollouts < 1:
        raise ValueError(f"{num_rollouts} rollouts; give a budget of at least one")
    changes: dict[str, float | str] = {}
    iterations = max(1, round(math.sqrt(num_rollouts / 4)))
    if isinstance(config, RandomShootingConfig):
        changes = {"num_candidates": num_rollouts}
    elif isinstance(config, ICEMConfig):
        changes = {**_population(config, num_rollouts, min(iterations, 30), minimum=2), "shrink": 1.0}
    elif isinstance(config, CEMConfig):
        changes = _population(config, num_rollouts, min(iterations, 30), minimum=1)
    elif isinstance(config, MPPIConfig):
        iterations = min(2 * iterations, 100)
        candidates = max(1, num_rollouts // iterations - 1)
        changes = {"num_candidates": candidates, "num_iterations": iterations, "noise_decay": 0.02 ** (1 / iterations)}
    elif isinstance(config, GradientConfig) and config.gradient == "autograd":
        starts = max(1, min(config.num_starts, num_rollouts // (50 * _GRADIENT)))
        changes = {"num_starts": starts, "num_iterations": max(1, num_rollouts // (starts * _GRADIENT))}
    elif isinstance(config, GRASPConfig):
        starts = max(1, min(config.num_starts, num_rollouts // (50 * _GRADIENT)))
        per_round = num_rollouts // (starts * config.num_rounds * _GRADIENT)
        lifted = max(1, per_round // 6)
        changes = {"num_starts": starts, "lifted_steps": lifted, "full_steps": max(1, per_round - lifted - 1)}
    elif isinstance(config, SoftTreeConfig):
        changes = {**_tree(config, num_rollouts, iterations)}
    return replace(config, **changes)


def _population(config: CEMConfig, num_rollouts: int, iterations: int, *, minimum: int) -> dict[str, float | str]:
    candidates = max(minimum, num_rollouts // iterations)
    # Few rollouts teach no covariance: with two action components, 32 per decision were too few and 128 enough.
    covariance = config.covariance if num_rollouts >= _FOR_COVARIANCE * config.num_decisions else "diagonal"
    return {
        "num_candidates": candidates,
        "num_iterations": iterations,
        "num_elites": max(1, candidates // 5),
        "covariance": covariance,
    }


def _tree(config: SoftTreeConfig, num_rollouts: int, iterations: int) -> dict[str, float]:
    finalists = max(1, min(config.num_finalists, num_rollouts // 20))
    if config.refine_steps:
        roots = max(1, min(config.num_roots, num_rollouts // 6))
        # Twice the default's leaves in three rounds: a pass over few rows costs a network nearly as much as one over many.
        leaves = max(1, min(2 * config.refine_leaves, num_rollouts // (15 * _GRADIENT)))
        rounds = min(3, config.num_rounds)
        grown = (rounds - 1) * config.width * config.branching
        for_steps = num_rollouts - roots - finalists - 3 - min(grown, num_rollouts // 5)
        return {
            "num_roots": roots,
            "num_rounds": rounds,
            "refine_leaves": leaves,
            "refine_steps": max(1, round(for_steps / (_SHARED * leaves * rounds * _GRADIENT))),
            "num_finalists": finalists,
        }
    rounds = max(4, min(iterations, 30))
    roots = max(1, num_rollouts // rounds)
    # Half of the branches are whole rollouts; the others share the first half with their siblings, on average.
    children = max(1, round((num_rollouts - roots) / rounds / _SHARED))
    branching = max(1, min(4, round(math.sqrt(children / 2))))
    return {
        "num_roots": roots,
        "num_rounds": 4 * rounds,  # until the budget ends, however much branches share
        "branching": branching,
        "width": max(1, children // branching),
        "max_leaves": max(4, round(0.3 * children)),
        "num_finalists": 1,
        "clip": 1.0,
    }
