"""SoftTree: a continuous, differentiable analogue of Monte Carlo tree search.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world or an objective works.

Shapes: N nodes or plans, D decisions, h decisions per chunk, A action components, M samples, T frames.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worldline.control.candidates import Scorer, widened
from worldline.control.gradient import falling_rate
from worldline.control.noise import Noise
from worldline.control.planner import SearchPlanner
from worldline.control.search import FORWARD, Search
from worldline.control.soft_tree.belief import Belief, effective_weights, grown_by_samples
from worldline.control.soft_tree.config import SoftTreeConfig
from worldline.control.soft_tree.growth import Growth, Proposal
from worldline.control.soft_tree.selection import best_below, chosen_nodes, proposed
from worldline.control.soft_tree.tree import Tree
from worldline.interfaces import Objective, Plan, Policy, Rollout, State, World, evaluations_per_frame


class SoftTree(SearchPlanner[SoftTreeConfig]):
    """Planner by a tree of action chunks whose root value is differentiable in every edge.

    Each round backs the leaves' scores up softly (see `Tree`), moves the edges of the best leaves up the gradient of the root's value, and
    grows new branches at the nodes that Gumbel-top-k (Kool et al. 2019; Gumbel MuZero, Danihelka et al. 2022) picks from the posterior of
    passing them. A branch is a whole plan from its node on: the first chunk is the new edge, the rest what follows it unless a later branch
    replaces it, so that every leaf is as far in the future as any other. Its actions are drawn around the best plan below the node and the
    mean of all, with the covariance that the leaves' posterior has. A search by samples alone draws half of them as a cross-entropy search
    does, whole plans around a mean that follows the posterior (`Belief`), and half behind the nodes of the best paths, where a branch costs
    only the frames that are left. At last a few finalists, among them the best plan that no gradient has
    moved and the posterior's mean, are scored with fresh noise and by the verifying world, and the best of these acts: a refined plan is
    taken only where it still wins. With one level and no refinement this is MPPI, with one leaf gradient ascent, at temperature 0
    best-first search.

    Nearest in the literature: VG-UCT (Lee et al. 2020), AGMCTS (arXiv 2503.12181), Monte Carlo Tree Diffusion (arXiv 2502.07202).

    Args:
        world: rolls edges out; one that can `select` rows of a state shares what paths have in common.
        objective: as for all planners.
        config: settings.
        noise: as for all planners.
        policy: as for all planners; `Tree.targets` is what to train it on.
        value: of the end of a path, (N,) of a rollout, added to its score: what is still to come after the horizon.
        verify_world: judges the finalists, for example `world.with_sampling(4)` where the search takes 1; the same world if None.
    """

    config_class = SoftTreeConfig

    def __init__(
        self,
        world: World,
        objective: Objective | Sequence[Objective],
        config: SoftTreeConfig | None = None,
        *,
        noise: Noise | None = None,
        policy: Policy | None = None,
        value: Callable[[Rollout], Tensor] | None = None,
        verify_world: World | None = None,
    ) -> None:
        super().__init__(world, objective, config, noise=noise, policy=policy)
        self.value = value
        self.verify_world = verify_world or world
        self._keep: Callable[[Tree], None] = _forget  # a tree holds all that was imagined for it: it stays where it is asked for alone

    def num_passes(self) -> int:
        """See `SearchPlanner.num_passes`; an upper limit, as if nothing were shared."""
        config = self.config
        grown = config.num_roots + (config.num_rounds - 1) * config.width * config.branching
        refined = config.refine_leaves * (self._passes_of_a_step() * config.refine_steps + 1) if config.refine_steps else 0
        return grown + config.num_rounds * refined + (config.num_finalists + _ALWAYS_FINALISTS) * config.verify_samples

    def grow(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> tuple[Plan, Tree | None]:
        """The plan from `state`, batch 1, and the tree that it was found in; None if the budget did not pay for one. See `plan`."""
        kept: list[Tree] = []
        self._keep = kept.append
        try:
            plan = self.plan(state, seed=seed, initial=initial)
        finally:
            self._keep = _forget
        return plan, kept[-1] if kept else None

    def plan_many(
        self, state: State, *, seed: int | None = None, initial: Tensor | None = None, max_frame_evaluations: int | None = None
    ) -> list[Plan]:
        """One plan per row of `state`, one tree after the other. See `SearchPlanner.plan_many`.

        Raises:
            ValueError: as `plan` does, or if the world cannot select rows of a state and there are several.
        """
        if state.batch_size == 1:
            return super().plan_many(state, seed=seed, initial=initial, max_frame_evaluations=max_frame_evaluations)
        return self._one_by_one(state, seed=seed, initial=initial, max_frame_evaluations=max_frame_evaluations)

    def search(self, search: Search) -> list[Plan]:
        """Grow a tree, verify the finalists, and return the best."""
        config, scorer = self.config, search.scorer
        samples = (config.num_samples, 1, config.horizon, *self.world.noise_shape)
        like = scorer.state.latent
        noise = torch.randn(samples, generator=search.generator, dtype=like.dtype, device=like.device)
        growth = Growth(search, config.chunk, noise, self.value, cut=config.gradient == "chunk")
        reserve = min(self._verification_cost(search), int(search.budget // 4) if math.isfinite(search.budget) else 2**62)
        tree = self._rooted(search, growth, reserve)
        if tree is not None:
            self._keep(tree)
        if tree is None or not tree.scores.isfinite().any():
            return search.finish()
        unrefined = search.best, search.best_score
        belief = Belief(mean=search.start[0], std=torch.full_like(search.start[0], config.initial_std))
        done = 0
        for index in range(config.num_rounds):
            if config.refine_steps and search.status is None:
                tree, done = self._refined(search, growth, tree, done, reserve)
            search.record()
            if index + 1 == config.num_rounds or search.done:
                break
            if config.refine_steps:
                tree = self._expanded(search, growth, tree, reserve)
            else:
                belief = belief.refitted(tree.plans(), self._weights(tree)[0], min_std=config.min_std)
                counts = {"width": config.width, "branching": config.branching, "whole_share": config.whole_share}
                wide = {"wide_share": config.wide_share, "wide_std": config.wide_std}
                tree = grown_by_samples(search, growth, tree, belief, **counts, **wide, exploration=config.exploration, reserve=reserve)
            fresh = tree.scores.masked_fill(tree.refined(), -math.inf)
            if fresh.max() > unrefined[1]:
                unrefined = tree.plans()[None, fresh.argmax()], fresh.max()[None]
            if len(tree.scores) > config.max_leaves:
                tree = tree.pruned(_best_leaves(tree, config.max_leaves))
            tree = self._tempered(tree)
        self._keep(tree)
        return self._verified(search, tree, unrefined[0])

    def _rooted(self, search: Search, growth: Growth, reserve: int) -> Tree | None:
        """The tree of the first plans: those that the search starts with, and noise around the first of them."""
        config = self.config
        count = min(config.num_roots, search.pays_for(growth.cost(config.num_decisions), reserve=reserve))
        count = max(count, min(1, search.affordable()))
        if count < 1:
            return None
        noise = config.initial_std * search.draw(count)
        noise[:, 0] = 0
        actions = search.with_seeds((search.start[:, None] + noise).clamp(-1, 1))[0]
        mean = search.start.expand_as(actions)
        proposal = Proposal(actions=actions, mean=mean, std=torch.full_like(actions, config.initial_std))
        levels = growth.grown(None, 0, torch.zeros(count, dtype=torch.long, device=actions.device), proposal)
        assert not isinstance(levels, Tree)
        tree = Tree(levels=levels, scores=actions.new_zeros(count), temperature=1.0, prior_std=config.prior_std, clip=config.clip)
        tree = replace(tree, scores=growth.scores(tree, torch.arange(count, device=actions.device)))
        search.num_evaluations += count
        search.remember(actions[None], tree.scores[None])
        return self._tempered(tree)

    def _tempered(self, tree: Tree) -> Tree:
        """The tree at the temperature that the config asks for."""
        config = self.config
        if config.temperature is not None:
            return replace(tree, temperature=config.temperature)
        if not config.refine_steps:
            return replace(tree, temperature=self._weights(tree)[1])
        finite = tree.scores[tree.scores.isfinite()]
        if not len(finite):
            return tree
        spread = float(finite.max() - finite.median())
        return replace(tree, temperature=max(config.temperature_share * spread, 1e-12 * (1 + float(finite.abs().max()))))

    def _weights(self, tree: Tree) -> tuple[Tensor, float]:
        """Weights (N,) of the leaves in a search by samples alone, and their temperature."""
        config = self.config
        if config.temperature is not None:
            return torch.softmax(tree.scores / config.temperature, 0), config.temperature
        return effective_weights(tree.scores, max(_FEW, config.effective_share * config.width * config.branching))

    def _refined(self, search: Search, growth: Growth, tree: Tree, done: int, reserve: int) -> tuple[Tree, int]:
        """The best leaves' tree after steps of Adam on all its edges, and the number of steps done so far in the search."""
        config = self.config
        tree = tree.pruned(_best_leaves(tree, config.refine_leaves))
        total = max(1, config.num_rounds * config.refine_steps - 1)
        start = [level.actions for level in tree.levels]
        price = (FORWARD + search.backward) * self._price(growth, tree)
        taken = 0
        for _ in range(config.refine_steps):
            if not search.pays_for(price * 4 // 3, reserve=reserve):
                break
            slopes = self._slopes(search, growth, tree)
            if slopes is None:
                return tree, done
            rate, levels = falling_rate(config.learning_rate, 0.05, (done + taken) / total), []
            for level, slope, center in zip(tree.levels, slopes, start, strict=True):
                climb, moments = level.moments.step(slope, rate)
                moved = torch.maximum(torch.minimum(level.actions + climb, center + config.max_move), center - config.max_move)
                levels.append(replace(level, actions=moved.clamp(-1, 1), moments=moments))
            tree = replace(tree, levels=tuple(levels))
            taken += 1
        if not taken:
            return tree, done
        tree = growth.evaluated(tree)
        search.num_evaluations += len(tree.scores)
        search.remember(tree.plans()[None], tree.scores[None])
        return self._tempered(tree), done + taken

    def _price(self, growth: Growth, tree: Tree) -> int:
        """Frame evaluations of imagining a whole tree once."""
        if not growth.selectable:
            return len(tree.scores) * growth.cost(self.config.num_decisions)
        return sum(len(level) for level in tree.levels) * growth.cost(self.config.chunk)

    def _slopes(self, search: Search, growth: Growth, tree: Tree) -> list[Tensor] | None:
        """The gradient of the root's soft value by every edge over the probability of passing it, which is the gradient of what follows.

        Without the division an edge would learn only where it already wins.
        """
        with torch.enable_grad():
            edges = [level.actions.detach().requires_grad_() for level in tree.levels]
            imagined = growth.evaluated(tree, edges)
            search.num_evaluations += len(imagined.scores)
            finite = imagined.scores.isfinite()
            if not finite.any():
                return [torch.zeros_like(actions) for actions in edges]
            if not (imagined.scores.requires_grad and imagined.levels[-1].latents.requires_grad):  # actions alone may have a cost
                search.status = "no gradient"
                search.message = "the scores do not depend differentiably on the actions; the tree was searched by samples alone"
                return None
            search.remember(imagined.plans()[None].detach(), imagined.scores[None].detach())
            worst = imagined.scores.detach()[finite].min()
            imagined = replace(imagined, scores=torch.where(finite, imagined.scores, worst))
            slopes = torch.autograd.grad(imagined.value(), edges, allow_unused=True)
        chances = [chance.detach().exp().clamp_min(_RARE)[:, None, None] for chance in imagined.log_posterior()]
        return [
            torch.zeros_like(actions) if slope is None else (slope / chance).nan_to_num(0, 0, 0)
            for slope, chance, actions in zip(slopes, chances, edges, strict=True)
        ]

    def _expanded(self, search: Search, growth: Growth, tree: Tree, reserve: int) -> Tree:
        """The tree with new branches at the nodes that were chosen, as many as the budget pays for."""
        config = self.config
        chosen = chosen_nodes(tree, config.width, exploration=config.exploration, generator=search.generator)
        best, plans, posterior = best_below(tree), tree.plans(), tree.log_posterior()[-1].exp()
        for depth, nodes in sorted(chosen.items()):
            parents = nodes.repeat_interleave(config.branching)
            parents = parents[: search.pays_for(growth.cost((config.depth - depth) * config.chunk), reserve=reserve)]
            if not len(parents):
                continue
            centers = plans[best[depth][parents]]
            noise = config.initial_std * search.draw(len(parents))[0]
            proposal = proposed(
                plans,
                posterior,
                centers,
                noise,
                search.start[0],
                min_std=config.min_std,
                generator=search.generator,
                initial_std=config.initial_std,
            )
            cut = depth * config.chunk
            grown = growth.grown(
                tree,
                depth,
                parents,
                Proposal(actions=proposal.actions[:, cut:], mean=proposal.mean[:, cut:], std=proposal.std[:, cut:]),
            )
            assert isinstance(grown, Tree)
            tree = grown
        return tree

    def _verification_cost(self, search: Search) -> int:
        config = self.config
        per_plan = search.frame_cost // config.num_samples * config.verify_samples
        return (
            (config.num_finalists + _ALWAYS_FINALISTS)
            * per_plan
            * evaluations_per_frame(self.verify_world)
            // evaluations_per_frame(self.world)
        )

    def _verified(self, search: Search, tree: Tree, unrefined: Tensor) -> list[Plan]:
        """The best of the finalists under fresh noise in the verifying world; without the budget for that, the best that was scored."""
        config, scorer = self.config, search.scorer
        order = _best_leaves(tree, config.num_finalists)
        mean = torch.einsum("n,nda->da", tree.log_posterior()[-1].exp(), tree.plans())
        finalists = torch.cat([unrefined, search.best, tree.plans()[order], mean[None]])
        cost = self._verification_cost(search) // (config.num_finalists + _ALWAYS_FINALISTS)
        count = min(len(finalists), search.pays_for(cost))
        if count < 1:
            return search.finish(elites=tree.plans()[order][None])
        seed = int(torch.randint(2**31, (), generator=search.generator, device=search.generator.device))
        judge = replace(scorer, world=self.verify_world, seed=seed, num_samples=config.verify_samples)
        scores = self._judge(judge, finalists[:count])
        search.num_evaluations += count
        search.pay(count * cost)
        best = scores.argmax()
        search.record(scores[best][None])
        return search.finish(finalists[best][None], scores[best][None], elites=tree.plans()[order][None])

    def _judge(self, judge: Scorer, plans: Tensor) -> Tensor:
        if self.value is None:
            return judge.score(plans)
        rollout = widened(judge.world.rollout(judge.state, judge.actions(plans), samples=judge.num_samples, seed=judge.seed))
        objective = judge.objective[0] if isinstance(judge.objective, Sequence) else judge.objective
        scores = (objective(rollout) + self.value(rollout)).to(plans)
        return scores.masked_fill(~scores.isfinite(), -math.inf)


def _best_leaves(tree: Tree, count: int) -> Tensor:
    """Leaves (N,) of the highest scores, the best first."""
    return tree.scores.topk(min(count, len(tree.scores))).indices


def _forget(tree: Tree) -> None:
    """A tree that nobody asked for."""


_ALWAYS_FINALISTS = 3  # the best plan that no gradient has moved, the best of all, and the posterior's mean
_FEW = 3.0  # leaves, at least, that a belief is fitted to
_RARE = 1e-12  # edges that are passed less often than this do not learn
