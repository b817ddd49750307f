"""Looks at a data set: what is in it, and whether its actions can be trusted.

    contents     episodes, frames, rates, sizes, texts, sources: from tables and headers, without decoding
    actions      ranges, and components that are missing or never change
    motion       how the picture moves, as a few dozen numbers
    foresight    how much of the actions the motion tells, at every lag
    alignment    at which lag the motion answers the actions
    statistics   the last three together, with warnings in words

May import: interfaces, the files of data, numpy, pyarrow, torch. Refuses to know: models, how anything is printed.
"""

from worldline.data.inspection.actions import ActionComponent, describe_actions, read_actions
from worldline.data.inspection.alignment import Alignment, LagEstimate, measure_alignment
from worldline.data.inspection.contents import Contents, describe_contents, read_clips
from worldline.data.inspection.motion import motion_features
from worldline.data.inspection.statistics import Statistics, measure_statistics

__all__ = [
    "ActionComponent",
    "Alignment",
    "Contents",
    "LagEstimate",
    "Statistics",
    "describe_actions",
    "describe_contents",
    "measure_alignment",
    "measure_statistics",
    "motion_features",
    "read_actions",
    "read_clips",
]
