"""Where a tree grows, and what is tried there.

May import: torch and files of `control`. Refuses to know: worlds, objectives, budgets.

Shapes: N nodes or plans, L leaves, D decisions, A action components.
"""

import torch
from torch import Tensor

from worldline.control.soft_tree.growth import Proposal
from worldline.control.soft_tree.tree import Tree


def chosen_nodes(tree: Tree, count: int, *, exploration: float, generator: torch.Generator, first_depth: int = 0) -> dict[int, Tensor]:
    """The nodes to expand: by depth, 0 the root, the nodes (N,) of the level above that depth; `count` in all, or as many as there are.

    Gumbel-top-k (Kool et al. 2019) on log p(n) + exploration / sqrt(1 + children of n), p(n) the posterior of passing node n: a sample
    without replacement of nodes that matter, which at temperature 0 is best-first. Nodes above `first_depth` are left out.
    """
    keys, places = [], []
    above = [tree.scores.new_zeros(1), *tree.log_posterior()[:-1]]
    for depth, (level, log_passing) in enumerate(zip(tree.levels, above, strict=True)):
        if depth < first_depth:
            continue
        children = torch.bincount(level.parent, minlength=len(log_passing)).to(log_passing)
        keys.append(log_passing + exploration / (1 + children).sqrt())
        places += [(depth, node) for node in range(len(log_passing))]
    if not keys:
        return {}
    key = torch.cat(keys)
    uniform = torch.rand(key.shape, generator=generator, dtype=torch.float64, device=key.device).clamp(1e-12, 1 - 1e-12)
    key = key + -(-uniform.log()).log().to(key)
    picked = [places[index] for index in key.topk(min(count, len(key))).indices.tolist() if key[index] > -torch.inf]
    chosen: dict[int, list[int]] = {}
    for depth, node in picked:
        chosen.setdefault(depth, []).append(node)
    return {depth: torch.tensor(nodes, device=key.device) for depth, nodes in chosen.items()}


def best_below(tree: Tree) -> list[Tensor]:
    """For each depth, 0 the root, the best leaf (N,) behind every node of the level above it."""
    nodes = [torch.zeros_like(tree.paths()[0]), *tree.paths()[:-1]]
    order = tree.scores.argsort()
    found = []
    for index in nodes:
        best = torch.zeros(int(index.max()) + 1, dtype=torch.long, device=index.device)
        for leaf in order.tolist():  # the best is written last
            best[index[leaf]] = leaf
        found.append(best)
    return found


def proposed(
    plans: Tensor,
    posterior: Tensor,
    centers: Tensor,
    noise: Tensor,
    start: Tensor,
    *,
    min_std: float,
    initial_std: float,
    generator: torch.Generator,
) -> Proposal:
    """Plans to try, one per center: as the leaves' posterior varies, or anew.

    Half of them, by chance, vary by a sample of the leaves' posterior covariance, sum over leaves of sqrt(p) xi (plan - mean), which knows
    which actions go together and has the rank of a few leaves; the others by its deviations, each component apart. Every second has the
    posterior's mean for a center. One in sixteen is where the search began plus the noise of first proposals: no region is given up.

    Args:
        plans: (L, D, A) of the leaves.
        posterior: (L,) of the leaves.
        centers: (N, D, A) the best plan behind each node to expand.
        noise: (N, D, A) of first proposals, with their deviation.
        start: (D, A) where the search began.
        min_std: floor of the deviations.
        initial_std: deviation of `noise`.
        generator: of the samples.
    """
    count = len(centers)
    mean = torch.einsum("l,lda->da", posterior, plans)
    offsets = plans - mean
    std = torch.einsum("l,lda->da", posterior, offsets.square()).sqrt().clamp_min(min_std)
    weights = torch.randn((count, len(plans)), generator=generator, dtype=plans.dtype, device=plans.device) * posterior.sqrt()
    white = torch.randn(centers.shape, generator=generator, dtype=plans.dtype, device=plans.device)
    together = torch.einsum("nl,lda->nda", weights, offsets) + min_std * white
    apart = torch.rand((count, 1, 1), generator=generator, dtype=plans.dtype, device=plans.device) < _APART
    varied = torch.where(apart, std * white, together)
    index = torch.arange(count, device=plans.device)
    around = torch.where((index % 2 == 1)[:, None, None], mean, centers)
    anew = (index % _ANEW == _ANEW - 1)[:, None, None]
    around = torch.where(anew, start, around)
    actions = (around + torch.where(anew, noise, varied)).clamp(-1, 1)
    return Proposal(actions=actions, mean=around.contiguous(), std=torch.where(anew, torch.full_like(std, initial_std), std))


_APART = 0.5  # share of proposals whose components vary on their own
_ANEW = 16  # one in so many starts afresh
