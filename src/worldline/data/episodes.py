"""Episodes of pixels on disk, mapped into memory: what a tokenizer trains on.

May import: interfaces, data.store, data.action_range. Refuses to know: where the clips came from, how batches are drawn.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from worldline.data.action_range import spec_from_actions
from worldline.data.store import ArrayStore, ArrayWriter, Episode
from worldline.interfaces import ActionSpec, Clip


class EpisodeStore(ArrayStore):
    """A folder of episodes of one frame size; labelled and unlabelled ones mix freely. See `ArrayStore` for the rest."""

    video_array = "frames"

    @classmethod
    def build(cls, folder: str | Path, clips: Iterable[Clip], *, action_spec: ActionSpec | None = None) -> Self:
        """Write `clips` to a new store at `folder`, one at a time, and open it.

        Args:
            folder: must not exist; appears when the last clip is written.
            clips: of one frame size, and of one number of components per kind of label.
            action_spec: bounds of the actions where they are known; estimated from the data otherwise.

        Raises:
            FileExistsError: if `folder` exists.
            ValueError: if there are no clips, shapes differ, or a label is not finite; nothing is left behind.
        """
        with ArrayWriter(folder) as writer:
            seen_actions: list[Tensor] = []
            for clip in clips:
                labels = {name: _label_rows(clip, name) for name in ("actions", "states", "rewards") if getattr(clip, name) is not None}
                if len(clip) == 0:
                    raise ValueError(f"{clip.source}: a clip without frames")
                writer.append({"frames": clip.frames, **labels}, rate_hz=clip.rate_hz, source=clip.source, text=clip.text)
                if "actions" in labels:
                    seen_actions.append(labels["actions"])
            if not writer.episodes:
                raise ValueError(f"{folder}: no clips to build a store from")
            if seen_actions and action_spec is None:
                action_spec = spec_from_actions(torch.cat(seen_actions))
            if seen_actions and action_spec is not None and action_spec.dim != seen_actions[0].shape[1]:
                raise ValueError(f"action_spec has {action_spec.dim} components, the clips' actions have {seen_actions[0].shape[1]}")
            writer.finish(action_spec)
        return cls.open(folder)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        height, width = self.video.shape[-2:]
        return height, width

    def episode(self, index: int) -> Clip:
        """Episode `index` as a clip that shares the store's memory.

        Raises:
            IndexError: if there is no such episode.
        """
        episode: Episode = self.episodes[index]
        frames, rewards = self.rows("frames", episode), self.rows("rewards", episode)
        assert frames is not None
        return Clip(
            frames=frames,
            rate_hz=episode.rate_hz,
            source=episode.source,
            actions=self.rows("actions", episode),
            states=self.rows("states", episode),
            rewards=None if rewards is None else rewards[:, 0],
            text=episode.text,
        )


def _label_rows(clip: Clip, name: str) -> Tensor:
    rows: Tensor = getattr(clip, name).to(torch.float32)
    rows = rows[:, None] if name == "rewards" else rows
    if rows.ndim != 2:
        raise ValueError(f"{clip.source}: {name} of shape {tuple(getattr(clip, name).shape)}; give one vector per frame")
    if not torch.isfinite(rows).all():
        raise ValueError(f"{clip.source}: {name} hold NaN or infinity; repair or drop this clip")
    return rows
