"""Push-T: a disc pushes a T-shaped block on a table (the `gym-pusht` simulator; the task is from Chi et al. 2023, Diffusion Policy).

`make_pusht` is the environment, `collect_pusht` films scripted policies in it, `find_agent` and `agent_pixel_position` score a
predicted picture against the truth.

May import: interfaces, gymnasium, numpy, torch, gym-pusht (extra `pusht`). Refuses to know: models, training, planners, files.
"""

from worldline.envs.pusht.collect import PolicyName, collect_pusht
from worldline.envs.pusht.scoring import agent_pixel_position, find_agent
from worldline.envs.pusht.simulator import ARENA_SIZE, GOAL_POSE, STATE_NAMES, PushT, make_pusht, pusht_action_spec

__all__ = [
    "ARENA_SIZE",
    "GOAL_POSE",
    "STATE_NAMES",
    "PolicyName",
    "PushT",
    "agent_pixel_position",
    "collect_pusht",
    "find_agent",
    "make_pusht",
    "pusht_action_spec",
]
