"""Light through glass and off mirrors (mitsuba): a lens in the sun, a mirror in a lamp's beam.

May import: interfaces, envs.simulator, envs.phrases, numpy, mitsuba (extra `sim-light`).
Refuses to know: models, training, planners, files.
"""

from worldline.envs.light.magnifier import Magnifier
from worldline.envs.light.mirror import Mirror

__all__ = ["Magnifier", "Mirror"]
