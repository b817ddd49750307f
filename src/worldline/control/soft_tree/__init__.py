"""SoftTree: a tree of action chunks that is differentiable in every edge.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how a world or an objective works.
"""

from worldline.control.soft_tree.config import SoftTreeConfig
from worldline.control.soft_tree.planner import SoftTree
from worldline.control.soft_tree.tree import Level, Tree, TreeTargets

__all__ = ["Level", "SoftTree", "SoftTreeConfig", "Tree", "TreeTargets"]
