"""What a reader took and what it left out.

May import: nothing. Refuses to know: what was read.
"""

from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class ReadReport:
    """Counts of one pass over a data set; a reader fills it while it is consumed, so look at it afterwards.

    Attributes:
        num_clips: clips that were handed out.
        skipped: file or episode -> why it was left out.
    """

    num_clips: int = 0
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        first = next(iter(self.skipped.items()), None)
        example = f"; the first: {first[0]}: {first[1]}" if first else ""
        return f"{self.num_clips} clips read, {len(self.skipped)} skipped{example}"
