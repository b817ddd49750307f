"""Policies that are trained inside a world, from real contexts, and judged outside of it.

    train_by_gradients    analytic gradients through short differentiable windows, closed by a value (SHAC, PWM)
    train_by_preference   imagined rollouts, better actions made likelier and worse ones less, near a prior (PMPO)

`save_actor` and `load_actor` keep one in a file. `RecentFrames` goes around a world and shows what acts the last few frames instead of
the newest.

Nothing is ever selected by imagined return: a learner finds the world's errors first. The last weights are returned, and the record of
imagined returns is for looking at only.

May import: torch, safetensors and `worldline.interfaces`. Refuses to know: how a world is learned, environments, planners.
"""

from worldline.control.actor.network import Actor, ActorConfig, Contexts
from worldline.control.actor.preference import PreferenceConfig, train_by_preference
from worldline.control.actor.recent import RecentFrames
from worldline.control.actor.storage import load_actor, save_actor
from worldline.control.actor.value import CriticConfig, Trained
from worldline.control.actor.window import WindowConfig, train_by_gradients

__all__ = [
    "Actor",
    "ActorConfig",
    "Contexts",
    "CriticConfig",
    "PreferenceConfig",
    "RecentFrames",
    "Trained",
    "WindowConfig",
    "load_actor",
    "save_actor",
    "train_by_gradients",
    "train_by_preference",
]
