"""What `worldline ingest` takes, and the help that teaches it. Light, as `cli.arguments` is.

May import: tyro. Refuses to know: all other rooms.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import FlagCreatePairsOff, Positional


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingest:
    """Make clean, trainable data sets out of any pile of video: cut into shots, filtered, without duplicates, at one size and rate.

    A source is a folder, a video, a LeRobotDataset, a WebDataset shard, a text file that lists them, or a pattern. The same command again
    does nothing; with ten new files it costs ten files; after a crash it goes on. The result depends on what is in the files and on
    the settings alone, not on their order or on how many processes worked. docs/ingest.md says more.

    Example: worldline ingest my_videos --out ingested

    Example: worldline ingest shards/*.tar --out ingested --size 256 --ray auto --workers 64

    Example: worldline train ingested/datasets/video --out runs/mine

    Writes: OUT/datasets/GROUP (LeRobotDataset v3.0, one per kind of labels), OUT/report.html, OUT/work (results, to go on from).

    Attributes:
        sources: where the video is.
        out: folder of the result; more can be added to it later.
        size: side of the square frames, pixels, an even number.
        rate_hz: frames per second of the clips.
        fit: how frames of another aspect ratio are made square.
        shots: what finds the cuts: adaptive and content are PySceneDetect's, transnet is a network, slower; none takes files whole.
        min_seconds: shorter clips are dropped.
        max_seconds: longer shots are cut into clips of this length.
        min_motion: drop clips whose picture moves less, in widths per second.
        keep_all: drop nothing but what is too short; scores are kept all the same.
        keep_duplicates: do not look for clips that show the same.
        workers: files at a time; one per core if not given.
        ray: run on Ray: local, or the address of a cluster that sees OUT and the sources under the same paths.
        captions: ask this endpoint for words where there are none, such as http://localhost:8000/v1; needs --caption-model. Frames are
            sent there. The environment variable WORLDLINE_CAPTION_KEY is sent along as its key.
        caption_model: the model's name, as the endpoint knows it.
        camera: which camera of LeRobotDatasets.
        source_column: the column of tables that training and held-out sets are split by.
        retry: try files again that could not be read before.
        json: print the figures as one JSON object, with processor seconds per stage.
    """

    sources: Positional[tuple[str, ...]]
    out: Path = Path("ingested")
    size: int = 128
    rate_hz: float = 10.0
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    shots: Literal["adaptive", "content", "transnet", "none"] = "adaptive"
    min_seconds: float = 1.0
    max_seconds: float = 20.0
    min_motion: float = 0.0
    keep_all: FlagCreatePairsOff[bool] = False
    keep_duplicates: FlagCreatePairsOff[bool] = False
    workers: int | None = None
    ray: str | None = None
    captions: str | None = None
    caption_model: str | None = None
    camera: str | None = None
    source_column: str | None = None
    retry: FlagCreatePairsOff[bool] = False
    json: FlagCreatePairsOff[bool] = False
