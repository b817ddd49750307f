"""Planners: from a state, a world and an objective to a sequence of actions.

    plan = CEM(world, objective, CEMConfig(horizon=8)).plan(state, seed=0)

May import: torch and `worldline.interfaces`. Refuses to know: how a world is learned or stored, what an objective means,
environments. All candidates of a search share the state's past: it is passed on with batch 1 and never expanded.
"""

from worldline.control.cem import CEM, CEMConfig
from worldline.control.constrained import AugmentedObjective, Constrained, ConstrainedConfig
from worldline.control.gradient import GradientConfig, GradientPlanner
from worldline.control.grasp import GRASP, GRASPConfig
from worldline.control.icem import ICEM, ICEMConfig
from worldline.control.mppi import MPPI, MPPIConfig
from worldline.control.noise import CorrelatedNoise, FittedNoise, Noise, PowerLawNoise
from worldline.control.planner import SearchPlanner
from worldline.control.random_shooting import RandomShooting, RandomShootingConfig
from worldline.control.search import SearchConfig
from worldline.control.soft_tree import SoftTree, SoftTreeConfig, Tree, TreeTargets

__all__ = [
    "CEM",
    "GRASP",
    "ICEM",
    "MPPI",
    "AugmentedObjective",
    "CEMConfig",
    "Constrained",
    "ConstrainedConfig",
    "CorrelatedNoise",
    "FittedNoise",
    "GRASPConfig",
    "GradientConfig",
    "GradientPlanner",
    "ICEMConfig",
    "MPPIConfig",
    "Noise",
    "PowerLawNoise",
    "RandomShooting",
    "RandomShootingConfig",
    "SearchConfig",
    "SearchPlanner",
    "SoftTree",
    "SoftTreeConfig",
    "Tree",
    "TreeTargets",
]
