"""What a tree's leaves say about where good plans are, for a search by samples alone.

May import: torch and files of `control`. Refuses to know: worlds, objectives.

Shapes: L leaves, N plans, D decisions, A action components.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from worldline.control.search import Search
from worldline.control.soft_tree.growth import Growth, Proposal
from worldline.control.soft_tree.selection import best_below, chosen_nodes
from worldline.control.soft_tree.tree import Tree


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """A Gaussian over whole plans, refitted to the leaves' posterior as the cross-entropy method does to its elites (Rubinstein 1999).

    The mean follows the leaves at once, the variance only halfway: in a simulator whose best plans lie at the bounds, one that follows at
    once freezes the search before it is there (`docs/log.md` has the figures).

    Attributes:
        mean: (D, A), in [-1, 1].
        std: (D, A).
    """

    mean: Tensor
    std: Tensor

    def refitted(self, plans: Tensor, weights: Tensor, *, min_std: float) -> "Belief":
        """Moved towards the mean and the variance of plans (L, D, A) with weights (L,) that sum to 1."""
        mean = torch.einsum("l,lda->da", weights, plans)
        variance = torch.einsum("l,lda->da", weights, (plans - mean).square())
        std = torch.lerp(variance, self.std.square(), _VARIANCE_KEPT).sqrt().clamp_min(min_std)
        return Belief(mean=torch.lerp(mean, self.mean, _MEAN_KEPT), std=std)

    def around(self, centers: Tensor, noise: Tensor, least_std: Tensor | float = 0.0) -> Proposal:
        """Plans (N, D, A) around their centers, as wide as the belief or `least_std` (N, 1, 1), from noise (N, D, A) of unit variance."""
        std = self.std.expand_as(noise).clamp_min(torch.as_tensor(least_std).to(self.std))
        return Proposal(actions=(centers + std * noise).clamp(-1, 1), mean=centers.contiguous(), std=std.contiguous())


def effective_weights(scores: Tensor, count: float) -> tuple[Tensor, float]:
    """Softmax weights (L,) of scores (L,) of which `count` are effective, 1 / sum w^2 (Kish 1965), and the temperature that gives them.

    A temperature in units of the objective would fit one objective, and a share of the distance between scores one stage of the search.
    `count` is kept between one and all of the finite scores.
    """
    finite = scores.isfinite()
    total = int(finite.sum())
    if total == 0:
        return torch.zeros_like(scores), 1.0
    below = torch.where(finite, scores - scores[finite].max(), -torch.inf)
    spread = -float(below[finite].min())
    if spread == 0:
        return finite.to(scores) / total, 1.0
    target = min(max(count, 1.0), 0.99 * total)
    low, high = 1e-9 * spread, 1e3 * spread
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        effective = 1 / float(torch.softmax(below / middle, 0).square().sum())
        low, high = (middle, high) if effective < target else (low, middle)
    return torch.softmax(below / high, 0), high


def grown_by_samples(
    search: Search,
    growth: Growth,
    tree: Tree,
    belief: Belief,
    *,
    width: int,
    branching: int,
    whole_share: float,
    wide_share: float,
    wide_std: float,
    exploration: float,
    reserve: int,
) -> Tree:
    """The tree with up to `width` x `branching` new branches, as many as the budget pays for beside a reserve.

    A share of them are whole plans: the belief's mean, and others around it, of which a share is drawn `wide_std` wide at least. The
    rest go on from the nodes of good paths, `branching` from each, around the best plan behind it: frames that they share are not imagined
    again.
    """
    plans, best, depths = tree.plans(), best_below(tree), tree.depth
    whole = width * branching if depths == 1 else max(1, round(whole_share * width * branching))
    chosen = {0: torch.zeros(1, dtype=torch.long, device=plans.device)}
    if nodes := round(width - whole / branching):
        chosen |= chosen_nodes(tree, nodes, exploration=exploration, generator=search.generator, first_depth=1)
    for depth in sorted(chosen):
        cut = depth * growth.chunk
        paid = search.pays_for(growth.cost(plans.shape[1] - cut), reserve=reserve)
        parents = chosen[depth].repeat_interleave(branching if depth else whole)[:paid]
        if not len(parents):
            continue
        noise, least_std = search.draw(len(parents))[0], plans.new_zeros(len(parents), 1, 1)
        if depth == 0:
            noise[0] = 0  # the mean itself
            least_std[1 : 1 + round(wide_share * len(parents))] = wide_std
        centers = plans[best[depth][parents]] if depth else belief.mean.expand_as(noise)
        proposal = belief.around(centers, noise, least_std)
        after = {item.name: getattr(proposal, item.name)[:, cut:] for item in fields(proposal)}
        grown = growth.grown(tree, depth, parents, Proposal(**after))
        assert isinstance(grown, Tree)
        tree = grown
    return tree


_MEAN_KEPT, _VARIANCE_KEPT = 0.1, 0.6
_HALVINGS = 40
