"""Sources: what people have, as a stream of `SourceItem`: encoded video with its labels, not decoded yet.

    iterate      folders, patterns, lists, files -> items
    folder       videos with labels beside them, or in a table of all
    shards       WebDataset archives, over tar_stream
    lerobot      LeRobotDatasets
    labels       captions, facts and rows per frame, from every kind of file they come in
    places       files that somebody else named, opened without being led away

Nothing here decodes video. What cannot be read is a `Rejection` with the reason, never an exception: one bad file among a million is
counted, not the end.

May import: interfaces, data (lerobot, sandbox, media), numpy, pyarrow. Refuses to know: what becomes of an item.
"""

from worldline.data.sources.item import Fact, Rejection, SourceItem
from worldline.data.sources.iterate import SourceOptions, iterate_sources
from worldline.data.sources.tar_stream import ArchiveLimits

__all__ = ["ArchiveLimits", "Fact", "Rejection", "SourceItem", "SourceOptions", "iterate_sources"]
