"""What a pass over a file found, and its form as JSON, which comes out of the sandbox and is believed only after a look.

May import: data.curate.fingerprint. Refuses to know: torch, how it was found.
"""

import json
import math
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

from worldline.data.curate.fingerprint import HASH_BYTES, NUM_PICTURES, SIDE

VERDICTS = ("kept", "short", "black", "text", "frozen", "bars", "blurred", "flicker", "still")
"""What a pass says of a clip: kept, or the fault that it is dropped for, in the order in which faults are looked for."""

_MAX_STRIP_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipRecord:
    """One clip of a file, kept or not.

    Attributes:
        start_seconds, end_seconds: where it lies in the file.
        frame_indices: for each frame of the clip its index among the decoded frames of the stretch.
        frame_seconds: and its time in the file.
        first_frame: where it begins in the encoded video; -1 if it was not kept.
        verdict: "kept", or the fault that it was dropped for.
        scores: name -> value.
        hash: `fingerprint.HASH_BYTES` bytes.
        pictures: of the fingerprint, the bytes of (NUM_PICTURES, SIDE, SIDE) uint8.
        strip: a JPEG of a few frames side by side, for people.
    """

    start_seconds: float
    end_seconds: float
    frame_indices: tuple[int, ...]
    frame_seconds: tuple[float, ...]
    first_frame: int
    verdict: str
    scores: dict[str, float]
    hash: bytes
    pictures: bytes
    strip: bytes


@dataclass(kw_only=True, slots=True)
class Passage:
    """What one pass over a file found.

    Attributes:
        clips: in order.
        width, height, codec, duration_seconds: what the file says about itself.
        num_decoded: frames.
        damage: where the file broke, if it did; what came before is used.
        stage_seconds: stage -> processor seconds; the only part that differs from run to run.
    """

    clips: list[ClipRecord] = field(default_factory=list)
    width: int = 0
    height: int = 0
    codec: str = ""
    duration_seconds: float | None = None
    num_decoded: int = 0
    damage: str | None = None
    stage_seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As JSON, for `passage_from_json`."""
        fields = {name: getattr(self, name) for name in _PASSAGE_FIELDS}
        return json.dumps({**fields, "clips": [_clip_to_json(clip) for clip in self.clips]}).encode()


_PASSAGE_FIELDS = ("width", "height", "codec", "duration_seconds", "num_decoded", "damage", "stage_seconds")
_CLIP_FIELDS = ("start_seconds", "end_seconds", "frame_indices", "frame_seconds", "first_frame", "verdict", "scores")


def passage_from_json(content: bytes) -> Passage:
    """The inverse of `Passage.to_json`, for content that nobody vouches for.

    Raises:
        ValueError: if it is not what `to_json` writes.
    """
    try:
        fields = json.loads(content)
        passage = Passage(
            width=_whole(fields["width"]),
            height=_whole(fields["height"]),
            codec=str(fields["codec"])[:64],
            duration_seconds=None if fields["duration_seconds"] is None else float(fields["duration_seconds"]),
            num_decoded=_whole(fields["num_decoded"]),
            damage=None if fields["damage"] is None else str(fields["damage"])[:1000],
            stage_seconds={str(name): float(value) for name, value in fields["stage_seconds"].items()},
        )
        passage.clips = [_clip_from_json(clip) for clip in fields["clips"]]
    except (LookupError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError(f"not the record of a pass over a file ({type(error).__name__}: {error})") from error
    return passage


def _clip_to_json(clip: ClipRecord) -> dict[str, Any]:
    coded = {"hash": clip.hash, "pictures": clip.pictures, "strip": clip.strip}
    return {name: getattr(clip, name) for name in _CLIP_FIELDS} | {name: b64encode(value).decode() for name, value in coded.items()}


def _clip_from_json(fields: dict[str, Any]) -> ClipRecord:
    indices = tuple(_whole(index) for index in fields["frame_indices"])
    seconds = tuple(float(value) for value in fields["frame_seconds"])
    clip = ClipRecord(
        start_seconds=float(fields["start_seconds"]),
        end_seconds=float(fields["end_seconds"]),
        frame_indices=indices,
        frame_seconds=seconds,
        first_frame=int(fields["first_frame"]),
        verdict=str(fields["verdict"]),
        scores={str(name): float(value) for name, value in fields["scores"].items()},
        hash=b64decode(fields["hash"], validate=True),
        pictures=b64decode(fields["pictures"], validate=True),
        strip=b64decode(fields["strip"], validate=True),
    )
    numbers = [clip.start_seconds, clip.end_seconds, *seconds, *clip.scores.values()]
    if (
        not indices
        or len(seconds) != len(indices)
        or list(indices) != sorted(indices)
        or clip.verdict not in VERDICTS
        or (clip.first_frame >= 0) != (clip.verdict == "kept")
        or (len(clip.hash), len(clip.pictures)) != (HASH_BYTES, NUM_PICTURES * SIDE * SIDE)
        or len(clip.strip) > _MAX_STRIP_BYTES
        or not all(map(math.isfinite, numbers))
    ):
        raise ValueError("a clip whose parts do not fit together")
    return clip


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
