"""Goal-conditioned inverse dynamics and behaviour cloning: a small network from latents to the action that was taken there.

Goals are frames that the same episode reached later (hindsight; Ghosh et al. 2021, "Learning to Reach Goals via Iterated Supervised
Learning"), so every recording teaches. Without goals it is behaviour cloning.

May import: torch, `hindsight` and `worldline.interfaces`. Refuses to know: where latents come from.

Shapes: B batch, T frames, S tokens, C channels, A action components.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldline.control.amortised.hindsight import Hindsight
from worldline.interfaces import ActionSpec, State


@dataclass(frozen=True, kw_only=True, slots=True)
class GoalPolicyConfig:
    """Settings of `fit_goal_policy`.

    Attributes:
        uses_goal: whether the network sees a goal and the frames left to it; without, it clones the behaviour as it is.
        max_steps: frames from a state to a goal, at most.
        width: of the two hidden layers.
        num_updates: optimiser steps.
        batch_size: of an update.
        learning_rate: of Adam, falling to zero along a cosine.

    Raises:
        ValueError: if a number is not positive.
    """

    uses_goal: bool = True
    max_steps: int = 25
    width: int = 256
    num_updates: int = 2000
    batch_size: int = 256
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.max_steps, self.width, self.num_updates, self.batch_size) < 1 or not self.learning_rate > 0:
            raise ValueError(f"all numbers must be positive, got {self}")


class GoalPolicy(nn.Module):
    """Action from latents now, latents of the goal and the frames left, (B, S, C), (B, S, C), (B,) -> (B, A), environment units.

    Args:
        latent_shape: (S, C).
        action_spec: bounds of the actions.
        config: settings.
        mean: (S, C), of latents; inputs are standardised.
        std: (S, C), likewise.
        change: (S, C), standard deviation of what changes in a frame.
    """

    mean: Tensor
    std: Tensor
    change: Tensor

    def __init__(
        self,
        latent_shape: tuple[int, ...],
        action_spec: ActionSpec,
        config: GoalPolicyConfig,
        *,
        mean: Tensor,
        std: Tensor,
        change: Tensor,
    ) -> None:
        super().__init__()
        self.action_spec, self.config = action_spec, config
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("change", change)
        size = math.prod(latent_shape)
        inputs = 3 * size + 2 if config.uses_goal else size
        self.network = nn.Sequential(
            nn.Linear(inputs, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.width),
            nn.SiLU(),
            nn.Linear(config.width, action_spec.dim),
        )

    def forward(self, latents: Tensor, goals: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
        """Actions (B, A), environment units, inside the bounds."""
        return self.action_spec.clamp(self.action_spec.denormalize(self.normalized(latents, goals, steps).clamp(-1, 1)))

    def normalized(self, latents: Tensor, goals: Tensor | None, steps: Tensor | None) -> Tensor:
        """Actions (B, A) in [-1, 1] where the data lies, not clipped."""
        parts = [self._standard(latents)]
        if self.config.uses_goal:
            if goals is None or steps is None:
                raise ValueError("this policy was trained with goals; give one, and the frames left to it")
            left = steps.to(self.mean)[:, None].clamp_min(1)
            away = (goals - latents).to(self.mean)
            # Also what has to change per frame, in units of what does: near the goal it is all that matters, and small beside the scene.
            parts += [(away / self.std).flatten(1), (away / self.change).flatten(1) / left, left / self.config.max_steps, 1 / left]
        return self.network(torch.cat(parts, dim=-1))

    def towards(self, goal: Tensor | None = None, *, steps: int = 1) -> "Towards":
        """An `interfaces.Policy` for one goal (S, C), `steps` frames away; None for a policy without goals."""
        return Towards(self, goal, steps)

    def _standard(self, latents: Tensor) -> Tensor:
        return ((latents.to(self.mean) - self.mean) / self.std).flatten(1)


class Towards:
    """A policy on its way to one goal: each call says that one frame fewer is left, down to one."""

    def __init__(self, policy: GoalPolicy, goal: Tensor | None, steps: int) -> None:
        self._policy, self._goal, self._left = policy, goal, steps + 1

    @torch.no_grad()
    def __call__(self, state: State) -> Tensor:
        """(B, A) actions in environment units."""
        self._left = max(1, self._left - 1)
        batch, goal = state.batch_size, self._goal
        goals = None if goal is None else goal.to(state.latent).expand(batch, *goal.shape)
        return self._policy(state.latent, goals, torch.full((batch,), float(min(self._left, self._policy.config.max_steps))))


def fit_goal_policy(
    latents: Sequence[Tensor],
    actions: Sequence[Tensor],
    action_spec: ActionSpec,
    config: GoalPolicyConfig | None = None,
    *,
    goals: Sequence[Tensor] | None = None,
    seed: int = 0,
) -> GoalPolicy:
    """Train a policy on episodes. Deterministic for one seed.

    Args:
        latents: of each episode (T, S, C).
        actions: of each episode (T, A) or (T - 1, A), environment units; `actions[t]` was applied at frame t.
        action_spec: bounds of the actions.
        config: settings.
        goals: of each episode (T, S, C), its frames as goals are shown, such as still pictures of them; `latents` if None.
        seed: of weights and batches.

    Raises:
        ValueError: if there are no episodes of two frames, or shapes do not fit.
    """
    config = config or GoalPolicyConfig()
    episodes = Hindsight(latents, actions, action_spec, goals)
    every, ends = episodes.latents.float(), episodes.goals.float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        std = every.std(0).clamp_min(1e-3)
        change = torch.cat([film[1:].float() - film[:-1].float() for film in latents]).square().mean(0).sqrt()
        policy = GoalPolicy(
            tuple(every.shape[1:]), action_spec, config, mean=every.mean(0), std=std, change=torch.maximum(change, 1e-2 * std)
        )
        optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.num_updates)
        for _ in range(config.num_updates):
            some = episodes.draw(config.batch_size, max_steps=config.max_steps)
            found = policy.normalized(every[some.places], ends[some.goals], some.steps)
            optimizer.zero_grad()
            (found - episodes.actions[some.places]).square().mean().backward()
            optimizer.step()
            schedule.step()
    return policy.eval().requires_grad_(False)
