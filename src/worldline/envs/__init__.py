"""Real environments, and worlds in their place: third-party simulators as gymnasium environments, as sources of clips and as worlds, and
any world as a gymnasium environment.

One package per simulator, each behind an optional extra that its error message names; nothing is imported before it is used.
Environments speak gymnasium (uint8 HWC pictures, environment units), clips speak `interfaces.Clip`.

May import: interfaces, gymnasium, numpy, torch and the simulators. Refuses to know: models, training, planners, files.
"""

from worldline.envs.world_env import Prompts, WorldEnv, WorldVectorEnv

__all__ = ["Prompts", "WorldEnv", "WorldVectorEnv"]
