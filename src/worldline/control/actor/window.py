"""A policy by analytic gradients: back through short windows of the world, whose end a value closes.

Xu et al. 2022 (SHAC, arXiv 2204.07137) through a simulator, Georgiev et al. 2024 (PWM, arXiv 2407.02466) through a learned world. Gradients
of long rollouts explode; those of a window do not, and the value, trained by TD(lambda), knows what comes after.

May import: torch and `worldline.interfaces`, its siblings. Refuses to know: how a world is learned.

Shapes: B rows, T frames of a window, S tokens, C channels, A action components.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from worldline.control.actor.network import Actor, ActorConfig, Contexts, one_frame_rollout
from worldline.control.actor.value import CriticConfig, Trained, Valuer, begin, falling_rate
from worldline.interfaces import Objective, State, World


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """Settings of `train_by_gradients`.

    Attributes:
        actor: sizes.
        critic: how the value is trained.
        num_updates: of the actor; each takes one window.
        batch_size: contexts per update, B.
        window: frames, T.
        lead: frames, at most, that the actor leads on from a context before a window begins, drawn anew for each update; so that it also
            learns where it comes to, not only where the recordings were.
        rate: learning rate of the actor, falling to a tenth along a line.
        max_norm: gradients are clipped to.

    Raises:
        ValueError: if a number is out of range.
    """

    actor: ActorConfig = field(default_factory=ActorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    num_updates: int = 300
    batch_size: int = 64
    window: int = 8
    lead: int = 8
    rate: float = 3e-3
    max_norm: float = 1.0

    def __post_init__(self) -> None:
        if min(self.num_updates, self.batch_size, self.window) < 1 or self.lead < 0 or not (self.rate > 0 and self.max_norm > 0):
            raise ValueError(f"counts, rate and max_norm must be positive, lead at least 0, got {self}")


def train_by_gradients(
    world: World,
    contexts: Contexts,
    objective: Objective,
    config: WindowConfig | None = None,
    *,
    seed: int = 0,
    initial: Actor | None = None,
) -> Trained:
    """Train a policy to earn the objective's score of each frame, discounted.

    Args:
        world: differentiable in actions and states.
        contexts: real states, in which episodes begin.
        objective: differentiable; scores each imagined frame by itself, as a rollout of one frame.
        config: settings.
        seed: of weights, contexts, noise and actions.
        initial: an actor to go on from, such as a cloned behaviour's; it is changed in place.

    Raises:
        ValueError: if the world has no actions, or the score does not depend differentiably on the actions.
    """
    config = config or WindowConfig()
    actor, generator = begin(world, contexts, config.actor, seed=seed, initial=initial)
    valuer = Valuer(actor, config.critic, seed=seed)
    optimizer = torch.optim.Adam(actor.parameters(), lr=config.rate)
    discount, imagined, num_frames = config.critic.discount, [], 0
    for update in range(config.num_updates):
        falling_rate(optimizer, config.rate, update / config.num_updates)
        lead = int(torch.randint(config.lead + 1, (), generator=generator))
        with torch.no_grad():
            state = contexts(config.batch_size, generator)
            for _ in range(lead):
                state, _ = act_once(world, actor, state, generator)
        latents, rewards = [state.latent], []
        for _ in range(config.window):
            state, action = act_once(world, actor, state, generator)
            rewards.append(objective(one_frame_rollout(state, action)))
            latents.append(state.latent)
        earned = torch.stack(rewards)
        if not earned.requires_grad:
            raise ValueError("the score does not depend differentiably on the actions; use train_by_preference")
        weights = discount ** torch.arange(config.window, dtype=earned.dtype, device=earned.device)
        gain = ((earned * weights[:, None]).sum(0) + discount**config.window * valuer.slow(state.latent)).mean()
        if bool(gain.isfinite()):
            optimizer.zero_grad()
            (-gain).backward()
            norm = torch.nn.utils.clip_grad_norm_(actor.parameters(), config.max_norm)
            if bool(norm.isfinite()):  # a gradient may be NaN where the gain is not
                optimizer.step()
        valuer.fit(torch.stack(latents).detach(), earned.detach())
        imagined.append(float(earned.detach().mean()))
        num_frames += config.batch_size * (config.window + lead)
    return Trained(actor=actor.eval(), critic=valuer.critic.eval(), imagined=tuple(imagined), num_frames=num_frames, method="gradients")


def act_once(world: World, actor: Actor, state: State, generator: torch.Generator) -> tuple[State, Tensor]:
    """One frame under actions drawn from the actor, noise and all from the generator: (state after it, actions (B, A))."""
    means = actor.means(state.latent)
    drawn = torch.randn(means.shape, generator=generator, dtype=means.dtype).to(means.device)
    action = actor.to_environment(means + actor.deviations() * drawn)
    noise = torch.randn(len(means), *world.noise_shape, generator=generator, dtype=means.dtype).to(means.device)
    return world.step(state, action, noise=noise), action
