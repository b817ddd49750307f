"""Where every clip of a data set lies on disk, with its labels but without its pixels: what can be drawn from without reading it all first.

May import: interfaces, data.decode, data.folder, data.lerobot, data.report, data.store, torch. Refuses to know: how clips are drawn.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from worldline.data.action_range import spec_from_actions
from worldline.data.decode import VideoError, VideoInfo, probe
from worldline.data.folder import LabelError, find_videos, read_columns
from worldline.data.lerobot import action_spec_of, matrix_of
from worldline.data.lerobot_layout import ACTION, REWARD, DatasetError, open_dataset
from worldline.data.report import ReadReport
from worldline.data.store import held_out_sources
from worldline.interfaces import ActionSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedEpisode:
    """One episode on disk.

    Attributes:
        path: the video file.
        start_seconds: where it begins in the file.
        num_frames: as the data set says; a damaged file may have fewer.
        rate_hz: frames per second.
        frame_size: (height, width) in pixels, in the file.
        source: what training and held-out sets are split by.
        text: caption or task in words.
        actions: (T, A) float32 or None.
        rewards: (T,) float32, of arriving at each frame, or None.
    """

    path: Path
    start_seconds: float
    num_frames: int
    rate_hz: float
    frame_size: tuple[int, int]
    source: str
    text: str | None = None
    actions: Tensor | None = None
    rewards: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoIndex:
    """The episodes of one data set. A view (`split_by_source`, `buckets`) lists fewer of them.

    Attributes:
        root: the folder of the data set.
        episodes: in order.
        action_spec: bounds of the actions; None when nothing is labelled.
        report: what was left out, and why.
    """

    root: Path
    episodes: tuple[IndexedEpisode, ...]
    action_spec: ActionSpec | None
    report: ReadReport = field(default_factory=ReadReport)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the episodes, sorted, each once."""
        return tuple(sorted({episode.source for episode in self.episodes}))

    @property
    def fingerprint(self) -> str:
        """Changes with the choice of episodes, where they lie in the data set, and how long they are; not with the folder's name."""
        rows = [
            (episode.path.relative_to(self.root).as_posix(), round(episode.start_seconds, 6), episode.num_frames, episode.source)
            for episode in self.episodes
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def split_by_source(self, held_out: float | Collection[str], *, seed: int = 0) -> tuple[Self, Self]:
        """Two views, (train, held out), without a source in common. See `ArrayStore.split_by_source`."""
        chosen = held_out_sources(self.sources, held_out, seed=seed)
        return (
            self._view([episode for episode in self.episodes if episode.source not in chosen]),
            self._view([episode for episode in self.episodes if episode.source in chosen]),
        )

    def buckets(self) -> dict[str, Self]:
        """Views of one frame size and one rate each, the largest first, by a name such as `240x320@30`: a batch holds one shape."""
        grouped: dict[tuple[tuple[int, int], float], list[IndexedEpisode]] = {}
        for episode in self.episodes:
            grouped.setdefault((episode.frame_size, round(episode.rate_hz, 3)), []).append(episode)
        ordered = sorted(grouped.items(), key=lambda item: -sum(episode.num_frames for episode in item[1]))
        return {f"{size[0]}x{size[1]}@{rate:g}": self._view(episodes) for (size, rate), episodes in ordered}

    def _view(self, episodes: Sequence[IndexedEpisode]) -> Self:
        return type(self)(root=self.root, episodes=tuple(episodes), action_spec=self.action_spec, report=self.report)


def index_videos(root: str | Path, *, camera: str | None = None, action_columns: Sequence[str] = ()) -> VideoIndex:
    """Index a LeRobotDataset (a folder with `meta/info.json`), or else a folder of videos, without decoding them.

    Episodes without files, or with files that no decoder opens, are left out and counted in `report`.

    Args:
        root: the folder.
        camera: which video feature of a LeRobotDataset; the first one that has files when None.
        action_columns: of the CSV files beside the videos of a folder; see `read_folder`.

    Raises:
        FileNotFoundError: if there is no data set or video there.
        ValueError: if none of its episodes can be used.
    """
    root = Path(root)
    index = _index_lerobot(root, camera) if (root / "meta" / "info.json").is_file() else _index_folder(root, action_columns)
    if not index.episodes:
        raise DatasetError(f"{root}: none of its episodes can be used: {index.report}")
    return index


def _index_lerobot(root: Path, camera: str | None) -> VideoIndex:
    dataset = open_dataset(root)
    report = ReadReport()
    probed: dict[Path, VideoInfo] = {}
    episodes = []
    for entry in dataset.episodes(dataset.choose_camera(camera)):
        name = f"episode_{entry.index:06d}"
        try:
            path = dataset.path(entry.video)
            info = probed.get(path) or probed.setdefault(path, probe(path))
            table = dataset.rows_of(entry)
            if table.num_rows == 0:
                raise DatasetError(f"{entry.data}: no rows of episode {entry.index}")
            labels = {column: matrix_of(table, column) for column in (ACTION, REWARD) if column in table.column_names}
        except (VideoError, DatasetError, FileNotFoundError) as error:
            report.skipped[name] = str(error)
            continue
        rewards = labels.get(REWARD)
        episodes.append(
            IndexedEpisode(
                path=path,
                start_seconds=entry.start_seconds,
                num_frames=table.num_rows,
                rate_hz=dataset.rate_hz,
                frame_size=(info.height, info.width),
                source=entry.source or f"{root.absolute().name}/{name}",
                text=entry.task or None,
                actions=labels.get(ACTION),
                # As `read_lerobot` has it: what arriving at a frame earned.
                rewards=None if rewards is None else torch.cat([torch.zeros(1), rewards[:-1, 0]]),
            )
        )
    report.num_clips = len(episodes)
    return VideoIndex(root=root, episodes=tuple(episodes), action_spec=action_spec_of(root), report=report)


def _index_folder(root: Path, action_columns: Sequence[str]) -> VideoIndex:
    report = ReadReport()
    episodes = []
    for path in find_videos(root):
        name = path.relative_to(root)
        try:
            info = probe(path)
            num_frames = info.num_frames or round((info.duration_seconds or 0) * (info.rate_hz or 0))
            if not num_frames or not info.rate_hz:
                raise VideoError(f"{path}: does not say how many frames it has; transcode it")
            labels = path.with_suffix(".csv")
            actions = read_columns(labels, action_columns) if action_columns and labels.is_file() else None
            if actions is not None and len(actions) < num_frames:
                raise LabelError(f"{labels}: {len(actions)} rows for {num_frames} frames; give one row per frame")
        except (VideoError, LabelError) as error:
            report.skipped[str(name)] = str(error)
            continue
        episodes.append(
            IndexedEpisode(
                path=path,
                start_seconds=0.0,
                num_frames=num_frames,
                rate_hz=info.rate_hz,
                frame_size=(info.height, info.width),
                source=name.with_suffix("").as_posix(),
                actions=None if actions is None else actions[:num_frames],
            )
        )
    report.num_clips = len(episodes)
    labelled = [episode.actions for episode in episodes if episode.actions is not None]
    spec = spec_from_actions(torch.cat(labelled), tuple(action_columns)) if labelled else None
    return VideoIndex(root=root, episodes=tuple(episodes), action_spec=spec, report=report)
