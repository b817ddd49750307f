"""Objectives: from a rollout to one score per row, higher is better, differentiable; and constraints, kept where at most 0.

    objective = GoalLatent(goal, token_weights=moving_token_weights(torch.stack([now, goal]))) + 0.1 * Smoothness(world.action_spec)

Objectives compose with `+`, `-` and `*`; `Term` makes any function one that does.

May import: torch, safetensors and `worldline.interfaces`. Refuses to know: planners, how a world produced its latents and heads.
"""

from worldline.reward.actions import Effort, NearData, Smoothness
from worldline.reward.compose import Composable, Product, Sum, Term
from worldline.reward.constraint import AtLeast, AtMost, Penalty
from worldline.reward.frame_code import FrameCode, FrameCodeConfig, GoalCode, load_frame_code, save_frame_code
from worldline.reward.goal import GoalClip, GoalLatent, moving_token_weights, nearest
from worldline.reward.head import RewardHead
from worldline.reward.picture import GoalPicture
from worldline.reward.temporal import FramesToGoal, TemporalDistance, TemporalDistanceConfig

__all__ = [
    "AtLeast",
    "AtMost",
    "Composable",
    "Effort",
    "FrameCode",
    "FrameCodeConfig",
    "FramesToGoal",
    "GoalClip",
    "GoalCode",
    "GoalLatent",
    "GoalPicture",
    "NearData",
    "Penalty",
    "Product",
    "RewardHead",
    "Smoothness",
    "Sum",
    "TemporalDistance",
    "TemporalDistanceConfig",
    "Term",
    "load_frame_code",
    "moving_token_weights",
    "nearest",
    "save_frame_code",
]
