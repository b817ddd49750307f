"""Objectives: from a rollout to one score per row, higher is better, differentiable.

    objective = GoalLatent(goal, token_weights=moving_token_weights(torch.stack([now, goal])))

May import: torch and `worldline.interfaces`. Refuses to know: planners, pixels, how a world produced its latents and heads.
"""

from worldline.reward.goal import GoalLatent, moving_token_weights
from worldline.reward.head import RewardHead

__all__ = ["GoalLatent", "RewardHead", "moving_token_weights"]
