"""Push-T: a disc pushes a T-shaped block on a table (the `gym-pusht` simulator; the task is from Chi et al. 2023, Diffusion Policy).

`make_pusht` is the environment, `collect_pusht` films scripted policies in it, `find_agent`, `find_block` and the
`..._pixel_...` functions score a predicted picture against the truth.

May import: interfaces, gymnasium, numpy, torch, gym-pusht (extra `pusht`). Refuses to know: models, training, planners, files.
"""

from worldline.envs.pusht.collect import PolicyName, collect_pusht
from worldline.envs.pusht.scoring import agent_pixel_position, block_pixel_pose, find_agent, find_block
from worldline.envs.pusht.simulator import ARENA_SIZE, GOAL_POSE, STATE_NAMES, PushT, make_pusht, pusht_action_spec

__all__ = [
    "ARENA_SIZE",
    "GOAL_POSE",
    "STATE_NAMES",
    "PolicyName",
    "PushT",
    "agent_pixel_position",
    "block_pixel_pose",
    "collect_pusht",
    "find_agent",
    "find_block",
    "make_pusht",
    "pusht_action_spec",
]
