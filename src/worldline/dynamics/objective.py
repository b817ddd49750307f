"""Shortcut forcing: how the dynamics network is trained.

Diffusion forcing (Chen et al., 2024) gives every frame its own signal level, so one network denoises a frame under a past of any quality.
Shortcut models (Frans et al., 2024) also tell it the step it will take, and train large steps to equal two half steps of its own, so that
one to four steps suffice at run time. Predictions and losses live in x-space (Dreamer 4, Hafner et al., 2025).

Every frame is run twice: once as past, nearly clean, which fills the cache and reads the heads; and once as target, at any level, attending
to the past before it. That is what the sampler does, so every target trains the very computation that rollouts use. In one pass, as in
plain diffusion forcing, only the few targets whose past happens to be nearly clean do.

May import: torch, nn, dynamics.network, interfaces. Refuses to know: optimisers, data sets, how rollouts are sampled.

Shapes: B batch, T frames, S latent tokens per frame, C latent channels, A action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldline.dynamics.network import Context, Dynamics
from worldline.interfaces import ActionSpec, Batch
from worldline.nn import Cache


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortcutConfig:
    """How noise levels are drawn and what is trained.

    Attributes:
        context_signal: lowest signal level of a frame as past.
        poor_context_share: share of past frames at a level from U(0, 1) instead, so that a poor past is no surprise.
        start_share: share of the targets that start from pure noise, where the sampler starts; the others get a level from U(0, 1).
        self_share: share of the batch that trains large steps, once `self_after` updates were made.
        self_after: updates before that.
        action_dropout: share of known actions that are hidden, which trains the null action and the inverse dynamics.
        motion_weight: how much more a token that changes counts than one that stays.
        ramp: weight of a target at signal level tau is `ramp` * tau + 1 - `ramp`: 0.9 is Dreamer 4's, 0 treats all levels alike.
    """

    context_signal: float = 0.7
    poor_context_share: float = 0.1
    start_share: float = 0.4
    self_share: float = 0.25
    self_after: int = 1000
    action_dropout: float = 0.1
    motion_weight: float = 0.0
    ramp: float = 0.0


class ShortcutObjective(nn.Module):
    """Trainable wrapper of a dynamics network: `loss(batch)` on `batch.latents`."""

    updates: Tensor

    def __init__(self, dynamics: Dynamics, config: ShortcutConfig, action_spec: ActionSpec | None):
        super().__init__()
        self.dynamics = dynamics
        self.config = config
        self.action_spec = action_spec
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `dynamics` (large steps included, once they are trained), `inverse` and `reward` (where the batch has labels).

        Raises:
            ValueError: if the batch has frames instead of latents.
        """
        if batch.latents is None:
            raise ValueError("dynamics trains on latents; encode the frames first (data.cache_latents)")
        clean = batch.latents.float()
        action, known = self._actions(batch)
        shown = known & (torch.rand(known.shape, device=known.device) >= self.config.action_dropout)
        num_self = self._num_self(len(clean))
        self.updates += 1
        past_signal = self._past_signal(clean)
        past = _mix(torch.randn_like(clean), clean, past_signal)
        past_step = torch.full_like(past_signal, 1 / self.dynamics.config.max_steps)
        reading = self.dynamics(past, past_signal, past_step, action, known_BT=shown)
        context = Context(past, past_signal, Cache(tuple((segment,) for segment in reading.segments)))
        signal, step = self._levels(clean, num_self)
        noisy = _mix(torch.randn_like(clean), clean, signal)
        target = clean
        if num_self:
            rows = slice(-num_self, None)
            own_action = None if action is None else action[rows]
            own_context = context.rows(num_self)
            own = self._self_target(noisy[rows], signal[rows], step[rows], action=own_action, shown=shown[rows], context=own_context)
            target = torch.cat([clean[:-num_self], own])
        predicted = self.dynamics(noisy, signal, step, action, known_BT=shown, context=context, with_heads=False).clean.float()
        error = (predicted - target).square().mean(-1) * self._token_weight(clean)
        error = (error.mean(-1) * (self.config.ramp * signal + 1 - self.config.ramp))[:, 1:]  # nothing comes before the first frame
        # One term for both kinds of rows: balanced to equal size, the network's own targets drown the data and run away.
        terms = {"dynamics": error.mean()}
        return terms | self._head_terms(reading.heads, batch, action, hidden=known & ~shown, signal=past_signal)

    def _actions(self, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """Normalised actions that led to each frame, and where they are known: shifted by one, since `actions[t]` leads to frame t + 1."""
        assert batch.latents is not None
        shape = batch.latents.shape[:2]
        if batch.actions is None or self.action_spec is None:
            return None, torch.zeros(shape, dtype=torch.bool, device=batch.latents.device)
        action = _delayed(self.action_spec.normalize(batch.actions.float()))
        mask = batch.action_mask if batch.action_mask is not None else torch.ones(shape, dtype=torch.bool, device=action.device)
        return action, _delayed(mask)

    def _num_self(self, batch_size: int) -> int:
        if self.dynamics.config.max_steps == 1 or int(self.updates) < self.config.self_after:
            return 0
        return round(batch_size * self.config.self_share)

    def _past_signal(self, clean: Tensor) -> Tensor:
        """Signal level of every frame as past, (B, T)."""
        uniform = torch.rand(clean.shape[:2], device=clean.device)
        poor = torch.rand_like(uniform) < self.config.poor_context_share
        return torch.where(poor, uniform, self.config.context_signal + (1 - self.config.context_signal) * uniform)

    def _levels(self, clean: Tensor, num_self: int) -> tuple[Tensor, Tensor]:
        """Signal level and step size of every target, each (B, T); the last `num_self` rows take large steps from levels on their grid."""
        max_steps = self.dynamics.config.max_steps
        uniform = torch.rand(clean.shape[:2], device=clean.device)
        signal = torch.where(torch.rand_like(uniform) < self.config.start_share, torch.zeros_like(uniform), uniform)
        step = torch.full_like(signal, 1 / max_steps)
        if num_self:
            exponent = torch.randint(0, max_steps.bit_length() - 1, (num_self, clean.shape[1]), device=clean.device)
            step[-num_self:] = 0.5**exponent
            signal[-num_self:] = (signal[-num_self:] / step[-num_self:]).floor() * step[-num_self:]
        return signal, step

    @torch.no_grad()
    def _self_target(
        self, noisy: Tensor, signal: Tensor, step: Tensor, *, action: Tensor | None, shown: Tensor, context: Context
    ) -> Tensor:
        """Where two half steps of the network itself lead, written as the clean latents that one full step must predict."""
        half = step / 2

        def velocity(at: Tensor, level: Tensor) -> Tensor:
            clean = self.dynamics(at, level, half, action, known_BT=shown, context=context, with_heads=False).clean.float()
            return (clean - at) / (1 - level).clamp_min(1e-3)[..., None, None]

        first = velocity(noisy, signal)
        middle = noisy + first * half[..., None, None]
        second = velocity(middle, signal + half)
        return noisy + (first + second) / 2 * (1 - signal)[..., None, None]

    def _token_weight(self, clean: Tensor) -> Tensor:
        """(B, T, S), mean about 1: tokens that change from the frame before count more."""
        change = torch.zeros(clean.shape[:3], device=clean.device)
        change[:, 1:] = (clean[:, 1:] - clean[:, :-1]).square().mean(-1)
        weight = 1 + self.config.motion_weight * change / change.mean().clamp_min(1e-6)
        return weight / weight.mean()

    def _head_terms(
        self, heads: dict[str, Tensor], batch: Batch, action: Tensor | None, *, hidden: Tensor, signal: Tensor
    ) -> dict[str, Tensor]:
        """Terms of the heads that have labels: `inverse` where a known action was hidden, `reward`; clean frames count more."""
        terms = {}
        if action is not None and "inverse_action" in heads:
            error = (heads["inverse_action"].float() - action).square().mean(-1)
            weight = hidden * signal
            terms["inverse"] = (error * weight).sum() / weight.sum().clamp_min(1)
        if batch.rewards is not None:
            known = torch.ones_like(signal, dtype=torch.bool) if batch.reward_mask is None else batch.reward_mask
            error = (heads["reward"].float() - batch.rewards.float()).square()
            weight = known * signal
            terms["reward"] = (error * weight).sum() / weight.sum().clamp_min(1)
        return terms


def _mix(noise: Tensor, clean: Tensor, signal_BT: Tensor) -> Tensor:
    signal = signal_BT[..., None, None]
    return (1 - signal) * noise + signal * clean


def _delayed(values: Tensor) -> Tensor:
    """Shift (B, T, ...) by one frame: what was recorded at frame t - 1, zero at the first."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)
