"""A learned distance: how many frames from here to there, from video alone.

May import: torch, `worldline.interfaces` and its siblings in `reward`. Refuses to know: pixels, actions, worlds.

Shapes: B rows, M samples, T frames, S tokens, C latent channels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldline.interfaces import Batch, Rollout
from worldline.reward.compose import Composable


@dataclass(frozen=True, kw_only=True, slots=True)
class TemporalDistanceConfig:
    """Shape of a `TemporalDistance`.

    Attributes:
        num_tokens: S.
        latent_dim: C.
        width: of the hidden layers.
        max_frames: distance that frames of other episodes count as, and the largest that is predicted; more than the frames of a window.

    Raises:
        ValueError: if a number is not positive.
    """

    num_tokens: int
    latent_dim: int
    width: int = 128
    max_frames: float = 64.0

    def __post_init__(self) -> None:
        for name in ("num_tokens", "latent_dim", "width", "max_frames"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")


class TemporalDistance(nn.Module):
    """Frames that pass between two frames of one video, regressed from their latents; implements `interfaces.Trainable`.

    Latent distance is no distance to go: a wall between two near pictures is not in it. Time is (Hartikainen et al. 2020, "Dynamical
    distance learning"; not symmetric, because going back may take longer). For frames i <= j of one window the network learns
    log(1 + j - i); a frame of another window counts as `max_frames` away. From random play the regression is the mean time that the data
    took, so it ranks, and is not the shortest time.
    """

    def __init__(self, config: TemporalDistanceConfig) -> None:
        super().__init__()
        self.config = config
        size = config.num_tokens * config.latent_dim
        self.embed = nn.Sequential(nn.Linear(size, config.width), nn.SiLU(), nn.Linear(config.width, config.width))
        self.compare = nn.Sequential(nn.Linear(3 * config.width, config.width), nn.SiLU(), nn.Linear(config.width, 1))

    def forward(self, here: Tensor, there: Tensor) -> Tensor:
        """Frames (...) from latents (..., S, C) to others; from 0 to `max_frames`; differentiable.

        Raises:
            ValueError: if the latents are not (..., S, C).
        """
        shape = (self.config.num_tokens, self.config.latent_dim)
        if here.shape[-2:] != shape or there.shape[-2:] != shape:
            raise ValueError(f"latents are {tuple(here.shape)} and {tuple(there.shape)}; this distance was made for (..., S, C) = {shape}")
        dtype = next(self.parameters()).dtype
        return torch.expm1(self._log_frames(*(self.embed(latents.flatten(-2).to(dtype)) for latents in (here, there))))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error of log(1 + frames), on pairs of one window and on pairs of two.

        Raises:
            ValueError: if the batch has no latents, or windows of a single frame.
        """
        if batch.latents is None or batch.latents.shape[1] < 2:
            raise ValueError("a temporal distance is trained on latents (B, T, S, C) of at least two frames; encode the frames first")
        rows, frames = batch.latents.shape[:2]
        embedded = self.embed(batch.latents.flatten(-2))
        first = torch.randint(frames, (rows, frames), device=embedded.device)
        second = torch.randint(frames, (rows, frames), device=embedded.device)
        early, late = torch.minimum(first, second), torch.maximum(first, second)
        row = torch.arange(rows, device=embedded.device)[:, None]
        target = (late - early).to(embedded).log1p()
        terms = {"within": F.mse_loss(self._log_frames(embedded[row, early], embedded[row, late]), target)}
        if rows > 1:
            other = embedded.roll(1, 0)[row, late]
            apart = self._log_frames(embedded[row, early], other)
            terms["between"] = F.mse_loss(apart, torch.full_like(apart, self.config.max_frames).log1p())
        return terms

    def _log_frames(self, here: Tensor, there: Tensor) -> Tensor:
        logit = self.compare(torch.cat([here, there, (here - there).square()], dim=-1)).squeeze(-1)
        return torch.sigmoid(logit) * torch.tensor(self.config.max_frames).log1p().item()


class FramesToGoal(Composable):
    """Objective: minus the frames that a learned distance puts between a rollout and a goal.

    Args:
        distance: trained; its weights are used as they are when the objective is called.
        goal_latent: (S, C).
        over_time: "final" judges the last frame only, "mean" every frame alike.

    Raises:
        ValueError: if the goal is not (S, C), or the option unknown.
    """

    def __init__(self, distance: TemporalDistance, goal_latent: Tensor, *, over_time: Literal["final", "mean"] = "final") -> None:
        if goal_latent.ndim != 2:
            raise ValueError(f"goal_latent is {tuple(goal_latent.shape)}; give the latents (S, C) of one frame")
        if over_time not in ("final", "mean"):
            raise ValueError(f'over_time is {over_time!r}; choose "final" or "mean"')
        self.distance = distance
        self.goal_latent = goal_latent
        self.over_time = over_time

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores, mean over samples."""
        latents = rollout.latents[:, :, -1:] if self.over_time == "final" else rollout.latents
        return -self.distance(latents, self.goal_latent.to(latents).expand_as(latents)).mean(2).mean(0)
