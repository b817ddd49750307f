"""Rolling a tree out in a world: every node is imagined once and shared by all that comes after it.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: which nodes are worth growing.

Shapes: as in `tree`; T frames, P paths.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from worldline.control.candidates import judged
from worldline.control.gradient import Moments
from worldline.control.heads import LazyHeads
from worldline.control.search import FORWARD, Search
from worldline.control.soft_tree.tree import Level, Tree
from worldline.interfaces import Rollout, SelectableWorld, State, evaluations_per_frame


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """Plans (N, D, A) from nodes of one level on, what they were drawn around and how widely; all (N, D, A), D the decisions left."""

    actions: Tensor
    mean: Tensor
    std: Tensor


class Growth:
    """Imagines the edges of a tree from one state, with one noise for all of them, and keeps the states at its nodes.

    In a world that cannot select rows of a state, each plan is rolled out from the root, so sharing saves nothing.

    Args:
        search: whose world, objective and budget are used.
        chunk: decisions per edge.
        noise: (M, 1, T, *noise_shape) of the world.
        value: of the end of each path, (N,) of a rollout, added to the objective's score; None for none.
        cut: whether gradients stop at the nodes; see `SoftTreeConfig.gradient`.
    """

    def __init__(
        self, search: Search, chunk: int, noise: Tensor, value: Callable[[Rollout], Tensor] | None = None, *, cut: bool = False
    ) -> None:
        self.search, self.chunk, self.noise, self.value, self.cut = search, chunk, noise, value, cut
        self.world = search.scorer.world
        self.stores: list[State] = []

    @property
    def selectable(self) -> bool:
        """Whether the world shares what paths have in common."""
        return isinstance(self.world, SelectableWorld)

    def cost(self, decisions: int) -> int:
        """Frame evaluations of one plan's last decisions."""
        total = self.search.config.num_decisions
        frames = (decisions if self.selectable else total) * self.search.config.action_repeat
        return frames * len(self.noise) * evaluations_per_frame(self.world)

    def grown(self, tree: Tree | None, depth: int, parents: Tensor, proposal: Proposal) -> Tree | tuple[Level, ...]:
        """The tree with new branches at level `depth`, one from each of `parents` (N,); without a tree, the levels of a new one."""
        levels = list(tree.levels) if tree is not None else []
        stores = levels[depth - 1].store[parents] if depth else torch.zeros_like(parents)
        leaves = []
        for store in stores.unique():
            index = (stores == store).nonzero()[:, 0]
            group = Proposal(**{item.name: getattr(proposal, item.name)[index] for item in fields(proposal)})
            new = self._branches(levels, depth, parents[index], group)
            for offset, level in enumerate(new):
                place = depth + offset
                levels[place : place + 1] = [levels[place].joined(level) if place < len(levels) else level]
            leaves.append(len(new[-1]))
        if tree is None:
            return tuple(levels)
        grown = replace(tree, levels=tuple(levels))
        fresh = torch.arange(len(tree.scores), len(tree.scores) + sum(leaves))
        scores = self.scores(grown, fresh)
        self.search.remember(grown.plans()[None, fresh], scores[None])
        self.search.num_evaluations += len(fresh)
        return replace(grown, scores=torch.cat([tree.scores, scores]))

    def evaluated(self, tree: Tree, variables: list[Tensor] | None = None) -> Tree:
        """The whole tree imagined again, each edge once, in one batch per level; with `variables`, (N, h, A) per level, as its actions.

        Records gradients where they are enabled, which is then paid for.
        """
        variables = [level.actions for level in tree.levels] if variables is None else variables
        levels, state, kept = [], None, []
        passes = FORWARD + self.search.backward if torch.is_grad_enabled() else FORWARD
        if not self.selectable:
            levels = self._whole_paths(tree, variables, passes)
        else:
            for depth, (level, actions) in enumerate(zip(tree.levels, variables, strict=True)):
                latents, heads, state = self._roll(state, None if depth == 0 else level.parent, actions, depth, passes)
                store = torch.full_like(level.parent, depth)
                row = torch.arange(len(level), device=store.device)
                levels.append(replace(level, actions=actions, latents=latents, heads=heads, store=store, row=row))
                kept.append(state)
                state = detached(state) if self.cut else state
        if not torch.is_grad_enabled():
            self.stores = kept
        imagined = replace(tree, levels=tuple(levels))
        return replace(imagined, scores=self.scores(imagined, torch.arange(len(tree.scores))))

    def scores(self, tree: Tree, leaves: Tensor) -> Tensor:
        """(N,) scores of the paths of some leaves; minus infinity where not finite."""
        nodes = [index[leaves] for index in tree.paths()]
        latents = torch.cat([level.latents[:, index] for level, index in zip(tree.levels, nodes, strict=True)], dim=2)

        def along(*readings: Tensor) -> Tensor:
            return torch.cat([value[:, index] for value, index in zip(readings, nodes, strict=True)], dim=2)

        heads = LazyHeads([level.heads for level in tree.levels], along)
        decided = torch.cat([level.actions[index] for level, index in zip(tree.levels, nodes, strict=True)], dim=1)
        end = State(latent=latents[:, :, -1].flatten(0, 1), position=self.search.scorer.state.position + latents.shape[2])
        rollout = Rollout(latents=latents, actions=self.search.scorer.actions(decided), state=end, heads=heads)
        scores = judged(self.search.scorer.objective, rollout, 1)
        if self.value is not None:
            scores = scores + self.value(rollout)
        return torch.where(scores.isfinite(), scores, -torch.inf).to(decided)

    def _branches(self, levels: list[Level], depth: int, parents: Tensor, proposal: Proposal) -> list[Level]:
        """New nodes from `depth` to the leaves. Indices count on from those that the levels have."""
        count, state, rows = len(parents), None, None
        if depth and self.selectable:
            state = self.stores[int(levels[depth - 1].store[parents[0]])]
            rows = levels[depth - 1].row[parents]
        chunks = {item.name: getattr(proposal, item.name).split(self.chunk, dim=1) for item in fields(proposal)}
        whole = None
        if not self.selectable:
            before = [levels[place].actions[index] for place, index in enumerate(ancestors(levels, depth, parents))]
            whole = self._roll(None, None, torch.cat([*before, *chunks["actions"]], dim=1), 0, FORWARD)
        new = []
        for offset, actions in enumerate(chunks["actions"]):
            place = depth + offset
            if whole is None:
                latents, heads, state = self._roll(state, rows, actions, place, FORWARD)
                rows = None
                self.stores.append(state)
            else:
                latents, heads = self._cut_out(whole, place)
            start = len(levels[place]) if place < len(levels) else 0
            new.append(
                Level(
                    parent=parents,
                    actions=actions,
                    mean=chunks["mean"][offset],
                    std=chunks["std"][offset],
                    moments=Moments.none(actions),
                    latents=latents,
                    heads=heads,
                    store=torch.full_like(parents, len(self.stores) - 1 if whole is None else -1),
                    row=torch.arange(count, device=parents.device),
                )
            )
            parents = torch.arange(start, start + count, device=parents.device)
        return new

    def _whole_paths(self, tree: Tree, variables: list[Tensor], passes: int) -> list[Level]:
        """The levels, imagined path by path; a node that several paths pass is read off the first of them."""
        nodes = tree.paths()
        plans = torch.cat([actions[index] for actions, index in zip(variables, nodes, strict=True)], dim=1)
        whole = self._roll(None, None, plans, 0, passes)
        levels = []
        for depth, (level, index) in enumerate(zip(tree.levels, nodes, strict=True)):
            first = torch.zeros_like(level.parent)
            first[index.flip(0)] = torch.arange(len(index), device=index.device).flip(0)
            latents, heads = self._cut_out(whole, depth)
            heads = LazyHeads([heads], lambda value, first=first: value[:, first])
            levels.append(replace(level, actions=variables[depth], latents=latents[:, first], heads=heads))
        return levels

    def _cut_out(self, whole: tuple[Tensor, Mapping[str, Tensor], State], depth: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        frames = self._frames(depth)
        return whole[0][:, :, frames], LazyHeads([whole[1]], lambda value: value[:, :, frames])

    def _frames(self, depth: int) -> slice:
        size = self.chunk * self.search.config.action_repeat
        return slice(depth * size, (depth + 1) * size)

    def _roll(
        self, state: State | None, rows: Tensor | None, decided: Tensor, depth: int, passes: int
    ) -> tuple[Tensor, Mapping[str, Tensor], State]:
        """Latents (M, N, F, S, C), heads and end of edges (N, h, A), from rows (N,) of a state with M samples of each node, or the root."""
        actions, samples, count = self.search.scorer.actions(decided), len(self.noise), len(decided)
        start = self._frames(depth).start
        noise = self.noise[:, :, start : start + actions.shape[1]]
        self.search.pay(passes * count * actions.shape[1] * samples * evaluations_per_frame(self.world))
        if state is None:
            rollout = self.world.rollout(self.search.scorer.state, actions, noise=noise)
            return rollout.latents, rollout.heads, rollout.state
        if rows is not None:
            above = state.batch_size // samples
            assert isinstance(self.world, SelectableWorld)
            state = self.world.select(state, (torch.arange(samples, device=rows.device)[:, None] * above + rows).flatten())
        spread = noise.expand(samples, count, *noise.shape[2:]).flatten(0, 1)[None]
        rollout = self.world.rollout(state, actions.repeat(samples, 1, 1), noise=spread)
        heads = LazyHeads([rollout.heads], lambda value: value[0].unflatten(0, (samples, count)))
        return rollout.latents[0].unflatten(0, (samples, count)), heads, rollout.state


def ancestors(levels: list[Level], depth: int, nodes: Tensor) -> list[Tensor]:
    """The nodes (N,) of levels 0 to depth - 1 that lead to some nodes of level depth - 1."""
    found: list[Tensor] = []
    for place in reversed(range(depth)):
        found.append(nodes)
        nodes = levels[place].parent[nodes]
    return found[::-1]


def detached(value: Any) -> Any:
    """A state, or any part of one, that no gradient passes; tensors inside tuples, mappings and data classes are found."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple | list):
        return type(value)(detached(item) for item in value)
    if isinstance(value, Mapping):
        return LazyHeads([value], detached)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: detached(getattr(value, item.name)) for item in fields(value)})
    return value
