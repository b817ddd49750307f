"""Shortcut forcing: how the dynamics network is trained.

Diffusion forcing (Chen et al., 2024) gives every frame its own signal level, so one network denoises a frame under a past of any quality.
Shortcut models (Frans et al., 2024) also tell it the step it will take, and train large steps to equal two half steps of its own, so that
two to four steps suffice at run time. The largest step, from noise to the frame at once, learns from the data instead: under a squared
error it draws the mean of what may come, which needs no chain to be learnt first. Predictions and losses live in x-space (Dreamer 4,
Hafner et al., 2025).

A window is run once. Every frame sees its predecessor, nearly clean, beside its own noisy self (`dynamics.network`), so each target trains
the computation that rollouts use, whatever the signal levels of its neighbours are. A share of the frames is clean: that is what the
sampler writes for a prompt, and what the heads read.

May import: torch, nn, dynamics.network, interfaces. Refuses to know: optimisers, data sets, how rollouts are sampled.

Shapes: B batch, T frames, S latent tokens per frame, C latent channels, A action.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from worldline.dynamics.network import Dynamics, frames_before
from worldline.interfaces import ActionSpec, Batch
from worldline.nn import Cache


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortcutConfig:
    """How noise levels are drawn and what is trained.

    Attributes:
        clean_context_share: share of the frames whose predecessor is given as it is.
        context_signal: lowest signal level of the other predecessors.
        poor_context_share: share of these at a level from U(0, 1) instead, so that a poor past is no surprise.
        start_share: share of the frames that start from pure noise, where the sampler starts.
        mean_share: share of these that are trained to be drawn in one step, as the mean of what may come.
        clean_share: share of the frames that are clean: no targets, but what prompts are made of and what the heads read. The rest gets a
            level from U(0, 1).
        self_share: share of the batch that trains large steps, once `self_after` updates were made.
        self_after: updates before that.
        action_dropout: share of known actions that are hidden, which trains the null action and the inverse dynamics.
        motion_weight: how much more a token that changes counts than one that stays.
        metric_share: how far errors are weighted by what they do to the picture (the metric that the objective is given) and not alike.
        unroll_share: share of the windows that are drawn frame after frame, as a rollout in one step draws them, from a random frame on,
            once `unroll_after` updates were made: their targets are frames whose past the network itself has drawn.
        unroll_after: updates before that.
        unroll_gradient: frames that such an error is traced back through; 1 takes the drawn past as given.
        ramp: weight of a target at signal level tau is `ramp` * tau + 1 - `ramp`: 0.9 is Dreamer 4's, 0 treats all levels alike.
    """

    clean_context_share: float = 0.5
    context_signal: float = 0.7
    poor_context_share: float = 0.1
    start_share: float = 0.7
    mean_share: float = 0.5
    clean_share: float = 0.1
    self_share: float = 0.25
    self_after: int = 1000
    action_dropout: float = 0.1
    motion_weight: float = 0.0
    metric_share: float = 0.0
    unroll_share: float = 0.0
    unroll_after: int = 0
    unroll_gradient: int = 4
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.unroll_share <= 1:
            raise ValueError(f"unroll_share is {self.unroll_share}; give a share of the windows, from 0 to 1")
        if self.unroll_gradient < 1:
            raise ValueError(f"unroll_gradient is {self.unroll_gradient}; give at least 1 frame")


class ShortcutObjective(nn.Module):
    """Trainable wrapper of a dynamics network: `loss(batch)` on `batch.latents`.

    Args:
        dynamics: the network.
        config: see `ShortcutConfig`.
        action_spec: bounds of the actions in the batches; None without actions.
        metric: (C, C), symmetric, of mean diagonal 1: what `config.metric_share` of an error is measured by; see `tokenizer.pixel_metric`.

    Raises:
        ValueError: if a metric is asked for and not given.
    """

    updates: Tensor
    metric: Tensor | None

    def __init__(self, dynamics: Dynamics, config: ShortcutConfig, action_spec: ActionSpec | None, *, metric: Tensor | None = None):
        super().__init__()
        if config.metric_share and metric is None:
            raise ValueError(f"metric_share is {config.metric_share}; give the metric as well, or set it to 0")
        share = config.metric_share
        mixed = None if metric is None or not share else share * metric + (1 - share) * torch.eye(len(metric)).to(metric)
        self.register_buffer("metric", mixed)
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
        num_unrolled = self._num_unrolled(len(batch.latents))
        num_self = self._num_self(len(batch.latents) - num_unrolled)
        self.updates += 1
        total, count, terms = self._at_once(_rows(batch, slice(num_unrolled, None)), num_self)
        if num_unrolled:
            drawn_total, drawn_count = self._unrolled(_rows(batch, slice(0, num_unrolled)))
            # One term for all kinds of rows: balanced to equal size, the network's own targets drown the data and run away.
            total, count = total + drawn_total, count + drawn_count
        return {"dynamics": total / count.clamp_min(1)} | terms

    def _at_once(self, batch: Batch, num_self: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Windows that one pass trains at all their frames: the sum of their errors, how many were summed, and the terms of the heads."""
        clean, action, known = self._inputs(batch)
        shown = known & (torch.rand(known.shape, device=known.device) >= self.config.action_dropout)
        past = self._past(clean)
        signal, step = self._levels(clean, num_self)
        noisy = _mix(torch.randn_like(clean), clean, signal)
        target = clean
        if num_self:
            rows = slice(-num_self, None)
            own_action = None if action is None else action[rows]
            own_past = {name: value[rows] for name, value in past.items()}
            own = self._self_target(noisy[rows], signal[rows], step[rows], action=own_action, shown=shown[rows], past=own_past)
            target = torch.cat([clean[:-num_self], own])
        prediction = self.dynamics(noisy, signal, step, action, known_BT=shown, **past)
        error = self._squared(prediction.clean.float() - target) * self._token_weight(clean)
        weight = (self.config.ramp * signal + 1 - self.config.ramp) * (signal < 1)
        # Nothing comes before the first frame.
        total, count = (error.mean(-1) * weight)[:, 1:].sum(), (signal < 1)[:, 1:].sum()
        return total, count, self._head_terms(prediction.heads, batch, action, hidden=known & ~shown, clean=signal == 1)

    def _unrolled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Windows that are drawn from a random frame on, each frame in one step after those drawn before it: the sum of their errors, and
        how many were summed."""
        clean, action, known = self._inputs(batch)
        num_frames = clean.shape[1]
        prompt = int(torch.randint(1, num_frames, ()))
        window = self.dynamics.config.context_frames - 1
        cache = Cache.empty(self.dynamics.config.transformer.num_time_layers)
        previous, drawn = torch.zeros_like(clean[:, 0]), []
        for first, end in ((0, prompt), *((frame, frame + 1) for frame in range(prompt, num_frames))):
            given = first < prompt
            frames = slice(first, end)
            noisy = clean[:, frames] if given else torch.randn_like(clean[:, frames])
            signal = torch.full(noisy.shape[:2], float(given), device=clean.device)
            prediction = self.dynamics(
                noisy,
                signal,
                torch.full_like(signal, 1 / self.dynamics.config.max_steps if given else 1.0),
                None if action is None else action[:, frames],
                previous_BTSC=frames_before(clean[:, frames]) if given else previous.unsqueeze(1),
                known_BT=known[:, frames],
                cache=cache.gathered(),
                position=first,
                with_heads=False,
            )
            cache = cache.append(prediction.segments, window=window)
            if given:
                previous = clean[:, prompt - 1]
                continue
            previous = prediction.clean[:, 0].float()
            drawn.append(previous)
            if len(drawn) % self.config.unroll_gradient == 0:
                previous, cache = previous.detach(), cache.detached()
        error = self._squared(torch.stack(drawn, dim=1) - clean[:, prompt:]) * self._token_weight(clean)[:, prompt:]
        return error.mean(-1).sum(), torch.tensor(error[..., 0].numel(), device=clean.device)

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor]:
        """Latents, the actions that led to them, and where these are known."""
        assert batch.latents is not None
        return batch.latents.float(), *self._actions(batch)

    def _actions(self, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """Normalised actions that led to each frame, and where they are known: shifted by one, since `actions[t]` leads to frame t + 1."""
        assert batch.latents is not None
        shape = batch.latents.shape[:2]
        if batch.actions is None or self.action_spec is None:
            return None, torch.zeros(shape, dtype=torch.bool, device=batch.latents.device)
        action = frames_before(self.action_spec.normalize(batch.actions.float()))
        mask = batch.action_mask if batch.action_mask is not None else torch.ones(shape, dtype=torch.bool, device=action.device)
        return action, frames_before(mask)

    def _num_self(self, batch_size: int) -> int:
        if self.dynamics.config.max_steps < 4 or int(self.updates) < self.config.self_after:
            return 0
        return round(batch_size * self.config.self_share)

    def _num_unrolled(self, batch_size: int) -> int:
        if not self.config.unroll_share or int(self.updates) < self.config.unroll_after:
            return 0
        return min(round(batch_size * self.config.unroll_share), batch_size - 1)  # one row, at least, is trained at all its frames

    def _past(self, clean: Tensor) -> dict[str, Tensor]:
        """What the network is given of each frame's predecessor: its latents, noised, and their signal level."""
        config = self.config
        uniform = torch.rand(clean.shape[:2], device=clean.device)
        poor = torch.rand_like(uniform) < config.poor_context_share
        noised = torch.where(poor, uniform, config.context_signal + (1 - config.context_signal) * uniform)
        signal = torch.where(torch.rand_like(uniform) < config.clean_context_share, torch.ones_like(uniform), noised)
        signal[:, 0] = 1
        previous = _mix(torch.randn_like(clean), frames_before(clean), signal)
        return {"previous_BTSC": previous, "previous_signal_BT": signal}

    def _levels(self, clean: Tensor, num_self: int) -> tuple[Tensor, Tensor]:
        """Signal level and step size of every frame, each (B, T); the last `num_self` rows take large steps from levels on their grid."""
        max_steps = self.dynamics.config.max_steps
        uniform, kind = torch.rand(2, *clean.shape[:2], device=clean.device)
        start = self.config.start_share
        signal = torch.where(kind < start, torch.zeros_like(uniform), uniform)
        step = torch.full_like(signal, 1 / max_steps).masked_fill(kind < start * self.config.mean_share, 1.0)
        if num_self:
            exponent = torch.randint(1, max_steps.bit_length() - 1, (num_self, clean.shape[1]), device=clean.device)
            step[-num_self:] = 0.5**exponent
            signal[-num_self:] = (signal[-num_self:] / step[-num_self:]).floor() * step[-num_self:]
        is_clean = kind >= 1 - self.config.clean_share
        return signal.masked_fill(is_clean, 1.0), step.masked_fill(is_clean, 1 / max_steps)

    @torch.no_grad()
    def _self_target(
        self, noisy: Tensor, signal: Tensor, step: Tensor, *, action: Tensor | None, shown: Tensor, past: dict[str, Tensor]
    ) -> Tensor:
        """Where two half steps of the network itself lead, written as the clean latents that one full step must predict."""
        half = step / 2

        def velocity(at: Tensor, level: Tensor) -> Tensor:
            clean = self.dynamics(at, level, half, action, known_BT=shown, with_heads=False, **past).clean.float()
            return (clean - at) / (1 - level).clamp_min(1e-3)[..., None, None]

        first = velocity(noisy, signal)
        middle = noisy + first * half[..., None, None]
        second = velocity(middle, signal + half)
        return noisy + (first + second) / 2 * (1 - signal)[..., None, None]

    def _squared(self, error: Tensor) -> Tensor:
        """(B, T, S) mean square of errors (B, T, S, C), under the metric if there is one."""
        return (error * (error if self.metric is None else error @ self.metric)).mean(-1)

    def _token_weight(self, clean: Tensor) -> Tensor:
        """(B, T, S), mean about 1: tokens that change from the frame before count more."""
        change = torch.zeros(clean.shape[:3], device=clean.device)
        change[:, 1:] = (clean[:, 1:] - clean[:, :-1]).square().mean(-1)
        weight = 1 + self.config.motion_weight * change / change.mean().clamp_min(1e-6)
        return weight / weight.mean()

    def _head_terms(
        self, heads: dict[str, Tensor], batch: Batch, action: Tensor | None, *, hidden: Tensor, clean: Tensor
    ) -> dict[str, Tensor]:
        """Terms of the heads that have labels, on clean frames: `inverse` where a known action was hidden, `reward`."""
        terms = {}
        if action is not None and "inverse_action" in heads:
            error = (heads["inverse_action"].float() - action).square().mean(-1)
            terms["inverse"] = _mean_where(error, hidden & clean)
        if batch.rewards is not None:
            known = torch.ones_like(clean) if batch.reward_mask is None else batch.reward_mask
            terms["reward"] = _mean_where((heads["reward"].float() - batch.rewards.float()).square(), known & clean)
        return terms


def _rows(batch: Batch, rows: slice) -> Batch:
    """Some windows of a batch."""
    found = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: value[rows] for name, value in found.items() if isinstance(value, Tensor)})


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen ones, zero if there are none."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def _mix(noise: Tensor, clean: Tensor, signal_BT: Tensor) -> Tensor:
    signal = signal_BT[..., None, None]
    return (1 - signal) * noise + signal * clean
