"""What was done between frames, read off the frames: a small network that a few labelled episodes suffice for.

It looks before and behind the moment, as only a recording allows (Baker et al., 2022, Video PreTraining). Frames become points, the mean
places of what a convolution finds (spatial soft-argmax: Finn et al., 2016, Deep Spatial Autoencoders), and means of what there is to see.
Points are found everywhere alike, so eleven episodes teach where a thing is; the same size of network on latents, or on all of them at
once, was far off (docs/log.md).

May import: data, torch. Refuses to know: tokenizers, dynamics, where the episodes come from.

Shapes: B batch, T frames, C colours, H height, W width, A action, k recorded frames per frame of the world, P points, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldline.data import to_float

_SIDE = 64  # larger frames are averaged down to it: where a thing is needs no more
_CHUNK = 64  # frames per pass when a recording is read
_SHARP = 3.0  # of the soft-argmax in the beginning; learnt from there


@dataclass(frozen=True, kw_only=True, slots=True)
class InverseConfig:
    """Shape and training of an inverse model.

    Attributes:
        num_points: P; as many means go beside them.
        width: channels of the first convolution; the second has twice as many.
        hidden: width of the layer between features and actions.
        steps: optimiser steps.
        windows: per step.
        num_frames: consecutive frames per window whose actions are asked for.
        learning_rate: of AdamW, falling to zero in a straight line.
        weight_decay: of AdamW.
        noise: standard deviation of what is added to the pixels in training.
        dropout: of the hidden layer.
    """

    num_points: int = 8
    width: int = 8
    hidden: int = 64
    steps: int = 300
    windows: int = 8
    num_frames: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    noise: float = 0.02
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.num_points, self.width, self.hidden, self.steps, self.windows, self.num_frames) < 1:
            raise ValueError(f"all counts must be at least 1, got {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Rows `first` to `end` (not included) of a store, of one episode; nothing beyond them is looked at."""

    first: int
    end: int

    def rows(self, start: int, count: int, margin: int) -> Tensor:
        """Rows (count + 2 * margin,) from `margin` before `start` on; the first and last frame stand for what lies beyond them."""
        return torch.arange(start - margin, start + count + margin).clamp(self.first, self.end - 1)


class InverseModel(nn.Module):
    """Frames around each moment -> the action that was done there.

    Args:
        config: shape.
        mean, std: (A,), of the known actions; outputs are standardised.
        frame_skip: k. Motion is looked for over the time of a frame of the world, whatever the rate of the recording.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: InverseConfig, mean: Tensor, std: Tensor, frame_skip: int) -> None:
        super().__init__()
        self.config, self.frame_skip = config, frame_skip
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        width, points = config.width, config.num_points
        self.see = nn.Sequential(
            nn.Conv2d(6, width, 5, 2, 2),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * points, 3, 1, 1),
        )
        self.sharpness = nn.Parameter(torch.full((points, 1, 1), _SHARP))
        size = 3 * points * len(self.offsets)
        self.straight = nn.Linear(size, len(mean))
        self.bent = nn.Sequential(
            nn.Linear(size, config.hidden), nn.SiLU(), nn.Dropout(config.dropout), nn.Linear(config.hidden, len(mean))
        )

    @property
    def offsets(self) -> tuple[int, ...]:
        """Recorded frames that are looked at, counted from the moment of the action."""
        return tuple(sorted({-self.frame_skip, 0, 1, self.frame_skip, 2 * self.frame_skip}))

    @property
    def margin(self) -> int:
        """Recorded frames that `forward` takes on either side of those whose actions it gives."""
        return 2 * self.frame_skip

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Standardised actions (B, T - 2 * margin, A) from frames (B, T, 3, H, W) in [0, 1]."""
        features = self._features(frames_BTCHW)  # from frame k on: each beside the one that was k before it
        count = frames_BTCHW.shape[1] - 2 * self.margin
        at = {offset: features[:, self.frame_skip + offset :][:, :count] for offset in self.offsets}
        # Where things are now, and how they went from one glance to the next.
        seen = [at[0], *(at[late] - at[early] for early, late in zip(self.offsets[:-1], self.offsets[1:], strict=True))]
        joined = torch.cat(seen, dim=-1)
        return self.straight(joined) + self.bent(joined)

    def _features(self, frames: Tensor) -> Tensor:
        """(B, T - k, F): points, and means."""
        frames = (frames - 0.5) * 4
        motion = frames[:, self.frame_skip :] - frames[:, : -self.frame_skip]
        pairs = torch.cat([frames[:, self.frame_skip :], motion], dim=2)
        logits, values = self.see(pairs.flatten(0, 1)).chunk(2, dim=1)
        where = (logits * self.sharpness).flatten(2).softmax(-1).unflatten(-1, logits.shape[-2:])
        high, wide = (torch.linspace(-1, 1, size, device=frames.device) for size in logits.shape[-2:])
        parts = [(where.sum(2) * wide).sum(-1), (where.sum(3) * high).sum(-1), F.silu(values).mean((2, 3))]
        return torch.cat(parts, dim=-1).unflatten(0, pairs.shape[:2])


def fit_inverse_model(
    video: Tensor,
    actions: Tensor,
    stretches: Sequence[Stretch],
    *,
    frame_skip: int = 1,
    config: InverseConfig | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> InverseModel:
    """Train on the labelled `stretches`. Deterministic for one seed, on one kind of machine.

    Args:
        video: (N, 3, H, W) uint8, of all rows.
        actions: (N, A), of all rows, in any unit; those outside the stretches are not looked at.
        stretches: with known actions. What the last frame of each led to is not seen, and so not asked for.
        frame_skip: k.
        config: shape and training.
        device: to train on.
        seed: of weights, windows and noise.

    Raises:
        ValueError: if there is no stretch of two frames.
    """
    config = config or InverseConfig()
    stretches = [stretch for stretch in stretches if stretch.end - stretch.first >= 2]
    if not stretches:
        raise ValueError("no labelled stretch of two frames or more to learn from")
    known = torch.cat([actions[stretch.first : stretch.end - 1] for stretch in stretches]).float()
    mean, std = known.mean(0), known.std(0, correction=0).clamp_min(1e-4)
    weights = torch.tensor([stretch.end - 1 - stretch.first for stretch in stretches], dtype=torch.float)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = InverseModel(config, mean, std, frame_skip).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        for step in range(config.steps):
            chosen = [stretches[index] for index in torch.multinomial(weights, config.windows, replacement=True, generator=generator)]
            rows, wanted = zip(*(_window(stretch, config.num_frames, model.margin, generator) for stretch in chosen), strict=True)
            frames = read_frames(video, torch.stack(rows)).to(device)
            at = torch.stack(wanted)
            asked = (at < torch.tensor([[stretch.end - 1] for stretch in chosen])).to(device)
            target = ((actions[at].float() - mean) / std).to(device)
            found = model(frames + config.noise * torch.randn_like(frames))
            error = F.smooth_l1_loss(found, target, beta=0.1, reduction="none").mean(-1)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min(1, (step + 1) / 30) * (1 - step / config.steps)
            optimizer.zero_grad()
            (torch.where(asked, error, 0).sum() / asked.sum().clamp_min(1)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def read_actions(model: InverseModel, video: Tensor, stretch: Stretch) -> Tensor:
    """Actions (T - 1, A) of a stretch of T rows of `video`, in the unit of the labels; nothing shows what the last frame led to."""
    device = next(model.parameters()).device
    found = []
    for start in range(stretch.first, stretch.end - 1, _CHUNK):
        rows = stretch.rows(start, min(_CHUNK, stretch.end - 1 - start), model.margin)
        found.append(model(read_frames(video, rows[None]).to(device))[0])
    return (torch.cat(found) * model.std + model.mean).cpu() if found else model.mean.cpu().new_zeros(0, len(model.mean))


def read_frames(video: Tensor, rows: Tensor) -> Tensor:
    """Frames (*rows, 3, H, W) in [0, 1], averaged down to 64 pixels where they are larger."""
    frames = to_float(video[rows.flatten()])
    if max(frames.shape[-2:]) > _SIDE:
        frames = F.interpolate(frames, size=[min(_SIDE, side) for side in frames.shape[-2:]], mode="area")
    return frames.unflatten(0, rows.shape)


def _window(stretch: Stretch, count: int, margin: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of frames (count + 2 * margin,) and of actions (count,) of a random window; in a short stretch the last row is repeated."""
    places = max(1, stretch.end - stretch.first - count)
    start = stretch.first + int(torch.randint(places, (), generator=generator))
    return stretch.rows(start, count, margin), stretch.rows(start, count, 0)
