"""All of ingest: what is missing is made, then everything is published.

May import: data.curate, data.ingest, data.sources. Refuses to know: how sources are named, pages, the command line.
"""

import fcntl
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worldline.data.curate.captions import CaptionConfig
from worldline.data.curate.config import CurateConfig
from worldline.data.curate.duplicates import DuplicateConfig
from worldline.data.ingest.execute import execute
from worldline.data.ingest.publish import LINK, Entry, collect, drop_duplicates, groups_of, publish
from worldline.data.ingest.remote import execute_on_ray
from worldline.data.ingest.words import add_captions
from worldline.data.ingest.work import WorkFolder
from worldline.data.sources import Rejection, SourceItem

_STATE = "ingest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """Settings of an ingest.

    Attributes:
        curate: of the pass over each file.
        duplicates: when clips count as the same; None keeps them all.
        captions: whom to ask for words; None asks nobody.
    """

    curate: CurateConfig = field(default_factory=CurateConfig)
    duplicates: DuplicateConfig | None = field(default_factory=DuplicateConfig)
    captions: CaptionConfig | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestResult:
    """What an ingest did.

    Attributes:
        figures: counts, seconds and the hash, JSON-able; see docs/ingest.md.
        entries: every clip, kept or not; None when nothing had changed, and nothing was published again.
        rejections: file -> why it was not read, or not to the end.
    """

    figures: dict[str, Any]
    entries: list[Entry] | None
    rejections: dict[str, str]


def ingest(
    items: Iterable[SourceItem | Rejection],
    out: str | Path,
    config: IngestConfig | None = None,
    *,
    num_workers: int | None = None,
    ray_address: str | None = None,
    retry: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> IngestResult:
    """Add `items` to what `out` holds, and publish all of it as LeRobotDatasets under `out/datasets`.

    The data sets are a function of the contents of all items that were ever added and of the settings: not of their order, of the number
    of workers, of where they ran or of how often they were interrupted.

    Args:
        items: what to add; each is read from its generator when a worker is free.
        out: a folder; made if missing.
        config: what to keep and what to make of it.
        num_workers: items at a time; as many as this process may use cores when None.
        ray_address: run on Ray: `local`, or the address of a cluster that shares `out`.
        retry: try again what could not be read before.
        on_progress: told how many items are done.

    Raises:
        ValueError: if nothing was kept, or another ingest works on `out`.
        ImportError: if scenedetect, faiss or Ray is needed and missing.
    """
    config, out = config or IngestConfig(), Path(out)
    check_installed(config)
    started = time.perf_counter()
    plan = _Plan(WorkFolder(out / "work", config.curate.key), retry)
    with _locked(out):
        plan.work.sweep()
        wanted = plan.missing(items)
        report = on_progress or (lambda _: None)
        if ray_address is not None:
            execute_on_ray(
                wanted,
                plan.work,
                config.curate,
                num_workers=num_workers,
                address=ray_address,
                on_done=lambda name, reason: report(plan.note_done(name, reason)),
            )
        else:
            workers = num_workers or len(os.sched_getaffinity(0))
            execute(wanted, plan.work, config.curate, workers, lambda name, reason: report(plan.note_done(name, reason)))
        executed = time.perf_counter()
        inputs = plan.inputs(config)
        state = _read_state(out / _STATE)
        counts = {
            "num_found": plan.num_found,
            "num_repeated": plan.num_repeated,
            "num_new": plan.num_new,
            "num_rejected": len(plan.rejections),
            "num_unfinished": len(plan.unfinished),
        }
        if state.get("inputs") == inputs and not plan.num_new and (out / LINK).exists():
            seconds = {"seconds": {**state["figures"]["seconds"], "execute": round(executed - started, 3), "publish": 0.0}}
            return IngestResult(figures={**state["figures"], **counts, **seconds}, entries=None, rejections=plan.rejections)
        entries, failures = collect(plan.work)
        drop_duplicates(entries, config.duplicates)
        silent = add_captions(entries, config.captions, out / "work" / "captions", config.curate.rate_hz) if config.captions else {}
        digest = publish(entries, out, config.curate.rate_hz, config.curate.size)
        figures = _figures(entries, out, digest) | counts | {"num_unreadable": len(failures), "num_without_caption": len(silent)}
        figures["num_damaged_labels"] = plan.work.num_damaged_labels
        figures["seconds"] = {"execute": round(executed - started, 3), "publish": round(time.perf_counter() - executed, 3)}
        # Captions that failed are asked for again next time, and labels that were damaged may be there again.
        whole = not silent and not plan.work.num_damaged_labels
        _write_state(out / _STATE, {"inputs": inputs if whole else None, "config": asdict(config), "figures": figures})
        return IngestResult(figures=figures, entries=entries, rejections={**plan.rejections, **failures, **plan.unfinished})


def check_installed(config: IngestConfig) -> None:
    """Refuse to start without the libraries that will be needed.

    Raises:
        ImportError: names the extra to install.
    """
    try:
        import cv2  # noqa: F401, PLC0415 - optional
        import scenedetect  # noqa: F401, PLC0415 - optional

        if config.duplicates is not None:
            import faiss  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        raise ImportError(f'ingest needs {error.name}; pip install "worldline[curate]"') from error


class _Plan:
    """What was found, and what of it is missing; the labels of everything are noted on the way."""

    def __init__(self, work: WorkFolder, retry: bool) -> None:
        self.work = work
        self.rejections: dict[str, str] = {}
        self.unfinished: dict[str, str] = {}
        self.num_found = self.num_new = self.num_repeated = self.num_done = 0
        self._retry = retry

    def missing(self, items: Iterable[SourceItem | Rejection]) -> Iterator[SourceItem]:
        seen: set[str] = set()
        for item in items:
            if isinstance(item, Rejection):
                self.rejections[item.name] = item.reason
                continue
            self.num_found += 1
            self.work.put_labels(item)
            if item.key in seen:
                self.num_repeated += 1
                continue
            seen.add(item.key)
            if self.work.has_result(item.key, or_failure=not self._retry):
                continue
            self.work.forget(item.key)
            self.num_new += 1
            yield item

    def note_done(self, name: str, reason: str | None) -> int:
        if reason is not None:
            self.unfinished[name] = f"not finished ({reason}); the same command again tries it again"
        self.num_done += 1
        return self.num_done

    def inputs(self, config: IngestConfig) -> str:
        """A hash of all that the published data sets depend on."""
        names = sorted(path.stem for path in (self.work.folder / "labels").glob("*/*.json"))
        return hashlib.sha256(json.dumps([names, asdict(config)], sort_keys=True).encode()).hexdigest()


def _figures(entries: list[Entry], out: Path, digest: str) -> dict[str, Any]:
    passages = {entry.result.name: entry.result.passage for entry in entries}
    stages: Counter[str] = Counter()
    for passage in passages.values():
        stages.update(passage.stage_seconds if passage else {})
    kept = [entry for entry in entries if entry.verdict == "kept"]
    return {
        "hash": digest,
        "verdicts": dict(Counter(entry.verdict for entry in entries).most_common()),
        "num_files": len(passages),
        "num_damaged": sum(passage is not None and passage.damage is not None for passage in passages.values()),
        "num_clips": len(entries),
        "num_kept": len(kept),
        "num_frames": sum(len(entry.clip.frame_indices) for entry in kept),
        "num_decoded": sum(passage.num_decoded for passage in passages.values() if passage),
        "hours_in": round(sum(_seconds(entry) for entry in entries) / 3600, 4),
        "hours_kept": round(sum(_seconds(entry) for entry in kept) / 3600, 4),
        "groups": {name: len(members) for name, members in groups_of(entries).items()},
        "dataset_bytes": sum(path.stat().st_size for path in (out / LINK).resolve().rglob("*") if path.is_file()),
        "work_bytes": sum(path.stat().st_size for path in (out / "work").rglob("*") if path.is_file()),
        "stage_cpu_seconds": {name: round(value, 3) for name, value in stages.most_common()},
    }


def _seconds(entry: Entry) -> float:
    return entry.clip.end_seconds - entry.clip.start_seconds


@contextmanager
def _locked(out: Path) -> Generator[None, None, None]:
    """Hold `out` for this process; the system lets go when the process ends, however it does."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"{out}: another ingest is at work there; wait for it, or give another --out") from error
        yield


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _write_state(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(state, indent=1), encoding="utf-8")
    os.replace(partial, path)
