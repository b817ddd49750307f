"""A policy's own future in a world, as a plan: to act by, or for a search to start from.

May import: torch, `control.candidates`, `flow` and `worldline.interfaces`. Refuses to know: how the policy was found.

Shapes: N candidates, T frames, S tokens, C channels, A action components.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from worldline.control.amortised.flow import FlowPolicy
from worldline.control.candidates import Scorer
from worldline.interfaces import Objective, Plan, Planner, Policy, State, World, evaluations_per_frame


@torch.no_grad()
def propose_plan(world: World, state: State, policy: Policy, *, horizon: int, seed: int | None = None) -> Tensor:
    """The actions (T, A), environment units, that a policy takes in `horizon` imagined frames from `state`, batch 1.

    Raises:
        ValueError: if the world has no actions, or the horizon is not positive.
    """
    if world.action_spec is None or horizon < 1:
        raise ValueError(f"action_spec is {world.action_spec} and horizon {horizon}; give a world with actions, and at least one frame")
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    actions = []
    for _ in range(horizon):
        action = world.action_spec.clamp(policy(state))
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
        if self.objective is None:
            return Plan(actions=proposed, score=float("nan"), num_evaluations=1)
        with torch.no_grad():
            score = float(self.objective(self.world.rollout(state, proposed[None], seed=seed)))
        return Plan(actions=proposed, score=score, trace=(score,), num_evaluations=2)


class FlowPlanner:
    """Planner that imagines what a flow policy draws and takes the best of it; with `search`, a search goes on from there.

    Half of the chunks are drawn as if the goal were a whole horizon away, the others as if it were nearer.

    Args:
        world: in which the chunks are imagined.
        objective: judges them.
        policy: draws them; its horizon is that of the plans.
        goal: (S, C), latents to be reached.
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
        shape = self.policy.config.horizon, self.policy.action_spec.dim
        if state.batch_size != 1 or (initial is not None and tuple(initial.shape) != shape):
            given = None if initial is None else tuple(initial.shape)
            raise ValueError(
                f"the state has {state.batch_size} rows and the initial plan {given}; give one row, and (horizon, actions) = {shape}"
            )
        seed = int(torch.randint(2**31, ())) if seed is None else seed
        plan = self._best(state, seed, initial)
        if self.search is None:
            return plan
        found = self.search.plan(state, seed=seed, initial=plan.actions)
        return replace(
            found if found.score > plan.score else plan,
            trace=(*plan.trace, *found.trace),
            num_evaluations=plan.num_evaluations + found.num_evaluations,
            num_frame_evaluations=plan.num_frame_evaluations + found.num_frame_evaluations,
        )

    @torch.no_grad()
    def _best(self, state: State, seed: int, initial: Tensor | None) -> Plan:
        generator, count, horizon = torch.Generator().manual_seed(seed), self.num_chunks, self.policy.config.horizon
        scorer = Scorer(world=self.world, objective=self.objective, state=state, seed=seed, batch_size=self.batch_size)
        nearer = torch.randint(1, horizon + 1, (count // 2,), generator=generator)
        steps = torch.cat([torch.full((count - len(nearer),), horizon), nearer])
        here, goal = (one.expand(count, *one.shape[-2:]) for one in (state.latent, self.goal))
        chunks = self.policy.draw(here, goal, steps, generator=generator).to(state.latent)
        if initial is not None and count > 1:
            chunks = torch.cat([chunks[:-1], initial[None].to(chunks)])
        candidates = scorer.action_spec.normalize(chunks).clamp(-1, 1)
        scores = scorer.score(candidates)
        best = int(scores.argmax())
        score = float(scores[best])
        known = math.isfinite(score)
        return Plan(
            actions=scorer.actions(candidates[best]),
            score=score,
            trace=(score,),
            num_evaluations=count,
            num_frame_evaluations=count * horizon * evaluations_per_frame(self.world),
            status="ok" if known else "not finite",
            message="" if known else f"none of {count} chunks has a finite score; check that the state and the goal hold no NaN",
        )
