"""What a source hands out: one stretch of video that has not been decoded yet, with the labels that came with it.

May import: numpy. Refuses to know: where it came from, how it is decoded.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Fact: TypeAlias = float | int | str | bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SourceItem:
    """One stretch of video, still encoded. Pickles, so that it can go to another process.

    Labels are per frame of the file: row `t` belongs to the t-th frame that is decoded from `start_seconds` on, at the file's own
    rate. `actions[t]` is applied at frame `t`.

    Attributes:
        key: what the pixels are: the sha256 of the file's bytes, then `:start-end` where only a stretch of it is meant. Equal
            bytes have equal keys wherever they lie. Labels are not in it; see `labels_key`.
        name: readable and relative to what was asked for: `site_a/clip.mp4`, `shard-000.tar/clip.mp4`.
        source: what training and held-out sets are split by; the name without suffix where nothing better is known.
        path: the regular file to read; None where `content` is given.
        content: the bytes of the file, for members of archives; None where `path` is given.
        start_seconds: where the stretch begins, from the file's first frame; None for the beginning.
        end_seconds: where it ends, the frame at this time excluded; None for the end.
        caption: what happens, in words.
        facts: further values of the whole clip by name: tags, other captions.
        actions: (T, A) float32; None where there are none.
        action_names: one name per component, or ().
        states: (T, D) float32; None where there are none.
        rewards: (T,) float32; `rewards[t]` is what arriving at frame `t` earned. None where there are none.
        rate_hz: frames per second that the labels were recorded at; None: the file's own.
    """

    key: str
    name: str
    source: str
    path: Path | None = None
    content: bytes | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    caption: str | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    actions: np.ndarray | None = None
    action_names: tuple[str, ...] = ()
    states: np.ndarray | None = None
    rewards: np.ndarray | None = None
    rate_hz: float | None = None

    def __post_init__(self) -> None:
        # Names in other encodings, and captions cut in the middle of a character, hold what no file of text can.
        for name in ("name", "source", "caption"):
            object.__setattr__(self, name, _writable(getattr(self, name)))
        object.__setattr__(self, "facts", {_writable(name): _writable(value) for name, value in self.facts.items()})
        if (self.path is None) == (self.content is None):
            raise ValueError(f"{self.name}: give either the path of the file or its content")
        for name, dim in (("actions", 2), ("states", 2), ("rewards", 1)):
            value = getattr(self, name)
            if value is not None and (value.ndim != dim or value.dtype != np.float32):
                raise ValueError(f"{self.name}: {name} must be float32 with {dim} axes, got {value.shape} {value.dtype}")
        if self.actions is not None and self.action_names and len(self.action_names) != self.actions.shape[1]:
            raise ValueError(f"{self.name}: {len(self.action_names)} names for {self.actions.shape[1]} action components")

    @property
    def labels_key(self) -> str:
        """A sha256 of everything but the pixels: changes when a caption, a fact or an action does, or the source."""
        words = [self.name, self.source, self.caption, sorted(self.facts.items()), self.action_names, self.rate_hz]
        digest = hashlib.sha256(json.dumps(words).encode())
        for rows in (self.actions, self.states, self.rewards):
            digest.update(b"none" if rows is None else f"{rows.shape}".encode() + np.ascontiguousarray(rows).tobytes())
        return digest.hexdigest()


def _writable(value: Any) -> Any:
    """Words without halves of characters, whole numbers of 64 bits or else their digits; anything else as it is."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """Something that was found and is not read; counted, never raised.

    Attributes:
        name: as `SourceItem.name`.
        reason: why, for a person; without the name.
    """

    name: str
    reason: str
