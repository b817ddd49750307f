"""What is in a data set, from its tables and headers, without decoding it; and its clips, whatever kind it is.

May import: interfaces, data, data.inspection.actions. Refuses to know: how anything is printed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from worldline.data.episodes import EpisodeStore
from worldline.data.folder import find_videos, read_folder
from worldline.data.geometry import Size
from worldline.data.inspection.actions import csv_columns
from worldline.data.lerobot import read_lerobot
from worldline.data.lerobot_layout import ACTION, flat_names, open_dataset
from worldline.data.pixels import resize_frames, to_float, to_uint8
from worldline.data.report import ReadReport
from worldline.data.video_index import IndexedEpisode, index_videos
from worldline.interfaces import Clip

Kind = Literal["LeRobotDataset", "store", "folder of videos"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What is in a data set.

    Attributes:
        kind: what it is stored as, with its version.
        num_episodes: that can be used.
        skipped: episode or file -> why it cannot.
        num_frames: of all episodes.
        hours: of video.
        shapes: `height x width @ rate` -> episodes.
        lengths: shortest, median and longest episode, in frames.
        texts: tasks or captions -> episodes, the most frequent first; without those that have none.
        action_names: of the components of an action; one `action <n>` each where they have no names.
        num_labelled: episodes with actions.
        num_sources: what can be split into training and held-out sets.
        cameras: video features of a LeRobotDataset.
        num_bytes: on disk.
    """

    kind: str
    num_episodes: int
    skipped: dict[str, str]
    num_frames: int
    hours: float
    shapes: dict[str, int]
    lengths: tuple[int, int, int]
    texts: dict[str, int]
    action_names: tuple[str, ...]
    num_labelled: int
    num_sources: int
    cameras: tuple[str, ...]
    num_bytes: int


def kind_of(root: str | Path) -> Kind:
    """What lies at `root`.

    Raises:
        FileNotFoundError: if there is nothing, or no folder.
    """
    root = Path(root)
    if not root.is_dir():
        what = "a file; give the folder that it lies in" if root.is_file() else "no such folder"
        raise FileNotFoundError(f"{root}: {what}: a LeRobotDataset, a store, or a folder of videos")
    if (root / "meta" / "info.json").is_file():
        return "LeRobotDataset"
    return "store" if (root / "store.json").is_file() else "folder of videos"


def describe_contents(root: str | Path, *, camera: str | None = None, action_columns: Sequence[str] = ()) -> Contents:
    """Look at the data set at `root` without decoding it.

    Raises:
        FileNotFoundError, ValueError: if there is none, or nothing in it can be used.
    """
    root, kind = Path(root), kind_of(root)
    cameras: tuple[str, ...] = ()
    label = str(kind)
    if kind == "store":
        store = EpisodeStore.open(root)
        names = () if store.action_spec is None else store.action_spec.names
        episodes = [
            IndexedEpisode(
                path=root,
                start_seconds=0,
                num_frames=episode.num_frames,
                rate_hz=episode.rate_hz,
                frame_size=store.frame_size,
                source=episode.source,
                text=episode.text,
                actions=store.rows("actions", episode),
            )
            for episode in store.episodes
        ]
        skipped: dict[str, str] = {}
    else:
        columns = tuple(action_columns) or (_columns_of(root) if kind == "folder of videos" else ())
        index = index_videos(root, camera=camera, action_columns=columns)
        episodes, skipped, names = list(index.episodes), index.report.skipped, columns
        if kind == "LeRobotDataset":
            dataset = open_dataset(root)
            label = f"LeRobotDataset {'v3' if dataset.is_packed else 'v2.1'}"
            cameras = tuple(name for name, feature in dataset.features.items() if feature.get("dtype") == "video")
            names = flat_names(dataset.features.get(ACTION, {}).get("names"))
    widths = [episode.actions.shape[1] for episode in episodes if episode.actions is not None]
    lengths = sorted(episode.num_frames for episode in episodes)
    shapes = Counter(f"{e.frame_size[0]} x {e.frame_size[1]} @ {e.rate_hz:g} Hz" for e in episodes)
    return Contents(
        kind=label,
        num_episodes=len(episodes),
        skipped=skipped,
        num_frames=sum(lengths),
        hours=sum(episode.num_frames / episode.rate_hz for episode in episodes) / 3600,
        shapes=dict(shapes.most_common()),
        lengths=(lengths[0], lengths[len(lengths) // 2], lengths[-1]),
        texts=dict(Counter(episode.text for episode in episodes if episode.text).most_common()),
        action_names=names if widths and len(names) == widths[0] else tuple(f"action {n}" for n in range(widths[0] if widths else 0)),
        num_labelled=len(widths),
        num_sources=len({episode.source for episode in episodes}),
        cameras=cameras,
        num_bytes=sum(path.stat().st_size for path in root.rglob("*") if path.is_file()),
    )


def read_clips(
    root: str | Path,
    *,
    size: Size | None = None,
    camera: str | None = None,
    action_columns: Sequence[str] = (),
    report: ReadReport | None = None,
) -> Iterator[Clip]:
    """The clips of whatever lies at `root`, one after the other; see `read_lerobot`, `EpisodeStore` and `read_folder`.

    Args:
        root: the folder.
        size: height and width to resize to; the data set's own when None (a folder of videos needs one).
        camera: which video feature of a LeRobotDataset.
        action_columns: of the CSV files of a folder; all columns of numbers if none are given.
        report: filled while the clips are consumed.
    """
    root, kind = Path(root), kind_of(root)
    if kind == "LeRobotDataset":
        yield from read_lerobot(root, size=size, camera=camera, report=report)
    elif kind == "store":
        store = EpisodeStore.open(root)
        for number in range(len(store)):
            clip = store.episode(number)
            yield clip if size is None else _resized(clip, size)
    else:
        columns = tuple(action_columns) or _columns_of(root)
        yield from read_folder(root, size=128 if size is None else size, action_columns=columns, report=report)


def _resized(clip: Clip, size: Size) -> Clip:
    frames = to_uint8(resize_frames(to_float(clip.frames), size))
    return replace(clip, frames=frames)


def _columns_of(root: Path) -> tuple[str, ...]:
    """The action columns of the first labelled video of a folder."""
    tables = (video.with_suffix(".csv") for video in find_videos(root))
    return next((csv_columns(table) for table in tables if table.is_file()), ())
