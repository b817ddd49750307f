"""GRASP: gradient planning with lifted states, so that no gradient has to pass a whole rollout.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world or an objective works.

Shapes: P problems, N starts, D decisions, n segments, F frames per segment, A action components, S tokens, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.control.candidates import check_positive, judged
from worldline.control.cem import best_of
from worldline.control.gradient import Moments, falling_rate
from worldline.control.heads import LazyHeads
from worldline.control.noise import Noise
from worldline.control.planner import SearchPlanner
from worldline.control.search import BACKWARD, FORWARD, Search, SearchConfig
from worldline.interfaces import Objective, Plan, Policy, RestartableWorld, Rollout, State, World


@dataclass(frozen=True, kw_only=True, slots=True)
class GRASPConfig(SearchConfig):
    """Settings of `GRASP`, besides those of `SearchConfig`. Steps and deviations of actions are in units of half the action bounds.

    Attributes:
        segment: decisions between two lifted states; 1 for worlds whose latents say everything. A learned world is restarted at each of
            them from one frame without a past, so longer segments are truer.
        num_starts: plans that are improved side by side.
        num_rounds: times that lifted steps and steps through the full rollout take turns.
        lifted_steps: steps on actions and lifted states in each round.
        full_steps: steps on the actions through the full rollout in each round, which also puts the states back on a true path.
        learning_rate: of Adam on the actions, falling on a half cosine to a twentieth.
        state_rate: of Adam on the lifted states, in units of the latents.
        state_noise: deviation of the noise on the lifted states after each step, which helps them out of bad valleys.
        consistency: weight of the squared distance between where a segment ends and the lifted state that stands there.
        goal_weight: weight of the squared distance of every segment's end to the goal, where the planner was given one.
        start_std: deviation of the starts around the first one, which is exact.

    Raises:
        ValueError: if a setting is out of range, or `segment` does not divide the decisions.
    """

    segment: int = 1
    num_starts: int = 4
    num_rounds: int = 4
    lifted_steps: int = 10
    full_steps: int = 100
    learning_rate: float = 0.2
    state_rate: float = 0.1
    state_noise: float = 0.01
    consistency: float = 1.0
    goal_weight: float = 1.0
    start_std: float = 0.3

    def __post_init__(self) -> None:
        SearchConfig.__post_init__(self)
        names = ("segment", "num_starts", "num_rounds", "lifted_steps", "full_steps", "learning_rate", "state_rate", "start_std")
        check_positive(**{name: getattr(self, name) for name in names})
        if min(self.state_noise, self.consistency, self.goal_weight) < 0:
            raise ValueError("state_noise, consistency and goal_weight must be at least 0")
        if self.num_decisions % self.segment:
            raise ValueError(f"segment is {self.segment} of {self.num_decisions} decisions; the decisions must be a multiple of it")


class GRASP(SearchPlanner[GRASPConfig]):
    """Planner with lifted states (GRASP, "Gradient RelAxed Stochastic Planner", 2026), for goals that a rollout's own gradient loses.

    The states between segments are variables beside the actions. Every segment F is rolled out from its lifted state, all at once, and
    Adam climbs

        objective of the segments' frames - consistency * sum |F(sg s[k], a[k]) - s[k+1]|^2 - goal_weight * sum |F(sg s[k], a[k]) - goal|^2

    with sg a stop-gradient: through its state input a network can be talked into anything, through its actions it cannot. Noise on the
    states, none on the actions. Every few steps the full rollout is improved directly and the states are put back on it. The plan
    returned is the best full rollout.

    Args:
        world: one that can `restart` from latents; see `interfaces.RestartableWorld`.
        objective: as for all planners.
        config: settings.
        noise: as for all planners.
        policy: as for all planners.
        goal: (S, C) latents to which the lifted states are first stretched in a straight line, and which every segment is drawn to; without
            one they begin on the first rollout.

    Raises:
        ValueError: if the world cannot restart from latents.
    """

    config_class = GRASPConfig

    def __init__(
        self,
        world: World,
        objective: Objective | Sequence[Objective],
        config: GRASPConfig | None = None,
        *,
        noise: Noise | None = None,
        policy: Policy | None = None,
        goal: Tensor | None = None,
    ) -> None:
        super().__init__(world, objective, config, noise=noise, policy=policy)
        if not isinstance(world, RestartableWorld):
            raise ValueError(f"{type(world).__name__} cannot restart from latents; lift states in a world with a restart method")
        self.goal = goal

    def num_passes(self) -> int:
        """See `SearchPlanner.num_passes`; restarting at a lifted state counts as one frame."""
        config = self.config
        restarts = -(-(config.num_decisions // config.segment - 1) // config.horizon)
        steps = config.lifted_steps * (FORWARD + BACKWARD + restarts) + config.full_steps * (FORWARD + BACKWARD) + 1
        return config.num_starts * (config.num_rounds * steps + 2)

    def search(self, search: Search) -> list[Plan]:
        """The best plan whose full rollout was scored; the others that were improved are the elites."""
        config = self.config
        num_starts = max(1, min(config.num_starts, search.affordable(4 * (FORWARD + BACKWARD))))
        noise = config.start_std * search.draw(num_starts)
        noise[:, 0] = 0
        plans = search.with_seeds((search.start[:, None] + noise).clamp(-1, 1))
        search.score(plans)
        lifted, full = Moments.none(plans), Moments.none(plans)
        shape = (1, 1, config.horizon, *self.world.noise_shape)
        like = search.scorer.state.latent
        world_noise = torch.randn(shape, generator=search.generator, dtype=like.dtype, device=like.device)
        total = max(1, config.num_rounds * config.full_steps - 1)
        for index in range(config.num_rounds):
            rate = falling_rate(config.learning_rate, 0.05, index * config.full_steps / total)
            plans, lifted = self._lifted_phase(search, plans, lifted, world_noise, rate, first=index == 0)
            for step in range(config.full_steps):
                found = None if search.done or search.status else search.gradients(plans, "autograd", 0.0)
                if found is None:
                    break
                climb, full = full.step(found[1], falling_rate(config.learning_rate, 0.05, (index * config.full_steps + step) / total))
                plans = (plans + climb).clamp(-1, 1)
            search.record()
            if search.done or search.status:
                break
        scores = search.score(plans)
        search.record()
        return search.finish(elites=best_of(plans, scores, num_starts)[0])

    def _lifted_phase(
        self, search: Search, plans: Tensor, moments: Moments, noise: Tensor, rate: float, *, first: bool
    ) -> tuple[Tensor, Moments]:
        """The plans after steps on actions and lifted states; as they were if the budget is too small for any."""
        config = self.config
        num_segments = config.num_decisions // config.segment
        per_frame = search.frame_cost // config.num_samples
        price = (FORWARD + BACKWARD) * plans.shape[1] * per_frame + plans.shape[1] * (num_segments - 1)
        if num_segments == 1 or not search.pays_for(2 * price):
            return plans, moments
        states = self._first_states(search, plans, noise, from_goal=first)
        state_moments = Moments.none(states)
        for _ in range(config.lifted_steps):
            if not search.pays_for(price):
                break
            with torch.enable_grad():
                actions, lifted = plans.detach().requires_grad_(), states.detach().requires_grad_()
                gain, slopes = self._gain(search, actions, lifted, noise), (None, None)
                if gain is not None:
                    gain = torch.where(gain.isfinite(), gain, 0).sum()
                    slopes = torch.autograd.grad(gain, [actions, lifted], allow_unused=True)
            search.pay(price if gain is not None else plans.shape[1] * per_frame // num_segments)
            if slopes[0] is None:
                search.status, search.message = "no gradient", "the world's latents do not depend differentiably on the actions"
                return plans, moments
            search.num_evaluations += plans.shape[1]
            slopes = [torch.zeros_like(x) if s is None else s.nan_to_num(0, 0, 0) for s, x in zip(slopes, (actions, lifted), strict=True)]
            climb, moments = moments.step(slopes[0], rate)
            plans = (plans + climb).clamp(-1, 1)
            climb, state_moments = state_moments.step(slopes[1], config.state_rate)
            drawn = torch.randn((plans.shape[1], *states.shape[1:]), generator=search.generator, dtype=states.dtype, device=states.device)
            states = states + climb + config.state_noise * drawn.repeat(len(plans), 1, 1, 1)
        return plans, moments

    def _first_states(self, search: Search, plans: Tensor, noise: Tensor, *, from_goal: bool) -> Tensor:
        """Lifted states (P * N, n - 1, S, C): on the line to the goal, or on the plans' own rollouts."""
        start, count = search.scorer.state, plans.shape[1]
        first = start.latent.to(plans)
        num_segments = self.config.num_decisions // self.config.segment
        if self.goal is not None and from_goal:
            share = torch.arange(1, num_segments, dtype=first.dtype, device=first.device) / num_segments
            line = torch.lerp(first[:, None], self.goal.to(first)[None, None], share[None, :, None, None])
            return line.repeat_interleave(count, 0)
        search.pay(count * search.frame_cost // self.config.num_samples)
        rollout = self.world.rollout(self._rows(start, count), search.scorer.actions(plans).flatten(0, 1), noise=noise)
        frames = self.config.segment * self.config.action_repeat
        return rollout.latents[0, :, frames - 1 : -1 : frames].to(plans)

    def _gain(self, search: Search, plans: Tensor, states: Tensor, noise: Tensor) -> Tensor | None:
        """(P * N,) what is to be maximised, from all segments rolled out side by side; None if they do not depend on the actions."""
        config, count = self.config, plans.shape[1]
        num_segments, frames = config.num_decisions // config.segment, config.segment * config.action_repeat
        actions = search.scorer.actions(plans).flatten(0, 1).unflatten(1, (num_segments, frames))
        first = self.world.rollout(self._rows(search.scorer.state, count), actions[:, 0], noise=noise[:, :, :frames])
        if not first.latents.requires_grad:
            return None
        assert isinstance(self.world, RestartableWorld)
        with torch.no_grad():
            later = self.world.restart(states.flatten(0, 1))
        spread = noise[0, 0, frames:].unflatten(0, (num_segments - 1, frames)).repeat(len(states), *[1] * (noise.ndim - 2))[None]
        rest = self.world.rollout(later, actions[:, 1:].flatten(0, 1), noise=spread)
        latents = torch.cat([first.latents[0, :, None], rest.latents[0].unflatten(0, (-1, num_segments - 1))], dim=1)

        def joined(one: Tensor, others: Tensor) -> Tensor:
            return torch.cat([one[0, :, None], others[0].unflatten(0, (-1, num_segments - 1))], dim=1).flatten(1, 2)[None]

        heads = LazyHeads([first.heads, rest.heads], joined)
        path = latents.flatten(1, 2)[None]
        end = State(latent=path[0, :, -1], position=search.scorer.state.position + config.horizon)
        rollout = Rollout(latents=path, actions=actions.flatten(1, 2), state=end, heads=heads)
        ends = latents[:, :, -1]
        gap = (ends[:, :-1] - states).square().mean((-2, -1)).sum(1)
        gain = judged(search.scorer.objective, rollout, len(plans)) - config.consistency * gap
        if self.goal is not None:
            gain = gain - config.goal_weight * (ends - self.goal.to(ends)).square().mean((-2, -1)).sum(1)
        return gain

    def _rows(self, state: State, count: int) -> State:
        return state if state.batch_size == 1 else self.world.fork(state, count)
