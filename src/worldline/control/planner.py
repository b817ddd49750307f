"""What every planner has in common. A planner says in `search` how it goes on from scored candidates; `SearchPlanner` does the rest.

So each has warm starts, action repeat, bounds, coloured proposals, a policy's proposals, a budget, batches of problems, and a status
instead of an exception.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how candidates are chosen.

Shapes: P problems, I plans that a search starts with, T frames, D decisions (T / action_repeat), A action components.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from worldline.control.candidates import Scorer, decisions_of
from worldline.control.noise import CorrelatedNoise, Noise
from worldline.control.search import FORWARD, Search, SearchConfig
from worldline.interfaces import Objective, Plan, Policy, SelectableWorld, State, World, backward_passes, evaluations_per_frame

ConfigT = TypeVar("ConfigT", bound=SearchConfig)


class SearchPlanner(Generic[ConfigT]):
    """A planner that scores candidates: give it a world and an objective, and the settings of the one you chose.

    Args:
        world: rolls candidates out.
        objective: judges the rollouts; one per row of the state where problems differ, for `plan_many`.
        config: settings; the defaults of the planner if None.
        noise: of the proposals; by default AR(1) noise of the config's `correlation`. See `control.noise`.
        policy: proposes the first candidates, for example a cloned behaviour.
    """

    config_class: ClassVar[type[Any]]

    def __init__(
        self,
        world: World,
        objective: Objective | Sequence[Objective],
        config: ConfigT | None = None,
        *,
        noise: Noise | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.world = world
        self.objective = objective
        self.config: ConfigT = config or self.config_class()
        self.noise = noise or self.default_noise()
        self.policy = policy

    def default_noise(self) -> Noise:
        """The noise of the proposals if none was given."""
        return CorrelatedNoise(self.config.correlation)

    @property
    def num_frame_evaluations(self) -> int:
        """The default budget: what one search costs with these settings, in frame evaluations, a policy's proposals not counted."""
        per_candidate = self.config.horizon * self.config.num_samples * evaluations_per_frame(self.world)
        limit = self.config.max_frame_evaluations
        cost = self.num_passes() * per_candidate
        return cost if limit is None else min(cost, limit)

    def num_passes(self) -> int:
        """Rollouts of one candidate that a whole search takes, one with a gradient counted three times."""
        raise NotImplementedError

    def _passes_of_a_step(self) -> int:
        """Rollouts that one candidate and its gradient cost."""
        return FORWARD + backward_passes(self.world, self.config.horizon)

    def search(self, search: Search) -> list[Plan]:
        """Look for the best plan of every problem and return `search.finish(...)`."""
        raise NotImplementedError

    def plan(
        self, state: State, *, seed: int | None = None, initial: Tensor | None = None, max_frame_evaluations: int | None = None
    ) -> Plan:
        """The plan from `state`, batch 1.

        Args:
            state: where to start.
            seed: of proposals and worlds; by default from torch's global generator.
            initial: (T, A) in environment units, where the search starts; or several plans (I, T, A), the best first. Mid-bounds if None.
            max_frame_evaluations: budget of this search, if smaller than the planner's.

        Raises:
            ValueError: if the world has no actions, the state has several rows, or `initial` does not fit or is not finite.
        """
        if state.batch_size != 1:
            raise ValueError(f"the state has {state.batch_size} rows; plan from a state of batch 1, or all rows with plan_many")
        return self.plan_many(
            state, seed=seed, initial=None if initial is None else initial[None], max_frame_evaluations=max_frame_evaluations
        )[0]

    @torch.no_grad()
    def plan_many(
        self, state: State, *, seed: int | None = None, initial: Tensor | None = None, max_frame_evaluations: int | None = None
    ) -> list[Plan]:
        """One plan per row of `state`, searched for together; each is what `plan` finds for that row alone, up to rounding.

        With a `target_score`, at which some rows stop before others, one row after the other.

        Args:
            state: batch P.
            seed: of proposals and worlds, shared by the rows.
            initial: (P, T, A) or (P, I, T, A), as in `plan`.
            max_frame_evaluations: budget of each row.

        Raises:
            ValueError: as `plan` does, or if one row is planned for after the other in a world that cannot select rows of a state.
        """
        if self.config.target_score is not None and state.batch_size > 1:
            return self._one_by_one(state, seed=seed, initial=initial, max_frame_evaluations=max_frame_evaluations)
        like = state.latent
        generator = torch.Generator(like.device).manual_seed(int(torch.randint(2**31, ())) if seed is None else seed)
        # The world draws from a seed of its own: the same one would repeat the proposals' numbers in the world's noise.
        world_seed = int(torch.randint(2**31, (), generator=generator, device=like.device))
        config = self.config
        scorer = Scorer(
            world=self.world,
            objective=self.objective,
            state=state,
            seed=world_seed,
            num_samples=config.num_samples,
            batch_size=config.batch_size,
            action_repeat=config.action_repeat,
        )
        seeds = self._seeds(scorer, initial)
        limits = [limit for limit in (config.max_frame_evaluations, max_frame_evaluations) if limit is not None]
        budget = min(limits, default=math.inf)
        search = Search(
            scorer,
            config,
            noise=self.noise,
            generator=generator,
            seeds=seeds,
            num_given=0 if initial is None else seeds.shape[1],
            budget=budget,
        )
        self._ask_policy(search)
        return self.search(search)

    def _one_by_one(self, state: State, *, seed: int | None, initial: Tensor | None, max_frame_evaluations: int | None) -> list[Plan]:
        """One plan per row of `state`, one search after the other with the same seed.

        Raises:
            ValueError: if the world cannot select rows of a state.
        """
        if not isinstance(self.world, SelectableWorld):
            raise ValueError(f"{type(self.world).__name__} cannot select rows of a state; plan from states of batch 1, one call per row")
        seed = int(torch.randint(2**31, ())) if seed is None else seed
        objective, plans = self.objective, []
        try:
            for row in range(state.batch_size):
                self.objective = _of_row(objective, row, state.batch_size)
                alone = self.world.select(state, torch.tensor([row], device=state.latent.device))
                start = None if initial is None else initial[row]
                plans.append(self.plan(alone, seed=seed, initial=start, max_frame_evaluations=max_frame_evaluations))
        finally:
            self.objective = objective
        return plans

    def _seeds(self, scorer: Scorer, initial: Tensor | None) -> Tensor:
        """Plans (P, I, D, A) to start with: those given, or the middle of the bounds."""
        config, like = self.config, scorer.like
        shape = (config.horizon, scorer.action_spec.dim)
        if initial is None:
            return like.new_zeros(scorer.num_problems, 1, config.num_decisions, shape[1])
        given = initial[:, None] if initial.ndim == 3 else initial
        if given.ndim != 4 or given.shape[2:] != shape or len(given) != scorer.num_problems or not given.shape[1]:
            raise ValueError(f"the initial plan is {tuple(initial.shape[1:])}; this planner needs (horizon, actions) = {shape}, or several")
        if not given.isfinite().all():
            raise ValueError("the initial plan holds values that are not finite; pass the actions of an earlier plan, or None")
        return decisions_of(given.to(like), scorer.action_spec, config.action_repeat)

    def _ask_policy(self, search: Search) -> None:
        """Let the policy act in the world, and put its plans among those that the search starts with."""
        if self.policy is None:
            return
        config, scorer = self.config, search.scorer
        count = min(config.num_policy_plans, search.affordable() // 2)  # each of them is scored later, which costs as much again
        if count < 1:
            return
        noise = config.policy_std * search.draw(count).expand(scorer.num_problems, -1, -1, -1).clone()
        noise[:, 0] = 0
        state, decisions = self.world.fork(scorer.state, count), []
        for decision in noise.flatten(0, 1).unbind(1):
            proposed = scorer.action_spec.normalize(self.policy(state)).to(decision)
            decisions.append((proposed.nan_to_num(0) + decision).clamp(-1, 1))
            for _ in range(config.action_repeat):
                action = scorer.action_spec.clamp(scorer.action_spec.denormalize(decisions[-1]))
                state = self.world.step(state, action, seed=scorer.seed)
        search.pay(count * config.horizon * evaluations_per_frame(self.world))
        proposals = torch.stack(decisions, dim=1).unflatten(0, (scorer.num_problems, count))
        given = search.seeds[:, : search.num_given]
        search.seeds = torch.cat([given, proposals], dim=1)
        search.num_given = search.seeds.shape[1]
        if not given.shape[1]:
            search.start = search.best = search.seeds[:, 0]


def _of_row(objective: Objective | Sequence[Objective], row: int, count: int) -> Objective:
    """The objective of one of `count` rows: its own of several, or its part of one that knows them all, such as `GoalPicture`."""
    if isinstance(objective, Sequence):
        return objective[row]
    if getattr(objective, "num_problems", 1) == count > 1:
        return objective.select([row])  # ty: ignore[missing-attribute]
    return objective
