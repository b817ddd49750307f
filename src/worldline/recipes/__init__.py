"""Recipes: functions that return a full, frozen description of a training run, and the one function that carries it out.

A derived recipe calls another one and changes two fields. May import: everything below cli. Refuses to know: the command line.
"""

from worldline.recipes.push import collect_push, push
from worldline.recipes.real import cars, droid, read_cars, read_droid
from worldline.recipes.recipe import Recipe, TrainingInterruptedError, encode_store, train_world
from worldline.recipes.watch import side_by_side, watch_rollouts

__all__ = [
    "Recipe",
    "TrainingInterruptedError",
    "cars",
    "collect_push",
    "droid",
    "encode_store",
    "push",
    "read_cars",
    "read_droid",
    "side_by_side",
    "train_world",
    "watch_rollouts",
]
