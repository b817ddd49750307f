"""What came with the pixels of an item, moved to the frames of one of its clips.

A clip has another rate than its file: actions and states are those recorded at the frames that were kept, which is right for actions
that are held; rewards earned at frames in between are added up, so that none is lost.

May import: data.ingest.work, data.curate.record, data.lerobot_layout (names of columns), numpy. Refuses to know: video, data sets.
"""

import numpy as np

from worldline.data.curate.record import ClipRecord
from worldline.data.ingest.work import Labels
from worldline.data.lerobot_layout import ACTION, REWARD, STATE


def columns_for(labels: Labels, clip: ClipRecord) -> dict[str, np.ndarray]:
    """The columns of LeRobot for the frames of `clip`, each (T,) or (T, D) float32.

    Raises:
        ValueError: if the labels end before the clip does, or hold values that are not finite.
    """
    given = {ACTION: labels.actions, STATE: labels.states, REWARD: labels.rewards}
    rows = rows_of(labels, clip)
    columns = {}
    for name, values in given.items():
        if values is None:
            continue
        if rows[-1] >= len(values):
            raise ValueError(f"{name} has {len(values)} rows, the clip needs {rows[-1] + 1}")
        if name == REWARD:
            earned = np.diff(np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])[rows + 1], prepend=np.nan)
            # LeRobot notes what an action earned: the frame after tells; the last one is repeated.
            chosen = np.append(earned[1:], earned[-1] if len(earned) > 1 else 0.0)
        else:
            chosen = values[rows]
        if not np.isfinite(chosen).all():
            raise ValueError(f"{name} holds values that are not finite")
        rows_are_numbers = chosen.ndim == 2 and chosen.shape[-1] == 1
        columns[name] = (chosen[:, 0] if rows_are_numbers else chosen).astype(np.float32)
    return columns


def rows_of(labels: Labels, clip: ClipRecord) -> np.ndarray:
    """(T,) the row of the labels for each frame of the clip."""
    if labels.rate_hz is None:
        return np.array(clip.frame_indices)
    seconds = np.array(clip.frame_seconds) - labels.start_seconds
    return np.maximum(np.round(seconds * labels.rate_hz).astype(int), 0)
