"""A tree of action chunks: soft values at its nodes, path posteriors on its edges, both differentiable in every edge.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: worlds, objectives, how the tree was grown.

Shapes: N_e nodes of level e, h decisions per chunk, A action components, M samples, F frames per chunk, S tokens, C channels. The root is
above level 0; an edge and the node that it leads to share an index. The nodes of the last level are the leaves.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from worldline.control.gradient import Moments
from worldline.control.heads import JoinedHeads, LazyHeads
from worldline.interfaces import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """All nodes as many chunks away from the root. A value: growing and pruning make new ones.

    Attributes:
        parent: (N,) nodes of the level before; zeros, the root, at the first.
        actions: (N, h, A) of the edge that leads to each node, in [-1, 1]: the variables of the tree.
        mean: (N, h, A) what the actions were proposed around, and `std` (N, h, A) how widely; for importance weights.
        std: see `mean`.
        moments: what Adam remembers of each edge's gradients; the count says how often they have moved it.
        latents: (M, N, F, S, C) what the edge's actions lead to.
        heads: what the world's heads read there, each (M, N, F, ...).
        store: (N,) which of the kept states the node's is in, and `row` (N,) where in it; -1 if it is not kept.
        row: see `store`.
    """

    parent: Tensor
    actions: Tensor
    mean: Tensor
    std: Tensor
    moments: Moments
    latents: Tensor
    store: Tensor
    row: Tensor
    heads: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.parent)

    def at(self, index: Tensor) -> "Level":
        """Some of the nodes."""
        return Level(
            **{name: getattr(self, name)[index] for name in _ROWS},
            moments=Moments(**{item.name: getattr(self.moments, item.name)[index] for item in fields(Moments)}),
            latents=self.latents[:, index],
            heads=LazyHeads([self.heads], lambda value: value[:, index]),
        )

    def joined(self, other: "Level") -> "Level":
        """These nodes and then the others'."""
        pairs = {item.name: [getattr(level.moments, item.name) for level in (self, other)] for item in fields(Moments)}
        return Level(
            **{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in _ROWS},
            moments=Moments(**{name: torch.cat(pair) for name, pair in pairs.items()}),
            latents=torch.cat([self.latents, other.latents], dim=1),
            heads=JoinedHeads(self.heads, other.heads),
        )


_ROWS = ("parent", "actions", "mean", "std", "store", "row")


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeTargets:
    """What a policy and a value head can learn from one search.

    Attributes:
        actions: (N, h, A) first chunks, in [-1, 1], and `weights` (N,) their posterior, which sums to 1: a policy maximises the weighted
            log-likelihood of these actions.
        weights: see `actions`.
        value: soft value of the root, what a value head regresses on.
    """

    actions: Tensor
    weights: Tensor
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A tree whose leaves are scored.

    Soft values (entropy-regularised, Todorov 2009; Levine 2018; softmax backups in trees: TreeQN, arXiv 1710.11417; DTS, arXiv 2506.20701):

        V(n) = T log sum over children i of w[i] exp(V(i) / T) / sum over children of w[i],      V(leaf) = its score

    with importance weights w = prior density / proposal density, so that V estimates an expectation under the prior however children were
    proposed. T to 0 gives the best leaf, T to infinity the mean. A score is that of the whole path, so what earlier chunks earned is in it,
    which adds the same to all children of a node and changes no posterior. With p the probability of passing an edge,
    the derivative of the root's value by an edge is sum over leaves behind it of p(leaf) d score(leaf) / d edge.

    Attributes:
        levels: first chunks first.
        scores: (N,) of the leaves; minus infinity where there is none.
        temperature: T, in units of the objective.
        prior_std: deviation of the normal prior over each component of a decision; None for the uniform one.
        clip: importance weights are kept within [1 / clip, clip] times their siblings' mean; None for no limit; 1 ignores them.
    """

    levels: tuple[Level, ...]
    scores: Tensor
    temperature: float
    prior_std: float | None = 1.0
    clip: float | None = 10.0

    @property
    def depth(self) -> int:
        """Number of levels."""
        return len(self.levels)

    def values(self) -> list[Tensor]:
        """Soft values of the root (1,) and then of each level's nodes (N,)."""
        found = [self.scores]
        for index in reversed(range(self.depth)):
            found.append(self._backed_up(index, found[-1]))
        return found[::-1]

    def value(self) -> Tensor:
        """Soft value of the root, a scalar; differentiable in whatever the scores are."""
        return self.values()[0][0]

    def log_posterior(self) -> list[Tensor]:
        """For each level the log-probability (N,) of the edges: softmax over siblings of V / T and log w, times that of the parent."""
        values, above, found = self.values(), self.scores.new_zeros(1), []
        for index, level in enumerate(self.levels):
            logit = values[index + 1] / self.temperature + self.log_weights(index)
            total = _log_sum_exp(logit, level.parent, len(above))[level.parent]
            above = above[level.parent] + torch.where(total.isfinite(), logit - total, logit - logit)
            found.append(above.nan_to_num(neginf=-torch.inf, nan=-torch.inf))
        return found

    def log_weights(self, index: int) -> Tensor:
        """log w (N,) of a level's edges: prior density over the mean of the siblings' proposal densities at the edge's actions.

        Weights are constants to gradients and are found anew wherever an action was moved.

        The mean makes them multiple-importance weights (balance heuristic, Veach & Guibas 1995) that stay right when an action is moved, as
        in AGMCTS (arXiv 2503.12181). Densities are normal with independent components.
        """
        level, count = self.levels[index], self._count_above(index)
        if self.clip == 1 or len(level) == count:  # an only child weighs 1
            return self.scores.new_zeros(len(level))
        order, actions = level.parent, level.actions.detach()
        siblings = order[:, None] == order[None, :]
        offsets = (actions[:, None] - level.mean[None]) / level.std[None]
        surprise = (offsets.square() / 2 + level.std[None].log()).flatten(2).sum(-1)
        proposal = (-surprise).masked_fill(~siblings, -torch.inf).logsumexp(1) - siblings.sum(1).log()
        prior = 0.0 if self.prior_std is None else -(actions / self.prior_std).square().flatten(1).sum(1) / 2
        log_weight = prior - proposal
        if self.clip is None:
            return log_weight
        limit = math.log(self.clip)
        siblings_of = torch.zeros(count, dtype=log_weight.dtype, device=order.device).index_add(0, order, torch.ones_like(log_weight))
        mean = _log_sum_exp(log_weight, order, count) - siblings_of.log()
        return (log_weight - mean[order]).clamp(-limit, limit)

    def paths(self) -> list[Tensor]:
        """For each level, the node (N,) that each leaf's path passes."""
        found = [torch.arange(len(self.levels[-1]), device=self.scores.device)]
        for level in reversed(self.levels[1:]):
            found.append(level.parent[found[-1]])
        return found[::-1]

    def plans(self) -> Tensor:
        """(N, D, A) the whole plan of each leaf, in [-1, 1]."""
        return torch.cat([level.actions[index] for level, index in zip(self.levels, self.paths(), strict=True)], dim=1)

    def refined(self) -> Tensor:
        """(N,) bool, whether any edge on the path of a leaf was moved by gradients."""
        flags = [level.moments.count[index] > 0 for level, index in zip(self.levels, self.paths(), strict=True)]
        return torch.stack(flags).any(0)

    def targets(self) -> TreeTargets:
        """What a policy and a value head learn from this search."""
        return TreeTargets(actions=self.levels[0].actions, weights=self.log_posterior()[0].exp(), value=float(self.value()))

    def plot(self, path: str | Path, world: World, *, max_leaves: int = 12) -> Path:
        """Draw the likeliest paths over imagined frames into an `.svg` or `.html` file; see `picture.draw_tree`.

        Raises:
            ValueError: for another ending.
        """
        from worldline.control.soft_tree.picture import write_tree  # noqa: PLC0415  (the picture knows the tree)

        return write_tree(path, self, world, max_leaves=max_leaves)

    def pruned(self, leaves: Tensor) -> "Tree":
        """The tree of some leaves (N,) and the nodes above them."""
        levels, keep = [], leaves
        for level in reversed(self.levels):
            kept = level.at(keep)
            keep, parent = kept.parent.unique(return_inverse=True)
            levels.append(replace(kept, parent=parent))
        return replace(self, levels=tuple(levels[::-1]), scores=self.scores[leaves])

    def _count_above(self, index: int) -> int:
        return len(self.levels[index - 1]) if index else 1

    def _backed_up(self, index: int, values: Tensor) -> Tensor:
        level, count, log_weights = self.levels[index], self._count_above(index), self.log_weights(index)
        mass = _log_sum_exp(values / self.temperature + log_weights, level.parent, count)
        return self.temperature * (mass - _log_sum_exp(log_weights, level.parent, count))


def _log_sum_exp(values: Tensor, group: Tensor, count: int) -> Tensor:
    """log sum exp (count,) of values (N,) by group (N,); minus infinity for a group with nothing finite, without a NaN in its gradient."""
    highest = values.detach().new_full((count,), -torch.inf).scatter_reduce(0, group, values.detach(), "amax")
    shift = torch.where(highest.isfinite(), highest, 0)
    total = values.new_zeros(count).index_add(0, group, (values - shift[group]).exp())
    return torch.where(total > 0, torch.where(total > 0, total, 1).log() + shift, -torch.inf)
