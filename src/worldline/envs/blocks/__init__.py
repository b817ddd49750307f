"""Things built of rigid blocks that stand or fall, with a stick to poke them: towers, dominoes, Jenga (MuJoCo).

May import: interfaces, envs.simulator, envs.mujoco_stage, envs.phrases, numpy, mujoco (extra `sim-mujoco`).
Refuses to know: models, training, planners, files.
"""

from worldline.envs.blocks.dominoes import Dominoes
from worldline.envs.blocks.jenga import Jenga
from worldline.envs.blocks.towers import Towers

__all__ = ["Dominoes", "Jenga", "Towers"]
