"""Planners: from a state, a world and an objective to a sequence of actions.

    plan = CEM(world, objective, CEMConfig(horizon=8)).plan(state, seed=0)

May import: torch and `worldline.interfaces`. Refuses to know: how a world is learned or stored, what an objective means,
pixels, environments. All candidates of a search share the state's past: it is passed on with batch 1 and never expanded.
"""

from worldline.control.cem import CEM, CEMConfig
from worldline.control.mppi import MPPI, MPPIConfig
from worldline.control.random_shooting import RandomShooting, RandomShootingConfig

__all__ = ["CEM", "MPPI", "CEMConfig", "MPPIConfig", "RandomShooting", "RandomShootingConfig"]
