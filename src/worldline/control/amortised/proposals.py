"""A policy's own future in a world, as a plan: to act by, or for a search to start from.

May import: torch, `control.candidates`, `control.planner`, `flow` and `worldline.interfaces`. Refuses to know: how the policy was found.

Shapes: P problems, N candidates, T frames, S tokens, C channels, A action components.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from worldline.control.amortised.flow import FlowPolicy
from worldline.control.candidates import Scorer, widened
from worldline.control.planner import SearchPlanner
from worldline.interfaces import Objective, Plan, Planner, Policy, State, World, evaluations_per_frame


@torch.no_grad()
def propose_plan(world: World, state: State, policy: Policy, *, horizon: int, seed: int | None = None) -> Tensor:
    """The actions (T, A), environment units, that a policy takes in `horizon` imagined frames from `state`, batch 1.

    Where a policy's action is not a number, which it is not where the world has broken, the middle of the bounds stands in its place.

    Raises:
        ValueError: if the world has no actions, or the horizon is not positive.
    """
    if world.action_spec is None or horizon < 1:
        raise ValueError(f"action_spec is {world.action_spec} and horizon {horizon}; give a world with actions, and at least one frame")
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    wide, actions = torch.promote_types(state.latent.dtype, torch.float32), []
    for _ in range(horizon):
        chosen = policy(state).to(wide)
        chosen = torch.where(chosen.isnan(), world.action_spec.denormalize(torch.zeros_like(chosen)), chosen)
        action = world.action_spec.clamp(chosen)
        actions.append(action[0])
        # A seed per frame: one for all would draw the same noise in worlds that know no position.
        state = world.step(state, action, seed=None if generator is None else int(torch.randint(2**31, (), generator=generator)))
    return torch.stack(actions)


class PolicyPlanner:
    """Planner that does not search: the policy's own future, scored once if there is an objective.

    With `search`, that future is where the search starts: the policy proposes, the planner refines.

    Args:
        world: in which the policy is followed.
        make_policy: a fresh policy for each plan; policies that count the frames left to a goal start anew.
        horizon: frames per plan, T.
        objective: judges the plan; its score is NaN without.
        search: any planner of the same world and horizon, or None.
    """

    def __init__(
        self,
        world: World,
        make_policy: Callable[[], Policy],
        *,
        horizon: int,
        objective: Objective | None = None,
        search: Planner | None = None,
    ) -> None:
        self.world, self.make_policy, self.horizon = world, make_policy, horizon
        self.objective, self.search = objective, search

    def plan(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> Plan:
        """The policy's plan from `state`, batch 1, or what the search makes of it; an `initial` plan is not looked at."""
        proposed = propose_plan(self.world, state, self.make_policy(), horizon=self.horizon, seed=seed)
        if self.search is not None:
            return self.search.plan(state, seed=seed, initial=proposed)
        cost = self.horizon * evaluations_per_frame(self.world)
        if self.objective is None:
            return Plan(actions=proposed, score=float("nan"), num_evaluations=1, num_frame_evaluations=cost)
        with torch.no_grad():
            score = float(self.objective(widened(self.world.rollout(state, proposed[None], seed=seed))))
        plan = Plan(actions=proposed, score=score, trace=(score,), num_evaluations=2, num_frame_evaluations=2 * cost)
        if math.isfinite(score):
            return plan
        message = "the policy's own future has no finite score; check that the state and the goal hold no NaN"
        return replace(plan, score=-math.inf, status="not finite", message=message)


class FlowPlanner:
    """Planner that imagines what a flow policy draws and takes the best of it; with `search`, a search goes on from there.

    Half of the chunks are drawn as if the goal were a whole horizon away, the others as if it were nearer.

    Args:
        world: in which the chunks are imagined.
        objective: judges them.
        policy: draws them; its horizon is that of the plans.
        goal: (S, C), latents to be reached; or (P, S, C), of each of the problems that `plan_many` is given.
        num_chunks: to imagine.
        batch_size: chunks imagined at a time.
        search: any planner of the same world, objective and horizon, or None; best with proposals that stay near where it starts.
    """

    def __init__(
        self,
        world: World,
        objective: Objective,
        policy: FlowPolicy,
        goal: Tensor,
        *,
        num_chunks: int,
        batch_size: int = 256,
        search: Planner | None = None,
    ) -> None:
        if num_chunks < 1:
            raise ValueError(f"num_chunks is {num_chunks}; give at least one")
        self.world, self.objective, self.policy, self.goal = world, objective, policy, goal
        self.num_chunks, self.batch_size, self.search = num_chunks, batch_size, search
        self.config = policy.config

    def plan(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> Plan:
        """The best plan from `state`, batch 1; an `initial` one (T, A) takes the place of the last of several chunks.

        Raises:
            ValueError: if the state has several rows, or the initial plan is of another shape.
        """
        if state.batch_size != 1:
            raise ValueError(f"the state has {state.batch_size} rows; plan from a state of batch 1, or all rows with plan_many")
        return self.plan_many(state, seed=seed, initial=None if initial is None else initial[None])[0]

    def plan_many(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> list[Plan]:
        """One plan per row of `state`, each what `plan` finds for that row alone, up to rounding; `initial` is (P, T, A).

        Raises:
            ValueError: if the initial plans are of another shape, there are other goals than one or P, or the search knows only `plan`.
        """
        shape = state.batch_size, self.policy.config.horizon, self.policy.action_spec.dim
        if initial is not None and tuple(initial.shape) != shape:
            raise ValueError(f"the initial plan is {tuple(initial.shape[1:])}; give (horizon, actions) = {shape[1:]}")
        if self.goal.ndim == 3 and len(self.goal) != state.batch_size:
            raise ValueError(f"{len(self.goal)} goals for a state of {state.batch_size} rows; give one per row, or one for all")
        seed = int(torch.randint(2**31, ())) if seed is None else seed
        plans = self._best(state, seed, initial)
        if self.search is None:
            return plans
        if state.batch_size == 1:
            found = [self.search.plan(state, seed=seed, initial=plans[0].actions)]
        elif isinstance(self.search, SearchPlanner):
            found = self.search.plan_many(state, seed=seed, initial=torch.stack([plan.actions for plan in plans]))
        else:
            raise ValueError(f"{type(self.search).__name__} plans from one row at a time, and the state has {state.batch_size}")
        return [
            replace(
                # A planner that minds more than the score, such as one with constraints, is believed where its plan will do.
                after if after.score > before.score or (after.status == "ok" and not isinstance(self.search, SearchPlanner)) else before,
                trace=(*before.trace, *after.trace),
                num_evaluations=before.num_evaluations + after.num_evaluations,
                num_frame_evaluations=before.num_frame_evaluations + after.num_frame_evaluations,
            )
            for before, after in zip(plans, found, strict=True)
        ]

    @torch.no_grad()
    def _best(self, state: State, seed: int, initial: Tensor | None) -> list[Plan]:
        count, horizon, problems = self.num_chunks, self.policy.config.horizon, state.batch_size
        scorer = Scorer(world=self.world, objective=self.objective, state=state, seed=seed, batch_size=self.batch_size)
        goals = self.goal if self.goal.ndim == 3 else self.goal[None].expand(problems, -1, -1)
        chunks = torch.stack([self._drawn(here, goal, seed) for here, goal in zip(state.latent, goals, strict=True)]).to(scorer.like)
        if initial is not None and count > 1:
            chunks = torch.cat([chunks[:, :-1], initial[:, None].to(chunks)], dim=1)
        candidates = scorer.action_spec.normalize(chunks).clamp(-1, 1)
        scores = scorer.score(candidates)
        best = scores.argmax(1)
        plans = []
        for problem, index in enumerate(best.tolist()):
            score = float(scores[problem, index])
            known = math.isfinite(score)
            plan = Plan(
                actions=scorer.actions(candidates[problem, index]),
                score=score,
                trace=(score,),
                num_evaluations=count,
                num_frame_evaluations=count * horizon * evaluations_per_frame(self.world),
                status="ok" if known else "not finite",
                message="" if known else f"none of {count} chunks has a finite score; check that the state and the goal hold no NaN",
            )
            plans.append(plan)
        return plans

    def _drawn(self, here: Tensor, goal: Tensor, seed: int) -> Tensor:
        """Chunks (N, T, A) from one frame (S, C) to its goal; for one seed from the same noise, whatever the frame."""
        generator, count, horizon = torch.Generator().manual_seed(seed), self.num_chunks, self.policy.config.horizon
        nearer = torch.randint(1, horizon + 1, (count // 2,), generator=generator)
        steps = torch.cat([torch.full((count - len(nearer),), horizon), nearer])
        many = (one.expand(count, *one.shape) for one in (here, goal))
        return self.policy.draw(*many, steps, generator=generator)
