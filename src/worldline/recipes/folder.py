"""Your own videos: folders of files or LeRobotDatasets, read once into a store, and a recipe that fits them.

May import: recipes.recipe, data, and what they configure. Refuses to know: how training works.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from worldline.data import EpisodeStore, Fit, action_spec_of, read_folder, read_lerobot
from worldline.dynamics import SamplerConfig, ShortcutConfig, Size
from worldline.interfaces import Clip
from worldline.recipes.recipe import Recipe
from worldline.scale import read_json, write_whole
from worldline.tokenizer import TokenizerConfig
from worldline.train import TrainConfig

_PATCH = 16
_TOKENIZER_SHARE = 0.4  # of the training time


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """How videos are read.

    Attributes:
        paths: folders of video files, or of one LeRobotDataset each.
        image_size: side of the square frames, pixels.
        rate_hz: frames per second of the world; None keeps the files' own rate, at which little happens from frame to frame.
        fit: how frames of another aspect ratio are made square.
        action_columns: columns of the CSV file beside each video that make up an action; LeRobotDatasets know theirs.
        one_source_per_folder: hold whole sub-folders out rather than single videos, which is stricter where a folder is one scene.
    """

    paths: tuple[Path, ...]
    image_size: int = 64
    rate_hz: float | None = 5.0
    fit: Fit = "stretch"
    action_columns: tuple[str, ...] = ()
    one_source_per_folder: bool = False


def folder(*, size: Size = "tiny", image_size: int = 64, frame_skip: int = 1, context_frames: int = 12, minutes: float = 60) -> Recipe:
    """A world of any videos. Small worlds get a small tokenizer; the time is split 40 : 60 between tokenizer and dynamics.

    Args:
        size: of the dynamics network.
        image_size: side of the square frames, pixels; a multiple of 16, the side of a token's patch.
        frame_skip: recorded frames per frame of the world, see `frame_skip_of`.
        context_frames: frames per training window, and how far the world looks back; no longer than the videos.
        minutes: training time.

    Raises:
        ValueError: if a number makes no sense.
    """
    if image_size < _PATCH or image_size % _PATCH:
        raise ValueError(f"image_size is {image_size}; give a multiple of {_PATCH}, such as 64")
    if context_frames < 3:
        raise ValueError(f"context_frames is {context_frames}; a world needs 3 or more: give longer videos or a higher rate")
    narrow = size == "nano"
    training = TrainConfig(steps=200_000, learning_rate=1e-3, muon_learning_rate=1e-2, decay_fraction=0.3, sample_every_steps=1000)
    return Recipe(
        name="folder",
        size=size,
        tokenizer=TokenizerConfig(
            image_size=image_size,
            grid=image_size // _PATCH,
            latent_dim=32 if narrow else 64,
            width=128 if narrow else 256,
            num_layers=2,
            window=1,
            latent_noise=0.05,
            motion_weight=1.0,
        ),
        tokenizer_training=replace(training, duration_seconds=60 * minutes * _TOKENIZER_SHARE),
        dynamics_training=replace(training, duration_seconds=60 * minutes * (1 - _TOKENIZER_SHARE)),
        shortcut=ShortcutConfig(self_after=1000),
        sampler=SamplerConfig(num_steps=4),
        tokenizer_batch=(64, 2),
        dynamics_batch=(16, context_frames),
        frame_skip=frame_skip,
    )


def read_source(config: SourceConfig, store: Path) -> EpisodeStore:
    """Open the store of these videos at `store`, or read them into it first. `<store>.json` keeps what was read, and how.

    Unlabelled files are read at `rate_hz`. LeRobotDatasets and labelled files are read at their own rate; train them with
    `frame_skip_of(store, rate_hz)`, so that the actions between two frames of the world are kept, side by side.

    Raises:
        FileNotFoundError: if a path does not exist or holds no videos.
        ValueError: if the store was read from elsewhere or otherwise, or labels differ between sources.
    """
    record = store.with_name(f"{store.name}.json")
    asked = json.loads(json.dumps(asdict(config) | {"paths": [str(path.absolute()) for path in config.paths]}))
    if (store / "store.json").is_file():
        found = read_json(record) if record.is_file() else {}
        different = [f"{name} was {found.get(name)} and is {value}" for name, value in asked.items() if found.get(name) != value]
        if different:
            raise ValueError(f"{store} was read otherwise: {'; '.join(different)}. Repeat its settings, or give another output folder")
        return name_actions(EpisodeStore.open(store), config.action_columns)
    if not config.paths:
        raise FileNotFoundError("no videos given; name a folder of videos, or a LeRobotDataset")
    for path in config.paths:
        if path.is_file():
            raise ValueError(f"{path} is a file; give the folder that holds it, with at least one more video to hold out")
    # A data set knows its bounds; those of a mixture are estimated from all of it.
    spec = action_spec_of(config.paths[0]) if len(config.paths) == 1 and _is_lerobot(config.paths[0]) else None
    record.parent.mkdir(parents=True, exist_ok=True)
    write_whole(record, json.dumps(asked, indent=1))
    return name_actions(EpisodeStore.build(store, _clips(config), action_spec=spec), config.action_columns)


def name_actions(store: EpisodeStore, names: tuple[str, ...]) -> EpisodeStore:
    """The store, its actions named after the columns that they were read from, so that the world knows the columns of other files."""
    spec = store.action_spec
    if spec is not None and not spec.names and len(names) == spec.dim:
        store.action_spec = replace(spec, names=names)
    return store


def frame_skip_of(store: EpisodeStore, rate_hz: float | None) -> int:
    """Recorded frames per frame of a world that runs at about `rate_hz`; 1 if that is None.

    Raises:
        ValueError: if the episodes' rates differ so much that one number does not do.
    """
    if rate_hz is None:
        return 1
    skips = {max(1, round(episode.rate_hz / rate_hz)) for episode in store.episodes}
    if len(skips) > 1:
        rates = sorted({round(episode.rate_hz, 2) for episode in store.episodes})
        raise ValueError(f"the recordings run at {rates} frames per second; train those of one rate together")
    return skips.pop()


def _is_lerobot(path: Path) -> bool:
    return (path / "meta" / "info.json").is_file()


def _clips(config: SourceConfig) -> Iterator[Clip]:
    for path in config.paths:
        prefix = "" if len(config.paths) == 1 else f"{path.absolute().name}/"  # sources of two folders may have one name
        if _is_lerobot(path):
            yield from read_lerobot(path, size=config.image_size, fit=config.fit)
        else:
            yield from _folder_clips(path, prefix, config)


def _folder_clips(root: Path, prefix: str, config: SourceConfig) -> Iterator[Clip]:
    def source_of(path: Path) -> str:
        inside = path.relative_to(root)
        return prefix + (inside.parent if config.one_source_per_folder else inside.with_suffix("")).as_posix()

    yield from read_folder(
        root,
        size=config.image_size,
        rate_hz=None if config.action_columns else config.rate_hz,
        fit=config.fit,
        action_columns=config.action_columns,
        source_of=source_of,
    )
