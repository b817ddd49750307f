"""Recipes: functions that return a full, frozen description of a training run, and the one function that carries it out.

A derived recipe calls another one and changes two fields. May import: everything below cli. Refuses to know: the command line.
"""

from worldline.recipes.push import collect_push, push
from worldline.recipes.recipe import Recipe, TrainingInterruptedError, encode_store, train_world

__all__ = ["Recipe", "TrainingInterruptedError", "collect_push", "encode_store", "push", "train_world"]
