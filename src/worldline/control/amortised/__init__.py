"""Control without search: policies that are regressed on what was done, as baselines and as proposals for planners.

    policy = fit_goal_policy(latents, actions, action_spec)          # goal-conditioned inverse dynamics, on latents of real episodes
    plan = propose_plan(world, state, policy.towards(goal, steps=25), horizon=8)
    CEM(world, objective, config).plan(state, initial=plan)

May import: torch and `worldline.interfaces`. Refuses to know: how a world is learned, pixels, environments, objectives.
"""

from worldline.control.amortised.cloning import GoalPolicy, GoalPolicyConfig, fit_goal_policy
from worldline.control.amortised.proposals import PolicyPlanner, propose_plan

__all__ = ["GoalPolicy", "GoalPolicyConfig", "PolicyPlanner", "fit_goal_policy", "propose_plan"]
