"""What the policies of `policy_in_imagination.py` see and begin from: probes of latents, views of one frame or two, clones of recordings.

Shapes: E episodes, T frames of the world, W frames that a view is of, S tokens, C channels, K numbers that a probe reads.
"""

from collections.abc import Callable
from typing import Any

import torch
from policy_tasks import Recordings
from torch import Tensor, nn

from worldline.control.actor import Actor, ActorConfig
from worldline.interfaces import ActionSpec
from worldline.world import World

PROMPT = 4
Extra = tuple[Tensor, Tensor]
"""Latents (N, S, C) and what is known of them (N, K)."""


class Probe(nn.Module):
    """What the reward needs (..., K), from latents (..., S, C)."""

    mean: Tensor
    std: Tensor

    middle: Tensor

    def __init__(self, known: Recordings, scale: float) -> None:
        super().__init__()
        self.register_buffer("mean", known.latents.mean((0, 1)))
        self.register_buffer("std", known.latents.std((0, 1)).clamp_min(1e-3))
        self.register_buffer("middle", known.known.mean((0, 1)))
        self.scale = scale
        size, outputs = known.latents[0, 0].numel(), known.known.shape[-1]
        self.network = nn.Sequential(nn.Linear(size, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, outputs))

    def forward(self, latents: Tensor) -> Tensor:
        return self.middle + self.scale * self.network(((latents - self.mean) / self.std).flatten(-2))


class PointProbe(nn.Module):
    """The same, where the K numbers are points x, y: every token says where each point is and how much it should count.

    One small network for all tokens learns once what `Probe` must learn for each: fitted on 400 episodes of reacher, it is half as far off
    in others."""

    mean: Tensor
    std: Tensor
    middle: Tensor

    def __init__(self, known: Recordings, scale: float, *, up: int, width: int = 128) -> None:
        super().__init__()
        tokens, channels = known.latents.shape[2:]
        self.register_buffer("mean", known.latents.mean((0, 1)))
        self.register_buffer("std", known.latents.std((0, 1)).clamp_min(1e-3))
        self.register_buffer("middle", known.known.mean((0, 1)))
        self.scale = scale
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.first, self.second, self.others = nn.Linear(channels, width), nn.Linear(width, width), nn.Linear(width, width)
        self.last = nn.Linear(width, 3 * known.known.shape[-1] // 2)
        # Where tokens are in the picture, roughly: from nothing it learns half as well. y is up or down, and scale half of the picture.
        side = (torch.arange(round(tokens**0.5)) + 0.5) / round(tokens**0.5) * 2 - 1
        self.where = nn.Parameter(torch.stack(torch.meshgrid(-up * side, side, indexing="ij")[::-1], -1).reshape(tokens, 1, 2))

    def forward(self, latents: Tensor) -> Tensor:
        silu = nn.functional.silu
        hidden = silu(self.first((latents - self.mean) / self.std) + self.place)
        hidden = silu(self.second(hidden) + self.others(hidden.mean(-2, keepdim=True)))
        said = self.last(hidden).unflatten(-1, (-1, 3))  # (..., S, K / 2, 3)
        counts = said[..., :1].softmax(-3)
        return self.middle + self.scale * (counts * (said[..., 1:] + self.where)).sum(-3).flatten(-2)


def fit(
    parameters: Any, loss: Callable[[Tensor, torch.Generator], Tensor], count: int, *, updates: int, seed: int, batch: int = 256
) -> None:
    """Adam on batches of `count` rows, its rate falling to zero."""
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(updates):
        value = loss(torch.randint(count, (batch,), generator=generator), generator)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


def fit_probe(known: Recordings, scale: float, *, updates: int, points: int = 0, seed: int = 0, extra: Extra | None = None) -> nn.Module:
    """Of the recordings' latents, and of others whose truth is known if given. Of points if `points` is 1, y upwards, or -1, downwards."""
    torch.manual_seed(seed)
    probe = PointProbe(known, scale, up=points) if points else Probe(known, scale)
    latents, wanted = known.latents.flatten(0, 1), known.known.flatten(0, 1)
    if extra is not None:
        latents, wanted = torch.cat([latents, extra[0]]), torch.cat([wanted, extra[1]])

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        # A little noise, since imagined latents are a little off.
        seen = latents[rows] + 0.05 * torch.randn(len(rows), *latents.shape[1:], generator=generator)
        return ((probe(seen) - wanted[rows]) / scale).square().sum(-1).mean()

    fit(probe.parameters(), loss, len(latents), updates=updates, seed=seed, batch=128 if points else 256)
    return probe.eval().requires_grad_(False)


@torch.no_grad()
def imagine_recorded(known: Recordings, world: World, frames: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What the world imagines under the recorded actions from every episode, latents (E, frames, S, C), and the truth of the same frames
    (E, frames, K); from the first prompt or, in every second episode, the last that leaves room."""
    latents, truth = [], []
    for first in range(0, len(known.latents), 64):
        some = torch.arange(first, min(first + 64, len(known.latents)))
        begin = torch.where(some % 2 == 0, 0, known.latents.shape[1] - PROMPT - frames)[:, None]
        seen, done, asked = (begin + torch.arange(*part) for part in ((PROMPT,), (PROMPT - 1,), (PROMPT, PROMPT + frames)))
        row = some[:, None]
        state = world.prompt_latents(known.latents[row, seen], known.actions[row, done])
        latents.append(world.rollout(state, known.actions[row, asked - 1], seed=seed + first).latents[0])
        truth.append(known.known[row, asked])
    return torch.cat(latents), torch.cat(truth)


def views(latents: Tensor, read: Callable[[Tensor], Tensor] | None, frames: int) -> Tensor:
    """What `RecentFrames` shows at each of the recorded frames (E, T, S', C'), (E, T - W + 1, W * S, C)."""
    seen = read(latents) if read else latents
    return seen.unfold(1, frames, 1).movedim(-1, 2).flatten(2, 3)


def new_actor(seen: Tensor, spec: ActionSpec, seed: int, std: float) -> Actor:
    torch.manual_seed(seed)
    flat = seen.flatten(0, 1)
    return Actor(tuple(flat.shape[1:]), spec, ActorConfig(width=256, initial_std=std), mean=flat.mean(0), std=flat.std(0))


def clone_behaviour(seen: Tensor, actions: Tensor, actor: Actor, seed: int, *, updates: int, relative: bool) -> Actor:
    """The actor, its mean what was done (E, T, A) at what was seen (E, T, S, C); how far it strays is set, not learned.

    What is seen has noise of 0.1, or of 0.15 of its own deviation where `relative`."""
    scale = 0.15 * actor.std if relative else torch.full_like(actor.std, 0.1)
    seen, done = seen.flatten(0, 1), actor.action_spec.normalize(actions.flatten(0, 1))

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        noisy = seen[rows] + scale * torch.randn(len(rows), *seen.shape[1:], generator=generator)
        return (actor.means(noisy) - done[rows]).square().sum(-1).mean()

    fit(actor.network.parameters(), loss, len(seen), updates=updates, seed=seed)
    return actor
