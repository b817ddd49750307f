"""Data: video and labels from files, into stores that training reads fast, and back out.

    decode, encode     one video file in, one out
    folder, lerobot    a folder of videos, a LeRobotDataset: iterators of `Clip`
    lerobot_writer     clips -> LeRobotDataset v3.0
    episodes, latents  memory-mapped stores of pixels and of a tokenizer's latents
    loader             a store -> batches, exactly resumable

This room is the only one that touches uint8. May import: interfaces, and av, numpy, pyarrow, rich. Refuses to know: models,
devices, training.
"""

from worldline.data.decode import VideoError, VideoInfo, probe, read_video
from worldline.data.encode import VideoWriter, write_video
from worldline.data.episodes import EpisodeStore
from worldline.data.folder import LabelError, find_videos, read_folder
from worldline.data.latents import LatentStore, cache_latents
from worldline.data.lerobot import DatasetError, action_spec_of, read_lerobot
from worldline.data.lerobot_writer import write_lerobot
from worldline.data.loader import Loader, concatenate_actions, concatenate_spec
from worldline.data.pixels import Fit, Size, resize_frames, to_float, to_uint8
from worldline.data.report import ReadReport
from worldline.data.store import ArrayStore

__all__ = [
    "ArrayStore",
    "DatasetError",
    "EpisodeStore",
    "Fit",
    "LabelError",
    "LatentStore",
    "Loader",
    "ReadReport",
    "Size",
    "VideoError",
    "VideoInfo",
    "VideoWriter",
    "action_spec_of",
    "cache_latents",
    "concatenate_actions",
    "concatenate_spec",
    "find_videos",
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
