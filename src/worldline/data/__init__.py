"""Data: video and labels from files, into stores that training reads fast, and back out.

    decode, encode     one video file in, one out
    media, sandbox     what a decoder may do; the same in processes that may die, for files of strangers
    sources            whatever people have, as one stream of encoded video with labels
    folder, lerobot    a folder of videos, a LeRobotDataset: iterators of `Clip`
    lerobot_writer     clips -> LeRobotDataset v3.0
    episodes, latents  memory-mapped stores of pixels and of a tokenizer's latents
    loader, mixture    a store -> batches, exactly resumable; several streams as one
    pairs              stores of latents -> pairs of frames of one episode
    video_index, video_loader    the same straight from video files
    inspection         what is in a data set, and whether its actions can be trusted

This room is the only one that touches uint8. May import: interfaces, and av, numpy, pyarrow, rich. Refuses to know: models,
devices, training.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldline.data.decode import VideoError, VideoInfo, probe, read_video
    from worldline.data.encode import VideoWriter, write_video
    from worldline.data.episodes import EpisodeStore
    from worldline.data.folder import LabelError, find_videos, read_folder
    from worldline.data.latents import LatentStore, cache_latents
    from worldline.data.lerobot import DatasetError, action_spec_of, read_lerobot
    from worldline.data.lerobot_writer import write_lerobot
    from worldline.data.loader import Loader, concatenate_actions, concatenate_spec
    from worldline.data.mixture import Mixture, load_videos
    from worldline.data.pairs import PairStream
    from worldline.data.pixels import Fit, Size, height_and_width, resize_frames, to_float, to_uint8
    from worldline.data.report import ReadReport
    from worldline.data.store import ArrayStore, held_out_sources
    from worldline.data.stream import BatchStream
    from worldline.data.video_index import IndexedEpisode, VideoIndex, index_videos
    from worldline.data.video_loader import VideoLoader
    from worldline.data.windows import Balance

__all__ = [
    "ArrayStore",
    "Balance",
    "BatchStream",
    "DatasetError",
    "EpisodeStore",
    "Fit",
    "IndexedEpisode",
    "LabelError",
    "LatentStore",
    "Loader",
    "Mixture",
    "PairStream",
    "ReadReport",
    "Size",
    "VideoError",
    "VideoIndex",
    "VideoInfo",
    "VideoLoader",
    "VideoWriter",
    "action_spec_of",
    "cache_latents",
    "concatenate_actions",
    "concatenate_spec",
    "find_videos",
    "height_and_width",
    "held_out_sources",
    "index_videos",
    "load_videos",
    "probe",
    "read_folder",
    "read_lerobot",
    "read_video",
    "resize_frames",
    "to_float",
    "to_uint8",
    "write_lerobot",
    "write_video",
]

_HOMES = {
    "decode": "VideoError VideoInfo probe read_video",
    "encode": "VideoWriter write_video",
    "episodes": "EpisodeStore",
    "folder": "LabelError find_videos read_folder",
    "latents": "LatentStore cache_latents",
    "lerobot": "DatasetError action_spec_of read_lerobot",
    "lerobot_writer": "write_lerobot",
    "loader": "Loader concatenate_actions concatenate_spec",
    "mixture": "Mixture load_videos",
    "pairs": "PairStream",
    "pixels": "Fit Size height_and_width resize_frames to_float to_uint8",
    "report": "ReadReport",
    "store": "ArrayStore held_out_sources",
    "stream": "BatchStream",
    "video_index": "IndexedEpisode VideoIndex index_videos",
    "video_loader": "VideoLoader",
    "windows": "Balance",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch takes seconds, and ingest and its sandbox do without it."""
    home = next((home for home, names in _HOMES.items() if name in names.split()), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value
