"""The next frame, given the past and an action: network, objective (shortcut forcing) and sampler.

May import: torch, nn, interfaces. Refuses to know: pixels, data sets, optimisers, planners.
"""

from worldline.dynamics.network import Dynamics, DynamicsConfig
from worldline.dynamics.objective import ShortcutConfig, ShortcutObjective
from worldline.dynamics.sampler import HeadsOnDemand, SamplerConfig, absorb, advance
from worldline.dynamics.sizes import Size, dynamics_config

__all__ = [
    "Dynamics",
    "DynamicsConfig",
    "HeadsOnDemand",
    "SamplerConfig",
    "ShortcutConfig",
    "ShortcutObjective",
    "Size",
    "absorb",
    "advance",
    "dynamics_config",
]
