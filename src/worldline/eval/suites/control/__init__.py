"""Suite `control`: from a start to a goal picture that a real episode reached, by planning in the world and acting in the simulator.

    tasks        environments: what counts as solved
    pairs        starts and goals from held-out episodes, verified in the simulator
    planners     planners by name, each within a budget of frame evaluations
    policies     policies regressed on training episodes, by name
    attempt      one try: look, plan, act, look again
    gradients    the direction of a world's gradient beside that of the simulator
    measure      all of it
    summary      attempts as figures, lines and films

May import: the rest of eval, control, reward, envs, data, world. Refuses to know: the command line.
"""

from worldline.eval.suites.control.measure import measure_control
from worldline.eval.suites.control.plan import ControlPlan
from worldline.eval.suites.control.planners import PLANNERS, POLICIES
from worldline.eval.suites.control.tasks import TASKS

__all__ = ["PLANNERS", "POLICIES", "TASKS", "ControlPlan", "measure_control"]
