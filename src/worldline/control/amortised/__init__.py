"""Control without search: policies that are regressed on what was done, as baselines and as proposals for planners.

    policy = fit_goal_policy(latents, actions, action_spec)          # goal-conditioned inverse dynamics, on latents of real episodes
    plan = propose_plan(world, state, policy.towards(goal, steps=25), horizon=8)
    CEM(world, objective, config).plan(state, initial=plan)
    drawn = fit_flow_policy(latents, actions, action_spec, FlowPolicyConfig(horizon=8))  # whole plans, as the recordings show them
    FlowPlanner(world, objective, drawn, goal, num_chunks=128).plan(state)

May import: torch, nn, `worldline.interfaces`, `control.candidates` and `control.storage`. Refuses to know: how a world is learned, pixels,
environments, objectives.
"""

from worldline.control.amortised.cloning import GoalPolicy, GoalPolicyConfig, fit_goal_policy
from worldline.control.amortised.flow import FlowPolicy, FlowPolicyConfig, fit_flow_policy, load_flow_policy, save_flow_policy
from worldline.control.amortised.proposals import FlowPlanner, PolicyPlanner, propose_plan

__all__ = [
    "FlowPlanner",
    "FlowPolicy",
    "FlowPolicyConfig",
    "GoalPolicy",
    "GoalPolicyConfig",
    "PolicyPlanner",
    "fit_flow_policy",
    "fit_goal_policy",
    "load_flow_policy",
    "propose_plan",
    "save_flow_policy",
]
