"""Sources: what people have, as a stream of `SourceItem`: encoded video with its labels, not decoded yet.

May import: interfaces, data (decode, lerobot, sandbox), numpy, pyarrow. Refuses to know: what becomes of an item.
"""

from worldline.data.sources.item import Fact, Rejection, SourceItem

__all__ = ["Fact", "Rejection", "SourceItem"]
