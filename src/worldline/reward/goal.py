"""Reaching a goal image, or ending with a goal clip, measured between latents.

May import: torch, `worldline.interfaces` and its siblings in `reward`. Refuses to know: how the goal became latents.

Shapes: B batch, M samples, T frames, S tokens, C channels.
"""

from typing import Literal

import torch
from torch import Tensor

from worldline.interfaces import Rollout
from worldline.reward.compose import Composable

_MEAN_SHARE = 0.1  # of the mean over frames beside the nearest one


class GoalLatent(Composable):
    """Objective: minus the distance between a rollout's latents and a goal's.

        score = - over_time of cost[t],   cost[t] = mean over s of token_weights[s] * mean over c of distance(z[t, s, c], goal[s, c])

    Squared distance is the usual choice of latent planners (DINO-WM, arXiv 2411.04983); absolute distance that of V-JEPA 2-AC
    (arXiv 2506.09985), which weighs a few large errors less.

    Args:
        goal_latent: (S, C), for example `world.prompt(goal_image).latent[0]`.
        over_time: "final" judges the last frame only; "mean" every frame alike, which asks to arrive early and to stay; "nearest" the frame
            that comes nearest, for nine tenths, and their mean for the rest: it suits goals that are reached by being there once, and ways
            that lead away from the goal at first. Its gradient is that of the nearest frame.
        final_weight: with "mean", how many frames the last one counts for.
        distance: "mse" or "mae".
        token_weights: (S,) non-negative, how much each token counts; all alike if None. See `moving_token_weights`.

    Raises:
        ValueError: if the goal is not (S, C) or not finite, an option is unknown, or the weights do not fit or are all zero.
    """

    def __init__(
        self,
        goal_latent: Tensor,
        *,
        over_time: Literal["final", "mean", "nearest"] = "final",
        final_weight: float = 1.0,
        distance: Literal["mse", "mae"] = "mse",
        token_weights: Tensor | None = None,
    ) -> None:
        if goal_latent.ndim != 2 or not goal_latent.isfinite().all():
            raise ValueError(f"goal_latent is {tuple(goal_latent.shape)}; give the finite latents (S, C) of one frame")
        if over_time not in ("final", "mean", "nearest"):
            raise ValueError(f'over_time is {over_time!r}; choose "final", "mean" or "nearest"')
        if distance not in ("mse", "mae"):
            raise ValueError(f'distance is {distance!r}; choose "mse" or "mae"')
        if not 0 < final_weight < float("inf"):
            raise ValueError(f"final_weight is {final_weight}; it must be positive and finite")
        weights = torch.ones_like(goal_latent[:, 0]) if token_weights is None else token_weights.to(goal_latent)
        if weights.shape != goal_latent.shape[:1] or not (weights >= 0).all() or not 0 < weights.sum() < float("inf"):
            raise ValueError(
                f"token_weights are {tuple(weights.shape)} for {len(goal_latent)} tokens; give (S,) non-negative, not all zero"
            )
        self.goal_latent = goal_latent
        self.over_time = over_time
        self.final_weight = final_weight
        self.distance = distance
        self.token_weights = weights / weights.mean()

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores, mean over samples.

        Raises:
            ValueError: if the rollout's tokens or channels are not the goal's.
        """
        latents = rollout.latents
        if latents.shape[-2:] != self.goal_latent.shape:
            raise ValueError(
                f"the rollout has latents {tuple(latents.shape[-2:])} per frame and the goal {tuple(self.goal_latent.shape)}; "
                "make the goal with the same world"
            )
        if self.over_time == "final":
            latents = latents[:, :, -1:]
        difference = latents - self.goal_latent.to(latents)
        error = difference.square() if self.distance == "mse" else difference.abs()
        per_frame = (error.mean(-1) * self.token_weights.to(latents)).mean(-1)
        if self.over_time == "nearest":
            return -nearest(per_frame).mean(0)
        time_weights = torch.ones_like(per_frame[0, 0])
        time_weights[-1] = self.final_weight if self.over_time == "mean" else 1.0
        return -(per_frame * time_weights / time_weights.sum()).sum(-1).mean(0)


class GoalClip(Composable):
    """Objective: minus the mean squared distance of a rollout's last frames to a goal clip's, frame by frame.

    Args:
        goal_latents: (G, S, C), the clip that the rollout should end with.
        token_weights: (S,) as in `GoalLatent`; all alike if None.

    Raises:
        ValueError: if the clip is not (G, S, C) or not finite, or the weights do not fit.
    """

    def __init__(self, goal_latents: Tensor, *, token_weights: Tensor | None = None) -> None:
        if goal_latents.ndim != 3 or not len(goal_latents) or not goal_latents.isfinite().all():
            raise ValueError(f"goal_latents are {tuple(goal_latents.shape)}; give the finite latents (G, S, C) of a clip")
        weights = torch.ones_like(goal_latents[0, :, 0]) if token_weights is None else token_weights.to(goal_latents)
        if weights.shape != goal_latents.shape[1:2] or not (weights >= 0).all() or not weights.sum() > 0:
            raise ValueError(f"token_weights are {tuple(weights.shape)} for {goal_latents.shape[1]} tokens; give (S,) non-negative")
        self.goal_latents = goal_latents
        self.token_weights = weights / weights.mean()

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores, mean over samples.

        Raises:
            ValueError: if the rollout is shorter than the clip, or has other tokens or channels.
        """
        length, shape = len(self.goal_latents), self.goal_latents.shape[1:]
        if rollout.latents.shape[2] < length or rollout.latents.shape[3:] != shape:
            found = tuple(rollout.latents.shape[2:])
            raise ValueError(f"the rollout has latents {found} and the goal clip {tuple(self.goal_latents.shape)}; plan at least as far")
        error = (rollout.latents[:, :, -length:] - self.goal_latents.to(rollout.latents)).square().mean(-1)
        return -(error * self.token_weights.to(error)).mean((0, 2, 3))


def nearest(costs: Tensor) -> Tensor:
    """Costs (..., T) of frames -> (...): the least of them for nine tenths, their mean for the rest.

    An attempt that counts as soon as any frame is at the goal is worth its nearest frame; the mean says which of two plans that come as
    near is there earlier, and where to go as long as none comes near.
    """
    return torch.lerp(costs.amin(-1), costs.mean(-1), _MEAN_SHARE)


def moving_token_weights(latents: Tensor, *, floor: float = 0.05) -> Tensor:
    """Weights (S,) with mean 1 that make tokens count by how much they change, so that a small moving thing is not lost in a still scene.

        weight[s] = floor + (1 - floor) * var[s] / mean of var,   var[s] = variance over frames, mean over channels

    Args:
        latents: (T, S, C), T >= 2: frames of a clip, or the current frame and the goal stacked.
        floor: share of the weight that is spread evenly, in [0, 1]; a scene in which nothing moves is weighted evenly.

    Raises:
        ValueError: if `latents` is not (T, S, C) with T >= 2, or `floor` is not in [0, 1].
    """
    if latents.ndim != 3 or len(latents) < 2:
        raise ValueError(f"latents are {tuple(latents.shape)}; give (T, S, C) with at least two frames")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is {floor}; it must be in [0, 1]")
    variance = latents.var(0, correction=0).mean(-1)
    if not variance.any():
        return torch.ones_like(variance)
    return floor + (1 - floor) * variance / variance.mean()
