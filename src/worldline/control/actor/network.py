"""The actor: a small network on latents.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how they are trained.

Shapes: B batch, S tokens, C channels, A action components.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldline.control.candidates import widened
from worldline.control.heads import LazyHeads
from worldline.interfaces import ActionSpec, Rollout, State

Contexts = Callable[[int, torch.Generator], State]
"""(B, generator) -> real states of B rows, drawn from the generator; such as prompts of real video."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorConfig:
    """Sizes.

    Attributes:
        width: of the two hidden layers of actor and critic.
        initial_std: of the actions at the start, in units of half the bounds.
        min_std: floor of it.

    Raises:
        ValueError: if a number is not positive.
    """

    width: int = 128
    initial_std: float = 0.3
    min_std: float = 0.02

    def __post_init__(self) -> None:
        if self.width < 1 or not 0 < self.min_std <= self.initial_std:
            raise ValueError(f"width must be at least 1 and 0 < min_std <= initial_std, got {self}")


class Actor(nn.Module):
    """A Gaussian policy over latents: mean from a network, deviation its own for each component. An `interfaces.Policy`: the mean acts.

    Args:
        latent_shape: (S, C).
        action_spec: bounds.
        config: sizes.
        mean: (S, C), of latents that contexts have; inputs are standardised.
        std: (S, C), likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, latent_shape: tuple[int, ...], action_spec: ActionSpec, config: ActorConfig | None = None, *, mean: Tensor, std: Tensor
    ) -> None:
        super().__init__()
        self.action_spec, self.config = action_spec, config or ActorConfig()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std.clamp_min(1e-3))
        self.network = small_network(math.prod(latent_shape), self.config.width, action_spec.dim)
        self.log_std = nn.Parameter(torch.full((action_spec.dim,), math.log(self.config.initial_std)))

    def forward(self, state: State) -> Tensor:
        """(B, A) actions in environment units: the mean, inside the bounds."""
        return self.to_environment(self.means(state.latent))

    def means(self, latents: Tensor) -> Tensor:
        """(B, A) in [-1, 1]."""
        return torch.tanh(self.network(self.features(latents)))

    def deviations(self) -> Tensor:
        """(A,) standard deviations, in units of half the bounds."""
        return self.log_std.exp().clamp_min(self.config.min_std)

    def features(self, latents: Tensor) -> Tensor:
        """(B, S * C) standardised."""
        return ((latents.to(self.mean) - self.mean) / self.std).flatten(1)

    def log_probability(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(B,) of actions (B, A), not clipped, in units of half the bounds."""
        std = self.deviations()
        return (-0.5 * ((actions - self.means(latents)) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def to_environment(self, actions: Tensor) -> Tensor:
        """Actions in [-1, 1] as environment units, inside the bounds."""
        return self.action_spec.clamp(self.action_spec.denormalize(actions.clamp(-1, 1)))


def one_frame_rollout(state: State, actions: Tensor) -> Rollout:
    """The step that `actions` (B, A) led to `state` as a rollout of one sample and one frame, which an objective scores as a reward.

    Latents are float32 at least, as planners show them to objectives.
    """
    heads = LazyHeads([state.heads], lambda value: value[None, :, None])
    return widened(Rollout(latents=state.latent[None, :, None], actions=actions[:, None], state=state, heads=heads))


def small_network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two hidden layers; starts near zero."""
    last = nn.Linear(width, outputs)
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)
