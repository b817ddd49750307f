"""Shortcut forcing: how the dynamics network is trained.

Diffusion forcing (Chen et al., 2024) gives every frame its own signal level, so one network denoises a frame under a past of any quality.
Shortcut models (Frans et al., 2024) also tell it the step it will take, and train large steps to equal two half steps of its own, so that
one to four steps suffice at run time. Predictions and losses live in x-space with a ramp weight (Dreamer 4, Hafner et al., 2025).

May import: torch, dynamics.network, interfaces. Refuses to know: optimisers, data sets, how rollouts are sampled.

Shapes: B batch, T frames, S latent tokens per frame, C latent channels, A action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldline.dynamics.network import Dynamics
from worldline.interfaces import ActionSpec, Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortcutConfig:
    """How noise levels are drawn and what is trained.

    Attributes:
        context_share: share of frames shown nearly clean, as the past is at run time; the others get a level from U(0, 1).
        context_signal: lowest signal level of a nearly clean frame.
        start_share: share of the noisy frames that start from pure noise, where the sampler starts.
        self_share: share of the batch that trains large steps, once `self_after` updates were made.
        self_after: updates before that.
        action_dropout: share of known actions that are hidden, which trains the null action and the inverse dynamics.
        motion_weight: how much more a token that changes counts than one that stays.
    """

    context_share: float = 0.5
    context_signal: float = 0.8
    start_share: float = 0.3
    self_share: float = 0.25
    self_after: int = 1000
    action_dropout: float = 0.1
    motion_weight: float = 1.0


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
        """Terms `dynamics`, `shortcut` (once large steps are trained), `inverse` and `reward` (where the batch has labels).

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
        signal, step = self._levels(clean, num_self)
        noise = torch.randn_like(clean)
        noisy = _mix(noise, clean, signal)
        target = clean
        if num_self:
            target = torch.cat([clean[:-num_self], self._self_target(noisy, signal, step, action, shown, num_self)])
        prediction = self.dynamics(noisy, signal, step, action, known_BT=shown)
        error = (prediction.clean.float() - target).square().mean(-1) * self._token_weight(clean) * (0.9 * signal + 0.1)[..., None]
        terms = {"dynamics": error[: len(clean) - num_self].mean()}
        if num_self:
            terms["shortcut"] = error[-num_self:].mean()
        self._add_head_terms(terms, prediction.heads, batch, action, known & ~shown, signal)
        return terms

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

    def _levels(self, clean: Tensor, num_self: int) -> tuple[Tensor, Tensor]:
        """Signal level and step size of every frame, each (B, T); the last `num_self` rows take large steps from levels on their grid."""
        config, max_steps = self.config, self.dynamics.config.max_steps
        shape = clean.shape[:2]
        uniform = torch.rand(shape, device=clean.device)
        signal = torch.where(torch.rand_like(uniform) < config.start_share, torch.zeros_like(uniform), uniform)
        step = torch.full_like(signal, 1 / max_steps)
        if num_self:
            exponent = torch.randint(0, max_steps.bit_length() - 1, (num_self, shape[1]), device=clean.device)
            step[-num_self:] = 0.5**exponent
            signal[-num_self:] = (uniform[-num_self:] / step[-num_self:]).floor() * step[-num_self:]
        context = config.context_signal + (1 - config.context_signal) * torch.rand_like(uniform)
        is_context = torch.rand_like(uniform) < config.context_share
        step = torch.where(is_context, torch.full_like(step, 1 / max_steps), step)
        return torch.where(is_context, context, signal), step

    @torch.no_grad()
    def _self_target(self, noisy: Tensor, signal: Tensor, step: Tensor, action: Tensor | None, shown: Tensor, count: int) -> Tensor:
        """Where two half steps of the network itself lead, written as the clean latents that one full step must predict."""
        noisy, signal, step, shown = noisy[-count:], signal[-count:], step[-count:], shown[-count:]
        action = None if action is None else action[-count:]
        half = step / 2

        def velocity(at: Tensor, level: Tensor) -> Tensor:
            clean = self.dynamics(at, level, half, action, known_BT=shown, with_heads=False).clean.float()
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

    def _add_head_terms(
        self, terms: dict[str, Tensor], heads: dict[str, Tensor], batch: Batch, action: Tensor | None, hidden: Tensor, signal: Tensor
    ) -> None:
        if action is not None and "inverse_action" in heads:
            error = (heads["inverse_action"].float() - action).square().mean(-1)
            weight = hidden * signal
            terms["inverse"] = (error * weight).sum() / weight.sum().clamp_min(1)
        if batch.rewards is not None:
            known = torch.ones_like(signal, dtype=torch.bool) if batch.reward_mask is None else batch.reward_mask
            error = (heads["reward"].float() - batch.rewards.float()).square()
            weight = known * signal
            terms["reward"] = (error * weight).sum() / weight.sum().clamp_min(1)


def _mix(noise: Tensor, clean: Tensor, signal_BT: Tensor) -> Tensor:
    signal = signal_BT[..., None, None]
    return (1 - signal) * noise + signal * clean


def _delayed(values: Tensor) -> Tensor:
    """Shift (B, T, ...) by one frame: what was recorded at frame t - 1, zero at the first."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)
