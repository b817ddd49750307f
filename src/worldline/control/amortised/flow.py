"""Plans as recordings show them, drawn by a small network that is told where to and how soon: proposals for a search.

A flow from noise to chunks of actions (Lipman et al. 2023, "Flow Matching for Generative Modeling"; chunks as in Chi et al. 2023,
"Diffusion Policy"), with goals from hindsight. What it draws is like what the world has seen, so that the world can be believed about it;
and different draws are different ways, of which a mean would be none.

May import: torch, nn, its siblings, `control.storage` and `worldline.interfaces`. Refuses to know: where latents come from, worlds.

Shapes: B batch, T frames of a chunk, S tokens, C channels, A action components, E width.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldline.control.amortised.hindsight import Hindsight
from worldline.control.amortised.resume import Fit
from worldline.control.storage import Kind, load_policy, save_policy
from worldline.interfaces import ActionSpec
from worldline.nn import FourierFeatures, Transformer, TransformerConfig

_KIND = Kind(name="flow policy", format="worldline-flow-policy-1")
_NUM_READERS, _NUM_BLOCKS, _OCTAVES = 2, 3, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowPolicyConfig:
    """Settings of `fit_flow_policy`.

    Attributes:
        horizon: frames of a chunk, T, and from a state to its goal at most.
        width: of the tokens, E, a multiple of 32.
        num_layers: of the network that looks at the two frames.
        flow_width: of the network that draws.
        flow_steps: from noise to a chunk.
        num_draws: noises per example and update; looking costs more than drawing.
        num_updates: optimiser steps.
        batch_size: examples of an update.
        learning_rate: of AdamW, rising for a twentieth of the updates, then falling to zero along a cosine.

    Raises:
        ValueError: if a number is not positive.
    """

    horizon: int
    width: int = 128
    num_layers: int = 4
    flow_width: int = 512
    flow_steps: int = 8
    num_draws: int = 4
    num_updates: int = 6000
    batch_size: int = 64
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        sizes = self.horizon, self.width, self.num_layers, self.flow_width, self.flow_steps
        if min(*sizes, self.num_draws, self.num_updates, self.batch_size) < 1 or not self.learning_rate > 0:
            raise ValueError(f"all numbers must be positive, got {self}")


class FlowPolicy(nn.Module):
    """Draws chunks of actions that may lead from one frame to another.

    Args:
        latent_shape: (S, C).
        action_spec: bounds of the actions.
        config: settings.
        mean: (C,), of latents; inputs are standardised.
        std: (C,), likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, latent_shape: tuple[int, int], action_spec: ActionSpec, config: FlowPolicyConfig, *, mean: Tensor, std: Tensor):
        super().__init__()
        self.action_spec, self.config = action_spec, config
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        (tokens, channels), width, chunk = latent_shape, config.width, config.horizon * action_spec.dim
        self.pair_in = nn.Linear(2 * channels, width)
        self.place = nn.Parameter(torch.randn(tokens, width) * 0.5)
        self.readers = nn.Parameter(torch.randn(_NUM_READERS, width) * 0.02)
        self.left_features = FourierFeatures(1, _OCTAVES)
        self.left_in = nn.Linear(self.left_features.out_dim, width)
        shape = TransformerConfig(width=width, num_layers=config.num_layers, head_dim=32, time_every=config.num_layers + 1)
        self.look = Transformer(shape)
        self.level_features = FourierFeatures(1, _OCTAVES)
        self.flow_in = nn.Linear(chunk + self.level_features.out_dim + _NUM_READERS * width, config.flow_width)
        self.flow = nn.ModuleList(_Residual(config.flow_width) for _ in range(_NUM_BLOCKS))
        self.flow_out = nn.Linear(config.flow_width, chunk)
        nn.init.zeros_(self.flow_out.weight)

    def seen(self, latents: Tensor, goals: Tensor, steps: Tensor) -> Tensor:
        """What is to be known of frames (B, S, C), goals (B, S, C) and the frames left (B,): (B, 2 E)."""
        pair = torch.cat([(one.to(self.mean) - self.mean) / self.std for one in (latents, goals)], dim=-1)
        left = self.left_in(self.left_features((steps.to(self.mean) / self.config.horizon)[:, None]))
        tokens = torch.cat([self.pair_in(pair) + self.place, self.readers + left[:, None]], dim=1)
        read = self.look(tokens[:, None])[0][:, 0, -_NUM_READERS:]
        return F.rms_norm(read, read.shape[-1:]).flatten(1)

    def velocity(self, chunks: Tensor, level: Tensor, seen: Tensor) -> Tensor:
        """Where to move noisy chunks (B, T A), in [-1, 1] where the data lies, at levels (B, 1), 0 noise to 1 clean: (B, T A)."""
        x = self.flow_in(torch.cat([chunks, self.level_features(2 * level - 1), seen], dim=-1))
        for block in self.flow:
            x = block(x)
        return self.flow_out(x)

    @torch.no_grad()
    def draw(self, latents: Tensor, goals: Tensor, steps: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Chunks (B, T, A), environment units, inside the bounds, one per row; what follows the goal's frame is of no meaning.

        Args:
            latents: (B, S, C), where it starts.
            goals: (B, S, C), where it is to lead.
            steps: (B,), the frames to the goal, from 1 to the horizon.
            generator: of the noise.
        """
        seen, count = self.seen(latents, goals, steps), self.config.flow_steps
        x = torch.randn(len(seen), self.flow_out.out_features, generator=generator).to(seen)
        for index in range(count):
            x = x + self.velocity(x, x.new_full((len(x), 1), index / count), seen) / count
        chunks = x.view(len(x), self.config.horizon, self.action_spec.dim).nan_to_num(0).clamp(-1, 1)
        return self.action_spec.clamp(self.action_spec.denormalize(chunks))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.up(F.rms_norm(x, x.shape[-1:]))))


def fit_flow_policy(
    latents: Sequence[Tensor],
    actions: Sequence[Tensor],
    action_spec: ActionSpec,
    config: FlowPolicyConfig,
    *,
    goals: Sequence[Tensor] | None = None,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda done, loss: None,
    checkpoint: str | Path | None = None,
) -> FlowPolicy:
    """Train a policy on episodes. Deterministic for one seed, also if it was broken off and goes on from a checkpoint.

    Args:
        latents: of each episode (T, S, C).
        actions: of each episode (T, A) or (T - 1, A), environment units; `actions[t]` was applied at frame t.
        action_spec: bounds of the actions.
        config: settings.
        goals: of each episode (T, S, C), its frames as goals are shown, such as still pictures of them; `latents` if None.
        seed: of weights and batches.
        progress: told after each update how many are done, and its loss: squared error of the velocity.
        checkpoint: a file that is written every 250 updates and gone on from by the same call; yours to remove. One of another call, or a
            damaged one, is replaced.

    Raises:
        ValueError: if there are no episodes of two frames, or shapes do not fit.
    """
    episodes = Hindsight(latents, actions, action_spec, goals)
    some = episodes.latents[:: max(1, len(episodes.latents) // 20_000)].float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mean, std = some.mean((0, 1)), some.std((0, 1)).clamp_min(1e-3)
        policy = FlowPolicy((some.shape[1], some.shape[2]), action_spec, config, mean=mean, std=std)
        optimizer = torch.optim.AdamW(policy.parameters(), lr=config.learning_rate, weight_decay=0.01)
        seen = f"{len(episodes.latents)} frames, {float(mean.sum())!r}, {float(episodes.actions.sum())!r}"
        settings = f"{config} {action_spec} {seed} {seen}"
        fit = Fit(path=None if checkpoint is None else Path(checkpoint), settings=settings)
        for update in range(fit.restore(policy, optimizer), config.num_updates):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _rate(update, config.num_updates)
            loss = _loss(policy, episodes)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            fit.keep(update + 1, policy, optimizer)
            progress(update + 1, float(loss.detach()))
    return policy.eval().requires_grad_(False)


def _rate(done: int, num_updates: int) -> float:
    rise = min(1.0, (done + 1) / max(1, num_updates // 20))
    return rise * 0.5 * (1 + math.cos(math.pi * done / num_updates))


def _loss(policy: FlowPolicy, episodes: Hindsight) -> Tensor:
    """Squared error of the velocity, over the actions up to the goal."""
    config, window = policy.config, torch.arange(policy.config.horizon)
    some = episodes.draw(config.batch_size, max_steps=config.horizon)
    chunk = episodes.actions[(some.places[:, None] + window).clamp_max(len(episodes.actions) - 1)]
    counts = (window < some.steps[:, None])[..., None].expand_as(chunk).flatten(1).float()
    seen = policy.seen(episodes.latents[some.places].float(), episodes.goals[some.goals].float(), some.steps)
    target, counts, seen = (one.repeat(config.num_draws, 1) for one in (chunk.flatten(1), counts, seen))
    noise, level = torch.randn_like(target), torch.rand(len(target), 1)
    found = policy.velocity((1 - level) * noise + level * target, level, seen)
    return ((found - (target - noise)).square() * counts).sum() / counts.sum()


def save_flow_policy(policy: FlowPolicy, path: str | Path) -> Path:
    """Write a policy to a file such as `policy.safetensors`; it appears whole or not at all, and replaces what was there.

    Raises:
        ValueError: if a weight is not finite; nothing is written.
        OSError: if it cannot be written.
    """
    return save_policy(policy, _KIND, path, config=policy.config, action_spec=policy.action_spec)


def load_flow_policy(path: str | Path) -> FlowPolicy:
    """A policy that `save_flow_policy` wrote: the same draws for the same latents and noise, bit for bit.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or holds something else.
    """

    def make(settings: Mapping[str, Any], action_spec: ActionSpec, weights: Mapping[str, Tensor]) -> FlowPolicy:
        shape = len(weights["place"]), len(weights["mean"])
        return FlowPolicy(shape, action_spec, FlowPolicyConfig(**settings), mean=weights["mean"], std=weights["std"])

    return load_policy(path, _KIND, make).requires_grad_(False)
