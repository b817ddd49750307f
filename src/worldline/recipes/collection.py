"""Films simulated domains into data sets: any number of episodes, on all cores, resumable, whatever crashes.

Each episode is a file beside the data set until all of them are there; then the data set is written, and they go. What comes out does not
depend on the number of processes, or on how often the work was broken off.

May import: recipes.episode_pool, recipes.sheet, data, envs, safetensors. Refuses to know: what a domain shows.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from worldline.data import write_lerobot
from worldline.envs.record import SPLITS, Split, draw_attributes, record, simulator_seed
from worldline.envs.simulator import Simulator
from worldline.envs.zoo import load_domain, start_domain
from worldline.interfaces import Clip
from worldline.recipes.episode_pool import run_in_processes
from worldline.recipes.sheet import write_sheet
from worldline.scale import read_json, write_whole

MIXTURE = "mixture"
"""The policy that is one of the domain's policies in each episode: mostly its most interesting one."""

_INTERESTING_EPISODES = 4, 5  # four of five; the others take turns in the rest

_NOTE = "collection.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionPlan:
    """What is filmed; the same plan gives the same data set.

    Attributes:
        domain: its name in the zoo.
        split: `train`, `validation` or `ood`.
        policy: one of the domain's, or `mixture`.
        num_episodes: episodes, numbered from `seed`.
        num_frames: frames of each, T.
        sizes: sides of the square pictures, in pixels; one data set for each.
        seed: number of the first episode.
        unusual: attributes that are unusual in the split `ood`; all that can be if empty.

    Raises:
        ValueError: if a value is out of range.
    """

    domain: str
    split: Split = "train"
    policy: str = MIXTURE
    num_episodes: int = 1000
    num_frames: int = 64
    sizes: tuple[int, ...] = (64,)
    seed: int = 0
    unusual: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.unusual and self.split != "ood":
            raise ValueError(f"the split is {self.split}; what is unusual ({', '.join(self.unusual)}) belongs to the split ood")
        if self.num_episodes < 1 or self.num_frames < 2 or not self.sizes or min(self.sizes) < 8 or len(set(self.sizes)) < len(self.sizes):
            raise ValueError(
                f"got {self.num_episodes} episodes of {self.num_frames} frames at sizes {self.sizes}; "
                "give at least 1 episode, 2 frames, and different sizes of at least 8 pixels"
            )
        for seed in (self.seed, self.seed + self.num_episodes - 1):
            simulator_seed(seed, self.split)

    def policy_of(self, domain: type[Simulator], seed: int) -> str:
        """The policy of one episode."""
        if self.policy != MIXTURE:
            return self.policy
        interesting, period = _INTERESTING_EPISODES
        others = domain.policy_names[1:]
        return others[seed // period % len(others)] if others and seed % period >= interesting else domain.policy_names[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionReport:
    """How a collection went: data sets by size, episodes in them, why others are missing, by seed, and in how many an event happens."""

    folders: dict[int, Path]
    num_episodes: int
    failures: dict[int, str]
    events: dict[str, int] = field(default_factory=dict)


def collect(
    folder: str | Path,
    plan: CollectionPlan,
    *,
    num_workers: int | None = None,
    episode_timeout_seconds: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
) -> CollectionReport:
    """Film `plan` into LeRobotDatasets: at `folder` itself for one size, at `folder`/<size>px for several; with a contact sheet.

    The same call goes on where it was broken off, and does nothing when all is there. Episodes that crash or hang are tried again,
    then left out and reported.

    Args:
        folder: of the data set or data sets.
        plan: what to film.
        num_workers: processes; one per core that this process may use if None.
        episode_timeout_seconds: an episode that takes longer counts as hung.
        progress: called with (episodes done, episodes in all).

    Raises:
        ImportError: if the domain's simulator is not installed.
        FileExistsError: if `folder` holds anything else than what this plan makes.
        ValueError: if the domain or the policy is unknown, or no episode could be filmed.
    """
    folder = Path(folder)
    domain = load_domain(plan.domain)
    if plan.policy not in (MIXTURE, *domain.policy_names):
        raise ValueError(f"policy {plan.policy!r} is unknown in {plan.domain}; choose one of {', '.join((MIXTURE, *domain.policy_names))}")
    draw_attributes(domain, seed=plan.seed, split=plan.split, unusual=plan.unusual)  # names that are not there
    folders = {size: folder if len(plan.sizes) == 1 else folder / f"{size}px" for size in plan.sizes}
    if (finished := _finished(folder, plan)) is not None:
        return CollectionReport(folders=folders, **finished)
    start_domain(plan.domain).close()  # what cannot start is better known now than from every process
    work = _work_folder(folder, plan)
    progress = progress or (lambda done, total: None)
    failures = _film_missing(work, plan, num_workers or len(os.sched_getaffinity(0)), episode_timeout_seconds, progress)
    seeds = sorted(int(path.stem) for path in work.glob("*.safetensors"))
    if not seeds:
        raise ValueError(
            f"{plan.domain}: none of {plan.num_episodes} episodes could be filmed; the first one: {next(iter(failures.values()))}"
        )
    for size, place in folders.items():
        if place.exists() and (found := read_json(place / "meta" / "info.json").get("total_episodes")) != len(seeds):
            raise FileExistsError(
                f"{place} has {found} episodes, and {len(seeds)} are filmed: one that had failed did not now; remove it and call again"
            )
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            names = () if domain.action_spec is None else domain.action_spec.names
            clips = (read_episode(work / f"{seed}.safetensors", size) for seed in seeds)
            write_lerobot(place, clips, robot_type=plan.domain, action_names=names)
    shown = (read_episode(work / f"{seed}.safetensors", max(plan.sizes)) for seed in _spread(seeds, 8))
    write_sheet(folder / "sheet.png", list(shown))
    events = _count_events(work / f"{seed}.safetensors" for seed in seeds)
    note = {"plan": _json_of(plan), "num_episodes": len(seeds), "failures": failures, "events": events}
    write_whole(folder / _NOTE, json.dumps(note, indent=1))
    shutil.rmtree(work)
    return CollectionReport(folders=folders, num_episodes=len(seeds), failures=failures, events=events)


def _film_missing(
    work: Path, plan: CollectionPlan, num_workers: int, timeout_seconds: float, progress: Callable[[int, int], None]
) -> dict[int, str]:
    seeds = range(plan.seed, plan.seed + plan.num_episodes)
    paths = {seed: work / f"{seed}.safetensors" for seed in seeds}
    missing = {seed: (plan, seed, path) for seed, path in paths.items() if not _is_whole(path)}
    num_done = plan.num_episodes - len(missing)
    progress(num_done, plan.num_episodes)
    failures: dict[int, str] = {}
    if missing:
        for seed, failure in run_in_processes(film_episode, missing, num_workers=num_workers, timeout_seconds=timeout_seconds):
            num_done += 1
            progress(num_done, plan.num_episodes)
            if failure is not None:
                failures[seed] = failure
    return dict(sorted(failures.items()))


def _is_whole(path: Path) -> bool:
    """Whether an episode is there; a file that a crash of the machine cut short is removed, to be filmed again."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except FileNotFoundError:
        return False
    except SafetensorError:
        path.unlink()
        return False


def film_episode(plan: CollectionPlan, seed: int, path: Path) -> None:
    """Film one episode into a file, which appears when it is whole."""
    try:
        simulator = _running(plan.domain)
        policy = plan.policy_of(type(simulator), seed)
        clips = record(
            simulator,
            seed=seed,
            split=plan.split,
            policy=policy,
            num_frames=plan.num_frames,
            sizes=plan.sizes,
            unusual=plan.unusual,
        )
    except Exception:
        _running.cache_clear()  # what is left of it is not to be trusted
        raise
    clip = clips[0]
    tensors = {f"frames.{size}": one.frames for size, one in zip(plan.sizes, clips, strict=True)}
    tensors |= {name: value for name in ("actions", "states", "rewards") if (value := getattr(clip, name)) is not None}
    tensors |= {f"label.{name}": value.contiguous() for name, value in clip.labels.items()}
    rest = {"rate_hz": clip.rate_hz, "source": clip.source, "text": clip.text, "facts": dict(clip.facts)}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"clip": json.dumps(rest)})
    partial.rename(path)


def read_episode(path: Path, size: int) -> Clip:
    """A clip that `film_episode` wrote, at one of its picture sizes."""
    with safe_open(path, framework="pt") as file:
        rest = json.loads(file.metadata()["clip"])
        names = set(file.keys())
        known = {name: file.get_tensor(name) for name in ("actions", "states", "rewards") if name in names}
        labels = {name.removeprefix("label."): file.get_tensor(name) for name in sorted(names) if name.startswith("label.")}
        return Clip(frames=file.get_tensor(f"frames.{size}"), labels=labels, **known, **rest)


def _count_events(paths: Iterable[Path]) -> dict[str, int]:
    """In how many of the episodes each event happens, seldom ones too."""
    counts: dict[str, int] = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            for label in file.keys():  # noqa: SIM118  (it is no mapping)
                if label.startswith("label.event."):
                    event = label.removeprefix("label.event.")
                    counts[event] = counts.get(event, 0) + bool(file.get_tensor(label).any())
    return counts


@lru_cache(maxsize=1)
def _running(domain: str) -> Simulator:
    """One simulator per process: building a scene takes longer than many an episode."""
    return start_domain(domain)


def _work_folder(folder: Path, plan: CollectionPlan) -> Path:
    work = folder.with_name(f".{folder.name}.episodes")
    work.mkdir(parents=True, exist_ok=True)
    note = work / "plan.json"
    if note.exists() and read_json(note) != _json_of(plan):
        raise FileExistsError(f"{work} holds episodes of another plan; go on with the options that were given then, or remove it")
    write_whole(note, json.dumps(_json_of(plan)))
    return work


def _finished(folder: Path, plan: CollectionPlan) -> dict[str, Any] | None:
    """What is noted of a finished collection; None if it is still to be made."""
    note = folder / _NOTE
    if note.exists():
        found = read_json(note)
        if found.pop("plan") == _json_of(plan):
            return {**found, "failures": {int(seed): failure for seed, failure in found["failures"].items()}}
    elif not folder.exists() or folder.with_name(f".{folder.name}.episodes").exists():
        return None
    raise FileExistsError(f"{folder} exists and was not collected with these options; remove it or collect elsewhere")


def _json_of(plan: CollectionPlan) -> dict[str, Any]:
    plan_of_before = {name: value for name, value in asdict(plan).items() if name != "unusual" or value}
    return json.loads(json.dumps(plan_of_before))


def _spread(values: list[int], count: int) -> Iterator[int]:
    step = max(1, len(values) / count)
    return (values[int(index * step)] for index in range(min(count, len(values))))


def standard_plans(
    domain: str, *, num_episodes: int = 1000, num_frames: int = 64, sizes: tuple[int, ...] = (64, 128), seed: int = 0
) -> list[CollectionPlan]:
    """The standard set of a domain: `num_episodes` to train on, a tenth each for validation and out of distribution."""
    tenth = max(1, num_episodes // 10)
    return [
        CollectionPlan(
            domain=domain,
            split=split,
            num_episodes=num_episodes if split == "train" else tenth,
            num_frames=num_frames,
            sizes=sizes,
            seed=seed,
        )
        for split in SPLITS
    ]
