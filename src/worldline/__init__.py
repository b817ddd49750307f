"""worldline: show it a video, get a world you can step, edit, differentiate and plan in."""

from worldline import agent, control, reward
from worldline.interfaces import ActionSpec, Batch, Clip, Event, Plan, Rollout, State
from worldline.world import World, WorldConfig

__all__ = ["ActionSpec", "Batch", "Clip", "Event", "Plan", "Rollout", "State", "World", "WorldConfig", "agent", "control", "reward"]
