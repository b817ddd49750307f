"""Actions that nobody wrote down: what happened between two frames, as a few numbers, learnt together with the dynamics.

An inverse model reads a latent action off each pair of frames; the dynamics predict the second frame from the first and that action. It is
continuous and held narrow by noise (a variational bottleneck: Alemi et al., 2017; for world models Garrido et al., 2026, who find it
better than a codebook), since an action that could hold the whole next frame would explain nothing. A controller, fitted on the few pairs
whose real action is known, says which latent action a real one is.

May import: torch, nn, dynamics.objective, interfaces. Refuses to know: optimisers, data sets, rollouts.

Shapes: B batch, T frames, S latent tokens per frame, C latent channels, A real action, D latent action.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldline.dynamics.objective import ShortcutObjective
from worldline.interfaces import ActionSpec, Batch

_DEVIATIONS = 3.0  # a latent action within so many standard deviations lies in [-1, 1] for the dynamics


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentActionConfig:
    """Shape of an inverse model, and how narrow its bottleneck is.

    Attributes:
        num_tokens: S.
        latent_dim: C.
        dim: D, numbers in a latent action.
        width: of the hidden layers.
        kl_weight: of the divergence from a standard normal distribution, nats per frame, beside the dynamics' squared error.
    """

    num_tokens: int
    latent_dim: int
    dim: int = 8
    width: int = 256
    kl_weight: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.num_tokens, self.latent_dim, self.dim, self.width) < 1 or self.kl_weight < 0:
            raise ValueError(f"num_tokens, latent_dim, dim and width must be at least 1 and kl_weight at least 0, got {self}")

    @property
    def spec(self) -> ActionSpec:
        """Bounds of a latent action as the dynamics take it."""
        return ActionSpec(low=(-1.0,) * self.dim, high=(1.0,) * self.dim)


class LatentActions(nn.Module):
    """The inverse model: latents of consecutive frames -> a Gaussian over what led from each to the next."""

    def __init__(self, config: LatentActionConfig) -> None:
        super().__init__()
        self.config = config
        self.pair_in = _edge(nn.Linear(2 * config.latent_dim, config.width))
        self.position = nn.Parameter(torch.randn(config.num_tokens, config.width) * 0.5)
        self.token_hidden = nn.Linear(config.width, config.width)
        self.frame_hidden = nn.Linear(config.width, config.width)
        self.out = _edge(nn.Linear(config.width, 2 * config.dim))

    def forward(self, latents_BTSC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (B, T - 1, D), of a latent action in units of the prior's standard deviation."""
        before, after = latents_BTSC[:, :-1], latents_BTSC[:, 1:]
        tokens = F.silu(self.pair_in(torch.cat([before, after - before], dim=-1)) + self.position)
        frame = F.silu(self.token_hidden(tokens)).mean(2)
        frame = F.silu(self.frame_hidden(F.rms_norm(frame, frame.shape[-1:])))
        mean, log_variance = self.out(frame).float().chunk(2, dim=-1)
        return mean, log_variance.clamp(-10, 4)

    def read(self, latents_BTSC: Tensor) -> Tensor:
        """The most likely latent actions between frames, (B, T - 1, D), as the dynamics take them."""
        return self(latents_BTSC)[0] / _DEVIATIONS


class LatentActionObjective(nn.Module):
    """Trains an inverse model and the dynamics together, on video without any label: `loss(batch)` on `batch.latents`.

    Args:
        actions: the inverse model.
        shortcut: the dynamics' objective; its `action_spec` is `actions.config.spec`.
    """

    def __init__(self, actions: LatentActions, shortcut: ShortcutObjective) -> None:
        super().__init__()
        if shortcut.action_spec != actions.config.spec:
            raise ValueError(f"the dynamics' objective takes actions {shortcut.action_spec}, the latent ones are {actions.config.spec}")
        self.actions = actions
        self.shortcut = shortcut

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Term `dynamics`: the objective's own under the latent actions of the batch, and the divergence. Labels are not looked at.

        Raises:
            ValueError: if the batch has frames instead of latents.
        """
        if batch.latents is None:
            raise ValueError("latent actions are learnt from latents; encode the frames first (data.cache_latents)")
        mean, log_variance = self.actions(batch.latents.float())
        drawn = (mean + torch.randn_like(mean) * (log_variance / 2).exp()) / _DEVIATIONS
        known = torch.ones(batch.latents.shape[:2], dtype=torch.bool, device=drawn.device)
        known[:, -1] = False  # nothing is seen of what the last frame leads to
        seen = Batch(latents=batch.latents, actions=F.pad(drawn, (0, 0, 0, 1)), action_mask=known)
        # To be told apart by their heads would make latent actions easy to guess, which is not what they are for.
        dynamics = self.shortcut.loss(seen)["dynamics"]
        return {"dynamics": dynamics + self.actions.config.kl_weight * divergence(mean, log_variance).mean()}


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence (...,) of a Gaussian (..., D) from the standard normal one, nats."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2


class ActionController(nn.Module):
    """Which latent action a real one is, in the frame where it is done: latents (B, S, C) and normalised actions (B, A) -> (B, D)."""

    def __init__(self, config: LatentActionConfig, action_dim: int) -> None:
        super().__init__()
        size = config.num_tokens * config.latent_dim
        self.layers = nn.Sequential(
            nn.Linear(size + action_dim, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.dim),
        )

    def forward(self, latents_BSC: Tensor, action_BA: Tensor) -> Tensor:
        """(B, D), as the dynamics take them."""
        return self.layers(torch.cat([latents_BSC.flatten(1), action_BA], dim=-1))


def _edge(layer: nn.Linear) -> nn.Linear:
    """Mark an input or output layer: the optimiser for hidden matrices leaves it alone."""
    layer.adamw = True  # ty: ignore[invalid-assignment]
    return layer
