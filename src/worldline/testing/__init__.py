"""Worlds with closed-form answers, and the conformance test for anyone who writes a backend.

`LinearQuadraticWorld` and `PointMassWorld` know their own rollouts, gradients and optimal plans exactly, so planners, rewards and
agents are checked against numbers instead of against each other. `check_world` puts any `World` through its contract.

May import: torch and `worldline.interfaces`. Refuses to know: the learned model, planners, rewards, files and pytest.
"""

from worldline.testing.check import Check, WorldCheckError, WorldReport, check_world
from worldline.testing.linear_quadratic import LinearQuadraticWorld, QuadraticObjective
from worldline.testing.point_mass import PointMassWorld

__all__ = [
    "Check",
    "LinearQuadraticWorld",
    "PointMassWorld",
    "QuadraticObjective",
    "WorldCheckError",
    "WorldReport",
    "check_world",
]
