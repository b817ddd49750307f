"""Policies regressed on training episodes of an environment, as baselines of the suite and as proposals for a search.

    inverse         goal-conditioned inverse dynamics: from here to the goal, which action
    clone           behaviour cloning: what was done here, whatever the goal
    inverse+cem     CEM that starts from what `inverse` proposes
    flow            the best, in imagination, of the plans that a flow policy draws; all of the budget is drawn
    flow+cem        CEM close around the best of them; half of the budget each
    flow+mppi       MPPI likewise

May import: control, its siblings. Refuses to know: figures, where lessons come from.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from worldline.control import CEM, MPPI
from worldline.control.amortised import (
    FlowPlanner,
    FlowPolicy,
    FlowPolicyConfig,
    GoalPolicy,
    GoalPolicyConfig,
    PolicyPlanner,
    fit_flow_policy,
    fit_goal_policy,
    load_flow_policy,
    save_flow_policy,
)
from worldline.eval.suites.control.lessons import Lessons
from worldline.eval.suites.control.planners import POLICIES, make_planner, passes_per_frame
from worldline.eval.suites.control.subject import Subject
from worldline.eval.suites.control.tasks import StateGoal
from worldline.interfaces import Objective, Planner
from worldline.reward import GoalPicture

FLOW = "flow"
"""What the names of planners that draw from a flow policy begin with."""

_NEAR = 0.2  # deviation of a search around what was drawn, in units of half the bounds


def fit_policy(name: str, subject: Subject, taught: Lessons, *, max_steps: int, num_updates: int, seed: int) -> GoalPolicy:
    """The policy that `name`, of `POLICIES`, acts by."""
    assert subject.world.action_spec is not None
    config = GoalPolicyConfig(uses_goal=name != "clone", max_steps=max_steps, num_updates=num_updates)
    return fit_goal_policy(taught.latents, taught.actions, subject.world.action_spec, config, goals=taught.goals, seed=seed)


def flow_policy(
    subject: Subject,
    teach: Callable[[], Lessons],
    path: Path,
    *,
    horizon: int,
    num_updates: int,
    progress: Callable[[int, float], None] = lambda done, loss: None,
) -> FlowPolicy:
    """The flow policy that was kept at `path`, or one that is trained on what `teach` films and kept there; training goes on where it was.

    Raises:
        ValueError: if what is there cannot be read.
    """
    if not path.exists():
        assert subject.world.action_spec is not None
        taught, config = teach(), FlowPolicyConfig(horizon=horizon, num_updates=num_updates)
        spec = subject.world.action_spec
        unfinished = path.with_suffix(".unfinished")
        fitted = fit_flow_policy(taught.latents, taught.actions, spec, config, goals=taught.goals, progress=progress, checkpoint=unfinished)
        save_flow_policy(fitted, path)
        unfinished.unlink(missing_ok=True)
    return load_flow_policy(path)


def policy_planner(
    name: str,
    policy: GoalPolicy | FlowPolicy,
    subject: Subject,
    objective: Objective,
    *,
    horizon: int,
    frame_evaluations: int,
    batch_size: int,
) -> Planner:
    """The planner that `name`, of `POLICIES`, stands for; it heads for the objective's goal within the horizon.

    Raises:
        ValueError: if there is no such policy.
    """
    if name not in POLICIES:
        raise ValueError(f"policy {name!r} is unknown; choose one of {', '.join(POLICIES)}")
    world = subject.world
    if isinstance(objective, GoalPicture):
        goal = objective.goal_latent  # (P, S, C)
    else:
        assert isinstance(objective, StateGoal)
        goal = objective.goal[None]

    def search(planner: str, budget: int) -> Planner:
        sizes = {"horizon": horizon, "frame_evaluations": budget, "batch_size": batch_size}
        return make_planner(planner, world, objective, actions_per_frame=subject.packing.actions_per_frame, **sizes)

    if isinstance(policy, FlowPolicy):
        num_chunks, inner = max(1, frame_evaluations // (horizon * passes_per_frame(world))), None
        if name != FLOW and num_chunks > 1:
            num_chunks -= num_chunks // 2
            inner = _close(search(name.removeprefix(f"{FLOW}+"), frame_evaluations // 2))
        return FlowPlanner(world, objective, policy, goal, num_chunks=num_chunks, batch_size=batch_size, search=inner)
    around = search("cem", max(horizon, frame_evaluations - horizon)) if name == "inverse+cem" else None
    only = goal[0] if goal.ndim == 3 else goal
    return PolicyPlanner(world, lambda: policy.towards(only, steps=horizon), horizon=horizon, objective=objective, search=around)


def _close(planner: Planner) -> Planner:
    """The same search with first proposals that stay near where it starts."""
    if isinstance(planner, CEM):
        return CEM(planner.world, planner.objective, replace(planner.config, initial_std=_NEAR), noise=planner.noise)
    assert isinstance(planner, MPPI)
    return MPPI(planner.world, planner.objective, replace(planner.config, noise_std=_NEAR), noise=planner.noise)
