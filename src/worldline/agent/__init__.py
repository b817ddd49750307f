"""Act in a real environment with a world in mind: look, plan, act, look again.

May import: torch, numpy, gymnasium and lower rooms. Refuses to know: how a world is learned, how a planner searches, what an objective
means, and which environment it is in.
"""

from worldline.agent.receding_horizon import Episode, Imagination, WarmStartPlanner, run_episode

__all__ = ["Episode", "Imagination", "WarmStartPlanner", "run_episode"]
