"""The reward that a world's own head predicts.

May import: torch, `worldline.interfaces` and its siblings in `reward`. Refuses to know: how the head was trained.
"""

import torch
from torch import Tensor

from worldline.interfaces import Rollout
from worldline.reward.compose import Composable


class RewardHead(Composable):
    """Objective: the discounted sum of the rewards that a head reads off a rollout, sum over t of discount^t reward[t].

    Args:
        discount: weight of each frame relative to the one before, in (0, 1].
        head: name of the head in `Rollout.heads`.

    Raises:
        ValueError: if the discount is not in (0, 1].
    """

    def __init__(self, *, discount: float = 1.0, head: str = "reward") -> None:
        if not 0 < discount <= 1:
            raise ValueError(f"discount is {discount}; it must be in (0, 1]")
        self.discount = discount
        self.head = head

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) discounted sums, mean over samples.

        Raises:
            ValueError: if the rollout has no such head, or the head is not one number per frame, (M, B, T) or (M, B, T, 1).
        """
        if self.head not in rollout.heads:
            raise ValueError(f"the rollout has no head {self.head!r}, only {sorted(rollout.heads)}; train the world with that head")
        rewards, shape = rollout.heads[self.head], rollout.latents.shape[:3]
        if rewards.shape not in (shape, (*shape, 1)):
            raise ValueError(f"head {self.head!r} is {tuple(rewards.shape)}; a reward is one number per frame, {tuple(shape)}")
        rewards = rewards.reshape(shape)
        weights = self.discount ** torch.arange(shape[2], dtype=rewards.dtype, device=rewards.device)
        return (rewards * weights).sum(-1).mean(0)
