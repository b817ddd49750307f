"""Held-out episodes with all that is known about them, windows cut from them, and what a world makes of those windows.

May import: data, envs, world's protocol, eval.video. Refuses to know: figures.

Shapes: B windows, P prompt frames, T predicted frames, M samples, A action, D state.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from worldline.data import EpisodeStore, concatenate_actions, read_lerobot, resize_frames, to_float
from worldline.envs.zoo import DOMAINS, load_domain
from worldline.eval.video import Windows
from worldline.interfaces import Clip
from worldline.scale import read_json
from worldline.world import World

_RATE_TOLERANCE = 0.01

Place = tuple[int, int]
"""A window: the number of its episode, and the recorded frame that it begins with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalPlan:
    """How much is measured.

    Attributes:
        prompt_frames: P, frames that a world is shown.
        num_windows: windows per figure, spread evenly over the episodes.
        num_seeds: noise seeds, from `seed` on.
        seed: of the windows and the first of the noise.
        num_samples: M, futures of one window where their spread is measured.
        num_long: rollouts of `long_frames`.
        long_frames: frames of the long rollouts.
        batch_size: rows that are rolled out at once; changes no figure beyond rounding.
    """

    prompt_frames: int = 4
    num_windows: int = 64
    num_seeds: int = 3
    seed: int = 0
    num_samples: int = 8
    num_long: int = 100
    long_frames: int = 128
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name in ("prompt_frames", "num_windows", "num_seeds", "num_samples", "num_long", "long_frames", "batch_size"):
            least = 2 if name in ("num_windows", "num_samples") else 1
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least {least}")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; give 0 or more")

    @property
    def seeds(self) -> tuple[int, ...]:
        """The noise seeds."""
        return tuple(range(self.seed, self.seed + self.num_seeds))


class Episodes:
    """Episodes of one data set or several, as a world sees them.

    Args:
        clips: the episodes.
        world: whose rate and size they are brought to.
        state_names: names of the components of a state; taken from the episodes' domain if empty.

    Raises:
        ValueError: if there are no episodes, or their actions are not those of the world.
    """

    def __init__(self, clips: Sequence[Clip], world: World, state_names: Sequence[str] = ()) -> None:
        if not clips:
            raise ValueError("there are no episodes to measure on")
        self.clips = tuple(clips)
        self.size = world.config.tokenizer.image_size
        rate = world.config.rate_hz
        self.skips = tuple(1 if rate is None else max(1, round(clip.rate_hz / rate)) for clip in clips)
        for clip, skip in zip(self.clips, self.skips, strict=True):
            if rate is not None and abs(clip.rate_hz - skip * rate) > _RATE_TOLERANCE * clip.rate_hz:
                raise ValueError(
                    f"{clip.source} runs at {clip.rate_hz:g} frames per second, the world at {rate:g}; give data at its rate or a multiple"
                )
        self.has_actions = world.action_spec is not None and all(clip.actions is not None for clip in clips)
        if self.has_actions and world.action_spec is not None:
            widths = {clip.actions.shape[1] * skip for clip, skip in zip(self.clips, self.skips, strict=True) if clip.actions is not None}
            if widths != {world.action_spec.dim}:
                raise ValueError(
                    f"the world's actions have {world.action_spec.dim} components and those of the data {sorted(widths)} "
                    f"(at the world's {rate} frames per second); give data of the kind that it was trained on"
                )
        widths = {0 if clip.states is None else clip.states.shape[1] for clip in clips}
        named = tuple(state_names) or _state_names(self.clips)
        if state_names and widths != {len(state_names)}:
            raise ValueError(f"{len(state_names)} state names for states of {sorted(widths)} components; give one per component")
        self.state_names = named if widths == {len(named)} else ()

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def is_unusual(self) -> tuple[bool, ...]:
        """Which episodes are out of distribution, as their facts say."""
        return tuple(clip.facts.get("split") == "ood" for clip in self.clips)

    def lengths(self) -> list[int]:
        """Frames of each episode at the world's rate."""
        return [(len(clip) - 1) // skip + 1 for clip, skip in zip(self.clips, self.skips, strict=True)]

    def places(
        self, span: int, count: int, *, seed: int = 0, among: Sequence[int] | None = None, latest_start: int | None = None
    ) -> list[Place]:
        """Up to `count` windows of `span` frames: one from each episode, then a second one from each, and so on.

        Neighbours are of different episodes, so that each can lend the other its actions. `among` says which episodes may be used, and
        `latest_start` the last frame of the world that a window may begin with.
        """
        generator = torch.Generator().manual_seed(seed)
        lengths = self.lengths()
        usable = [index for index in (range(len(self)) if among is None else among) if lengths[index] >= span]
        places: list[Place] = []
        seen: set[Place] = set()
        for _ in range(count):
            before = len(places)
            for index in torch.randperm(len(usable), generator=generator).tolist():
                episode = usable[index]
                room = lengths[episode] - span if latest_start is None else min(lengths[episode] - span, latest_start)
                start = int(torch.randint(room + 1, (1,), generator=generator)) * self.skips[episode]
                if (episode, start) not in seen and len(places) < count:
                    seen.add((episode, start))
                    places.append((episode, start))
            if len(places) == count or not usable or (len(places) == before and sum(lengths[i] - span + 1 for i in usable) <= len(seen)):
                break
        return _apart(places)

    def cut(self, places: Sequence[Place], prompt_frames: int, num_frames: int) -> Windows:
        """The windows at `places`. Actions are None unless every episode has them and the world takes them."""
        span = prompt_frames + num_frames
        video = torch.stack([self.frames(place, span) for place in places])
        actions = torch.stack([self.actions(place, span - 1) for place in places]) if self.has_actions else None
        return Windows(
            prompt=video[:, :prompt_frames],
            future=video[:, prompt_frames:],
            actions=actions,
            episodes=torch.tensor([episode for episode, _ in places]),
        )

    def frames(self, place: Place, count: int) -> Tensor:
        """(count, 3, size, size) in [0, 1], from a place on."""
        episode, start = place
        skip = self.skips[episode]
        frames = to_float(self.clips[episode].frames[start : start + (count - 1) * skip + 1 : skip])
        assert len(frames) == count, "places are windows that fit"
        return frames if frames.shape[-2:] == (self.size, self.size) else resize_frames(frames, self.size, "stretch")

    def actions(self, place: Place, count: int) -> Tensor:
        """(count, A), from a place on; an episode that ends before is gone through again from its start."""
        episode, start = place
        actions, skip = self.clips[episode].actions, self.skips[episode]
        assert actions is not None
        rows = (start + torch.arange(count * skip)) % (len(actions) // skip * skip)
        return concatenate_actions(actions[rows], skip)

    def states(self, place: Place, count: int) -> Tensor:
        """(count, D) ground truth, from a place on."""
        episode, start = place
        states, skip = self.clips[episode].states, self.skips[episode]
        assert states is not None
        return states[start : start + (count - 1) * skip + 1 : skip]


def open_episodes(
    world: World,
    paths: Sequence[Path],
    *,
    sources: Sequence[Sequence[str] | None] | None = None,
    max_episodes: int = 200,
    state_names: Sequence[str] = (),
) -> Episodes:
    """Read stores and LeRobotDatasets: up to `max_episodes` in all, shared among them.

    `sources` says for each path which of its sources are read; None: all.

    Raises:
        FileNotFoundError: if a path holds neither.
        ValueError: see `Episodes`; or if a name in `sources` is not there.
    """
    if not paths:
        raise FileNotFoundError("no data to measure on; give --data with a store or a LeRobotDataset that the world was not trained on")
    size = world.config.tokenizer.image_size
    share = max(1, max_episodes // len(paths))
    wanted = [None] * len(paths) if sources is None else sources
    clips = [clip for path, kept in zip(paths, wanted, strict=True) for clip in islice(_read(Path(path), size, kept), share)]
    return Episodes(clips, world, state_names)


def held_out_of_run(store: Path) -> tuple[str, ...] | None:
    """The sources that a training run kept out of training, if `store` is the data of one; None if it is not.

    Raises:
        ValueError: if the run has not come to its end, so that nobody knows what it held out.
    """
    note, command = (store.parent / name for name in ("figures.json", "command.json"))
    if not (store / "store.json").is_file() or not (note.is_file() or command.is_file()):
        return None
    if not note.is_file():
        raise ValueError(
            f"{store} is the data of a run without figures, so what it held out is unknown: let `worldline train` finish, or name --sources"
        )
    figures = read_json(note)
    return tuple(figures.get("held_out", {}).get("sources", ())) or None


def held_out_of_domain(folder: Path) -> tuple[Path, ...]:
    """What a run of `worldline train zoo` was not trained on of one domain, by the domain's folder of stores: the data sets that they were
    read from, which know more than the stores do, as long as they are there.
    """
    paths = []
    for split in ("validation", "ood"):
        store, note = folder / split, folder / f"{split}.json"
        source = Path(read_json(note).get("source", "")) if note.is_file() else store
        if (store / "store.json").is_file():
            paths.append(source if (source / "meta" / "info.json").is_file() else store)
    return tuple(paths)


def domain_of(path: Path, size: int) -> str | None:
    """The domain that the first episode of a data set is of: a fact of it, or how the name of its source begins."""
    clip = next(iter(_read(path, size, None)), None)
    return None if clip is None else str(clip.facts.get("domain", clip.source.split("/")[0]))


def _apart(places: Sequence[Place]) -> list[Place]:
    """The windows in an order in which, as far as that can be, neighbours are of different episodes, the last and the first too."""
    left, ordered = list(places), list[Place]()
    while left:
        counts = Counter(episode for episode, _ in left)
        most, number = counts.most_common(1)[0]
        # An episode that has half of what is left must come now, or it will be its own neighbour.
        due = {most} if 2 * number > len(left) else set(counts)
        before = ordered[-1][0] if ordered else None
        index = next((i for i, (episode, _) in enumerate(left) if episode in due and episode != before), None)
        if index is None:
            index = next((i for i, (episode, _) in enumerate(left) if episode != before), 0)
        ordered.append(left.pop(index))
    for index in range(len(ordered) - 1, 1, -1):  # the first one lends its actions to nobody but the last
        if ordered[-1][0] != ordered[0][0]:
            break
        moved = [*ordered[: index - 1], ordered[-1], *ordered[index - 1 : -1]]
        if all(a[0] != b[0] for a, b in zip(moved, [*moved[1:], moved[0]], strict=True)):
            ordered = moved
    return ordered


def spread(places: Sequence[Place]) -> int:
    """Episodes that places are in."""
    return len({episode for episode, _ in places})


@torch.no_grad()
def roll(
    world: World,
    windows: Windows,
    *,
    seed: int,
    batch_size: int,
    samples: int = 1,
    shuffled: bool = False,
    num_frames: int | None = None,
    decoded: bool = True,
) -> Tensor:
    """What a world makes of windows, (M, B, T, 3, H, W) on the CPU: prompted, then rolled out under the true actions.

    Where actions are unknown it sees its null action. `shuffled` gives each window the actions to come of the one before it. With
    `decoded=False`, latents (M, B, T, S, C) in place of pictures.
    """
    first = windows.prompt.shape[1] - 1
    num_frames = windows.future.shape[1] if num_frames is None else num_frames
    actions = windows.actions if world.action_spec is not None else None
    future = None if actions is None else actions[:, first : first + num_frames]
    if shuffled and future is not None:
        future = future.roll(1, dims=0)
    chunks = []
    for start in range(0, len(windows), batch_size):
        rows = slice(start, start + batch_size)
        state = world.prompt(windows.prompt[rows], None if actions is None else actions[rows, :first])
        if future is not None or world.action_spec is None:
            empty = torch.zeros(state.batch_size, num_frames, 0)
            given = (empty if future is None else future[rows]).to(state.latent.device)
            rollout = world.rollout(state, given, samples=samples, seed=seed)
            chunks.append((world.decode(rollout) if decoded else rollout.latents).float().cpu())
            continue
        state, frames = world.fork(state, samples), []
        generator = torch.Generator().manual_seed(seed)
        for _ in range(num_frames):
            noise = torch.randn(samples, *world.noise_shape, generator=generator).repeat(state.batch_size // samples, 1, 1)
            state = world.step(state, None, noise=noise.to(state.latent))
            frames.append((world.decode(state) if decoded else state.latent).float().cpu())
        chunks.append(torch.stack(frames, dim=1).unflatten(0, (-1, samples)).transpose(0, 1))
    return torch.cat(chunks, dim=1)


def first_rows(windows: Windows, count: int) -> Windows:
    """The first `count` windows."""
    actions = None if windows.actions is None else windows.actions[:count]
    episodes = None if windows.episodes is None else windows.episodes[:count]
    return replace(windows, prompt=windows.prompt[:count], future=windows.future[:count], actions=actions, episodes=episodes)


def _read(path: Path, size: int, sources: Sequence[str] | None) -> Iterator[Clip]:
    if (path / "store.json").is_file():
        store = EpisodeStore.open(path)
        if sources is not None:
            missing = sorted(set(sources) - set(store.sources))
            if missing:
                raise ValueError(f"{path} has no source {', '.join(missing[:5])}; it is not the data that these were held out of")
        return (store.episode(i) for i, episode in enumerate(store.episodes) if sources is None or episode.source in sources)
    for folder in (path, path / f"{size}px"):
        if (folder / "meta" / "info.json").is_file():
            clips = read_lerobot(folder, size=size)
            return clips if sources is None else (clip for clip in clips if clip.source in sources)
    raise FileNotFoundError(f"{path}: neither a store (store.json) nor a LeRobotDataset (meta/info.json) of its own or in {size}px/")


def _state_names(clips: Sequence[Clip]) -> tuple[str, ...]:
    """As the domain of the episodes names them; nothing if they have none, or not one, or it cannot be loaded."""
    domains = {str(clip.facts.get("domain", "")) for clip in clips}
    if len(domains) != 1 or not domains <= DOMAINS.keys():
        return ()
    try:
        return load_domain(domains.pop()).state_names
    except ImportError:
        return ()
