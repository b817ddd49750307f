"""The critic: what is still to come, learned from imagined returns; and how training begins.

May import: torch and `worldline.interfaces`, `control.actor.network`. Refuses to know: how the actor is trained.

Shapes: B rows, T frames, S tokens, C channels.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from worldline.control.actor.network import Actor, ActorConfig, Contexts, small_network
from worldline.interfaces import World

_NUM_SEEN = 256  # contexts that inputs are standardised by
_FEWEST_SEEN = 2


class Critic(nn.Module):
    """The value of latents, (B, S, C) -> (B,); standardises its inputs as its actor does."""

    mean: Tensor
    std: Tensor

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.register_buffer("mean", actor.mean)
        self.register_buffer("std", actor.std)
        self.network = small_network(actor.mean.numel(), actor.config.width, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """(B,) values."""
        return self.network(((latents.to(self.mean) - self.mean) / self.std).flatten(1)).squeeze(-1)


def lambda_returns(rewards: Tensor, values: Tensor, *, discount: float, decay: float) -> Tensor:
    """TD(lambda) returns (T, B) of rewards (T, B), `rewards[t]` earned on the way to the state of `values[t]`, (T, B).

    R[t] = r[t] + discount ((1 - decay) v[t] + decay R[t + 1]),   R[T - 1] = r[T - 1] + discount v[T - 1]
    """
    following, returns = values[-1], []
    for reward, value in zip(rewards.flip(0), values.flip(0), strict=True):
        following = reward + discount * ((1 - decay) * value + decay * following)
        returns.append(following)
    return torch.stack(returns[::-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticConfig:
    """How a critic is trained.

    Attributes:
        discount: of a reward one frame later.
        decay: lambda of its returns.
        rate: learning rate.
        num_updates: per update of the actor.
        target_share: of its weights that the slow copy, which returns are made with, takes over in an update.

    Raises:
        ValueError: if a number is out of range.
    """

    discount: float = 0.97
    decay: float = 0.95
    rate: float = 3e-3
    num_updates: int = 4
    target_share: float = 0.1

    def __post_init__(self) -> None:
        if not (0 < self.discount <= 1 and 0 <= self.decay <= 1 and 0 < self.target_share <= 1 and self.rate > 0 and self.num_updates > 0):
            raise ValueError(f"discount and target_share must be in (0, 1], decay in [0, 1], rate and num_updates positive, got {self}")


class Valuer:
    """A critic, its slow copy and its optimiser."""

    def __init__(self, actor: Actor, config: CriticConfig, *, seed: int = 0) -> None:
        self.config = config
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.critic = Critic(actor).to(actor.mean)
        self.slow = copy.deepcopy(self.critic).requires_grad_(False)
        self._optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.rate)

    @torch.no_grad()
    def returns(self, latents: Tensor, rewards: Tensor) -> Tensor:
        """TD(lambda) returns (T, B) of latents (T + 1, B, S, C) and rewards (T, B), closed by the slow copy."""
        values = self.slow(latents[1:].flatten(0, 1)).unflatten(0, rewards.shape)
        return lambda_returns(rewards, values, discount=self.config.discount, decay=self.config.decay)

    def fit(self, latents: Tensor, rewards: Tensor) -> None:
        """Learn from latents (T + 1, B, S, C) and rewards (T, B); rows that are not finite are left out."""
        seen, wanted = latents[:-1].flatten(0, 1), self.returns(latents, rewards).flatten()
        good = wanted.isfinite() & seen.flatten(1).isfinite().all(1)
        if not bool(good.any()):
            return
        for _ in range(self.config.num_updates):
            loss = (self.critic(seen[good]) - wanted[good]).square().mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        with torch.no_grad():
            for slow, quick in zip(self.slow.parameters(), self.critic.parameters(), strict=True):
                slow.lerp_(quick, self.config.target_share)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What training leaves.

    Attributes:
        actor: with the last weights; nothing was selected.
        critic: of it.
        imagined: mean imagined reward per frame in each update. For looking at: it is not what the actor earns outside.
        num_frames: imagined in all.
        method: how it was trained.
    """

    actor: Actor
    critic: Critic
    imagined: tuple[float, ...]
    num_frames: int
    method: Literal["gradients", "preference"]


def begin(world: World, contexts: Contexts, config: ActorConfig, *, seed: int, initial: Actor | None) -> tuple[Actor, torch.Generator]:
    """An actor, or `initial`, and the generator that everything else is drawn from.

    Raises:
        ValueError: if the world has no actions, or hardly a context is finite.
    """
    if world.action_spec is None:
        raise ValueError("this world was trained without actions, so nothing can be trained to act in it; use a world with an action_spec")
    generator = torch.Generator().manual_seed(seed)
    if initial is not None:
        return initial.train(), generator
    with torch.no_grad():
        seen = contexts(_NUM_SEEN, generator).latent
    seen = seen[seen.flatten(1).isfinite().all(1)]
    if len(seen) < _FEWEST_SEEN:
        raise ValueError(f"{len(seen)} of {_NUM_SEEN} contexts have latents that are finite; check the recordings that they are from")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        actor = Actor(tuple(seen.shape[1:]), world.action_spec, config, mean=seen.mean(0), std=seen.std(0))
    return actor.to(seen.device, torch.promote_types(seen.dtype, torch.float32)), generator


def falling_rate(optimizer: torch.optim.Optimizer, rate: float, share: float) -> None:
    """Set the learning rate when a `share` of training is done: from `rate` to a tenth of it, along a line."""
    for group in optimizer.param_groups:
        group["lr"] = rate * (1 - 0.9 * share)
