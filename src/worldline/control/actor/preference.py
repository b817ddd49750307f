"""A policy by preference: imagine from real contexts, make the better actions likelier and the worse ones less, and stay near a prior.

The actor's loss is PMPO's (Abdolmaleki et al. 2024, arXiv 2410.04166) as Dreamer 4 uses it (Hafner et al. 2025, arXiv 2509.24527): only the
sign of an advantage counts, so rewards of any scale train alike, and nothing need be differentiable.

    L = (1 - a) mean of log pi over A < 0  -  a mean of log pi over A >= 0  +  b KL(pi, prior)

May import: torch and `worldline.interfaces`, its siblings. Refuses to know: how a world is learned.

Shapes: B rows, T frames, S tokens, C channels, A action components.
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worldline.control.actor.network import Actor, ActorConfig, Contexts, one_frame_rollout
from worldline.control.actor.value import CriticConfig, Trained, Valuer, begin, falling_rate
from worldline.interfaces import Objective, World


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceConfig:
    """Settings of `train_by_preference`.

    Attributes:
        actor: sizes.
        critic: how the value is trained.
        num_rollouts: batches of imagined rollouts.
        batch_size: contexts per batch, B; one rollout from each.
        horizon: frames of a rollout, T.
        actor_updates: per batch.
        positive_share: a, the weight of better actions; the worse ones have the rest.
        prior_weight: b, of the divergence from the prior. The prior is what the actor was at the start, and follows it slowly.
        prior_share: of the actor's weights that the prior takes over with each batch; 0 keeps it, as one does with a cloned behaviour.
        rate: learning rate of the actor, falling to a tenth along a line.
        siblings: rows, one after another, that begin alike: `contexts` must give them so. Above 1, an advantage is taken relative to the
            mean of the siblings at the same frame (as Ahmadian et al. 2024, arXiv 2402.14740, do with whole answers), so that what a
            context is worth need not be known to tell better actions from worse; with few rollouts the critic does not know it yet.

    Raises:
        ValueError: if a number is out of range.
    """

    actor: ActorConfig = field(default_factory=ActorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    num_rollouts: int = 150
    batch_size: int = 128
    horizon: int = 10
    actor_updates: int = 4
    positive_share: float = 0.5
    prior_weight: float = 0.3
    prior_share: float = 0.3
    rate: float = 3e-3
    siblings: int = 1

    def __post_init__(self) -> None:
        if min(self.num_rollouts, self.batch_size, self.horizon, self.actor_updates) < 1 or not self.rate > 0:
            raise ValueError(f"counts and rate must be positive, got {self}")
        if not (0 < self.positive_share <= 1 and self.prior_weight >= 0 and 0 <= self.prior_share <= 1):
            raise ValueError(f"positive_share must be in (0, 1], prior_share in [0, 1], prior_weight at least 0, got {self}")
        if self.siblings < 1 or self.batch_size % self.siblings:
            raise ValueError(f"siblings must be at least 1 and divide batch_size, got {self}")


def train_by_preference(
    world: World,
    contexts: Contexts,
    objective: Objective,
    config: PreferenceConfig | None = None,
    *,
    seed: int = 0,
    initial: Actor | None = None,
) -> Trained:
    """Train a policy to earn the objective's score of each frame, discounted; the world need not be differentiable.

    Args:
        world: any with actions, a simulator too.
        contexts: real states, in which rollouts begin.
        objective: scores each imagined frame by itself, as a rollout of one frame.
        config: settings.
        seed: of weights, contexts, noise and actions.
        initial: an actor to go on from, such as a cloned behaviour's, which is then the prior; it is changed in place.

    Raises:
        ValueError: if the world has no actions.
    """
    config = config or PreferenceConfig()
    actor, generator = begin(world, contexts, config.actor, seed=seed, initial=initial)
    prior = copy.deepcopy(actor).requires_grad_(False)
    valuer = Valuer(actor, config.critic, seed=seed)
    optimizer = torch.optim.Adam(actor.parameters(), lr=config.rate)
    imagined = []
    for update in range(config.num_rollouts):
        falling_rate(optimizer, config.rate, update / config.num_rollouts)
        latents, actions, rewards = imagine(world, actor, contexts, objective, generator, config=config)
        returns = valuer.returns(latents, rewards)
        valuer.fit(latents, rewards)
        with torch.no_grad():
            advantages = returns - valuer.critic(latents[:-1].flatten(0, 1)).unflatten(0, rewards.shape)
            advantages = among_siblings(advantages, config.siblings).flatten()
        seen, done = latents[:-1].flatten(0, 1), actions.flatten(0, 1)
        good = advantages.isfinite() & seen.flatten(1).isfinite().all(1)
        if bool(good.any()):
            for _ in range(config.actor_updates):
                loss = preference_loss(actor, prior, seen[good], done[good], advantages[good], config=config)
                optimizer.zero_grad()
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(actor.parameters(), 1.0)
                if bool(norm.isfinite()):
                    optimizer.step()
        with torch.no_grad():
            for slow, quick in zip(prior.parameters(), actor.parameters(), strict=True):
                slow.lerp_(quick, config.prior_share)
        imagined.append(float(rewards.mean()))
    frames = config.num_rollouts * config.batch_size * config.horizon
    return Trained(actor=actor.eval(), critic=valuer.critic.eval(), imagined=tuple(imagined), num_frames=frames, method="preference")


@torch.no_grad()
def imagine(
    world: World, actor: Actor, contexts: Contexts, objective: Objective, generator: torch.Generator, *, config: PreferenceConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Rollouts of the actor: latents (T + 1, B, S, C), actions (T, B, A) as they were drawn, before the bounds, and rewards (T, B)."""
    state = contexts(config.batch_size, generator)
    latents, actions, rewards = [state.latent], [], []
    for _ in range(config.horizon):
        means = actor.means(state.latent)
        drawn = means + actor.deviations() * torch.randn(means.shape, generator=generator, dtype=means.dtype).to(means.device)
        noise = torch.randn(len(means), *world.noise_shape, generator=generator, dtype=means.dtype).to(means.device)
        action = actor.to_environment(drawn)
        state = world.step(state, action, noise=noise)
        latents.append(state.latent)
        actions.append(drawn)
        rewards.append(objective(one_frame_rollout(state, action)))
    return torch.stack(latents), torch.stack(actions), torch.stack(rewards)


def among_siblings(advantages: Tensor, siblings: int) -> Tensor:
    """Advantages (T, B) less their mean over each `siblings` rows in a row, without those that are NaN; as they are if that is 1."""
    if siblings == 1:
        return advantages
    families = advantages.unflatten(1, (-1, siblings))
    return (families - families.nanmean(-1, keepdim=True)).flatten(1)


def preference_loss(
    actor: Actor, prior: Actor, latents: Tensor, actions: Tensor, advantages: Tensor, *, config: PreferenceConfig
) -> Tensor:
    """PMPO's loss of actions (N, A), in units of half the bounds, taken at latents (N, S, C) with advantages (N,)."""
    log_probability = actor.log_probability(latents, actions)
    better = advantages >= 0
    loss = latents.new_zeros(())
    if bool(better.any()):
        loss = loss - config.positive_share * log_probability[better].mean()
    if not bool(better.all()):
        loss = loss + (1 - config.positive_share) * log_probability[~better].mean()
    std, prior_std = actor.deviations(), prior.deviations()
    apart = (actor.means(latents) - prior.means(latents)).square()
    divergence = (prior_std / std).log() + (std.square() + apart) / (2 * prior_std.square()) - 0.5
    return loss + config.prior_weight * divergence.sum(-1).mean()
