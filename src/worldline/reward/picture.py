"""Reaching a goal picture, measured so that a thing out of place costs more the farther it is away, whether or not it overlaps its goal.

May import: torch, `worldline.interfaces` and its siblings in `reward`. Refuses to know: what draws the pictures, and what they show.

Shapes: B batch, P problems, M samples, T frames, S tokens, C latent channels, H, W pixels.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy
from typing import Literal

import torch
from torch import Tensor

from worldline.interfaces import Rollout
from worldline.reward.compose import Composable
from worldline.reward.goal import nearest


class GoalPicture(Composable):
    """Objective: minus the distance between the pictures of a rollout and the goal's, in Sobolev norms of negative order.

        score = - over_time of cost[t],   cost[t] = mean over n of |x[t] - goal|^2_n / |start - goal|^2_n
        |d|^2_n = sum over colours and i, j of max(1, i^2 + j^2)^-n D[i, j]^2

    where D is the cosine transform of a difference of pictures d, so that the border is a wall. A frame costs 0 at the goal and 1 at the
    start. Of order 0 the norm is the squared difference of pixels, which is as large for a thing beside its goal as for one across the
    picture, and so are distances between the latents of patches. Of order 1 it is, for small moves and up to a factor, the Wasserstein
    distance of optimal transport (Peyre 2018, "Comparison between W2 distance and H^-1 norm, and localization of Wasserstein distance"); of
    order 1.5 the energy distance (Szekely and Rizzo 2013): it falls all the way to the goal. Order 0 is the sharper one at its end.

    Args:
        goal_latent: (S, C), the frame to reach; or (P, S, C), of P problems whose rows lie one after the other, as `plan_many` has them.
        start_latent: (S, C) or (P, S, C), where the way begins.
        decode: latents (..., S, C) -> pictures (..., 3, H, W), differentiable; for example `world.decode`.
        orders: n, each with the same say.
        over_time: "final" judges the last frame only, "mean" every frame alike, "nearest" the one that comes nearest; see `GoalLatent`.

    Raises:
        ValueError: if the latents are not finite and of one shape, an order is negative or there is none, or the option is unknown.
    """

    def __init__(
        self,
        goal_latent: Tensor,
        start_latent: Tensor,
        decode: Callable[[Tensor], Tensor],
        *,
        orders: Sequence[float] = (0.0, 1.5),
        over_time: Literal["final", "mean", "nearest"] = "nearest",
    ) -> None:
        pair = torch.stack([goal_latent, start_latent]) if goal_latent.shape == start_latent.shape else goal_latent[None]
        if pair.ndim not in (3, 4) or len(pair) != 2 or 0 in pair.shape or not pair.isfinite().all():
            shapes = f"{tuple(goal_latent.shape)} and {tuple(start_latent.shape)}"
            raise ValueError(f"goal and start are {shapes}; give the finite latents (S, C) of one frame each, or (P, S, C) of P problems")
        if not orders or not all(0 <= order < math.inf for order in orders):
            raise ValueError(f"orders are {tuple(orders)}; give at least one, none of them negative")
        if over_time not in ("final", "mean", "nearest"):
            raise ValueError(f'over_time is {over_time!r}; choose "final", "mean" or "nearest"')
        self.goal_latent, self.decode, self.over_time = goal_latent, decode, over_time
        with torch.no_grad():
            goals, starts = decode(pair if pair.ndim == 4 else pair[:, None])
            self.goals = goals[:, None, None]  # (P, 1, 1, 3, H, W), beside rows and frames
            self.rows, self.columns = (cosine_transform(side).to(goals) for side in goals.shape[2:])
            squares = [torch.arange(side).to(goals).square() for side in goals.shape[2:]]
            frequencies = (squares[0][:, None] + squares[1]).clamp_min(1)
            away = self._transform(starts[:, None, None]).square().sum(3)
            self.weights = torch.zeros_like(away)
            for order in orders:
                norm = frequencies**-order
                # A start that looks like the goal must not divide by nothing: a thousandth in every pixel is no distance.
                least = 1e-6 * float(norm.sum())
                self.weights += norm / (norm * away).sum((-1, -2), keepdim=True).clamp_min(least) / len(orders)

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores, mean over samples.

        Raises:
            ValueError: if the rollout's tokens or channels are not the goal's.
        """
        latents = rollout.latents if self.over_time != "final" else rollout.latents[:, :, -1:]
        count, rest = divmod(latents.shape[1], len(self.goals))
        if latents.shape[-2:] != self.goal_latent.shape[-2:] or rest:
            found, wanted = tuple(latents.shape[-2:]), tuple(self.goal_latent.shape)
            raise ValueError(
                f"the rollout has {latents.shape[1]} rows of latents {found} per frame and the goal {wanted}; make the goal with the same "
                "world, and give each problem as many rows"
            )
        pictures = self.decode(latents).unflatten(1, (len(self.goals), count))
        costs = (self._transform(pictures).square().sum(-3) * self.weights).sum((-1, -2)).flatten(1, 2)
        return -(nearest(costs) if self.over_time == "nearest" else costs.mean(-1)).mean(0)

    @property
    def num_problems(self) -> int:
        """Goals, P."""
        return len(self.goals)

    def select(self, rows: Sequence[int]) -> "GoalPicture":
        """The objective of some of the problems, in that order."""
        chosen, index = copy(self), list(rows)
        chosen.goals, chosen.weights = self.goals[index], self.weights[index]
        chosen.goal_latent = self.goal_latent[index] if self.goal_latent.ndim == 3 else self.goal_latent
        return chosen

    def _transform(self, pictures: Tensor) -> Tensor:
        """The cosine transforms (..., P, N, T, 3, H, W) of the differences to the goals."""
        return self.rows @ (pictures - self.goals) @ self.columns.T


def cosine_transform(size: int) -> Tensor:
    """The orthonormal discrete cosine transform of type 2 as a matrix (size, size), a frequency per row; float64."""
    places = torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi / size * places[:, None] * (places + 0.5))
    matrix[0] *= math.sqrt(0.5)
    return matrix
