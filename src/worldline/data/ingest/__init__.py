"""Ingest: any pile of video in, LeRobotDatasets out; incremental, restartable, on any number of processes.

    work      results on disk, one per item, named by its content and the settings
    execute   missing results made: by threads that each drive a sandboxed process, or by Ray
    remote    the same as a Ray Data pipeline
    labels    what came with the pixels, moved to the frames of the clips
    publish   all results -> data sets that appear at once
    run       all of it: `ingest`

Whatever is costly is done per item and kept, so a second run finds it done; whatever needs all items (duplicates, numbering) is cheap
and done anew from the sorted results, so nothing depends on order, on the number of workers or on what ran before.

May import: interfaces, data, and numpy, pyarrow, ray. Refuses to know: what is in a picture, how an item is read or a clip judged.
"""

from worldline.data.ingest.run import IngestConfig, IngestResult, ingest

__all__ = ["IngestConfig", "IngestResult", "ingest"]
