"""`worldline ingest`: see `cli.ingest_arguments.Ingest`.

May import: data.curate, data.ingest, data.sources, eval.ingest_page, rich, the other files of cli. Refuses to know: how any of it is done.
"""

import time
from dataclasses import replace

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worldline.cli.ingest_arguments import Ingest
from worldline.cli.report import Report, table
from worldline.data.curate.captions import CaptionConfig
from worldline.data.curate.config import CurateConfig
from worldline.data.curate.duplicates import DuplicateConfig
from worldline.data.ingest import IngestConfig, IngestResult, ingest
from worldline.data.sources import SourceOptions, iterate_sources
from worldline.eval.ingest_page import write_ingest_page

_PAGE = "report.html"


def run(arguments: Ingest) -> Report:
    """Ingest, and say what was kept, what was not, and why."""
    config = _config(arguments)
    if not arguments.sources:
        raise FileNotFoundError("no videos given; name folders, files, data sets or shards")
    if arguments.workers is not None and arguments.workers < 1:
        raise ValueError(f"--workers is {arguments.workers}; give at least 1")
    items = iterate_sources(arguments.sources, SourceOptions(source_column=arguments.source_column, camera=arguments.camera))
    started = time.perf_counter()
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} files"), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        task = progress.add_task("files", total=None)
        result = ingest(
            items,
            arguments.out,
            config,
            num_workers=arguments.workers,
            ray_address=arguments.ray,
            retry=arguments.retry,
            on_progress=lambda done: progress.update(task, completed=done),
        )
    page = arguments.out / _PAGE
    if result.entries is not None:
        write_ingest_page(page, result, config.curate)
    figures = {**result.figures, "wall_seconds": round(time.perf_counter() - started, 3), "out": str(arguments.out), "report": str(page)}
    return Report(figures=figures, text=_text(arguments, result, str(page)))


def _config(arguments: Ingest) -> IngestConfig:
    if (arguments.captions is None) != (arguments.caption_model is None):
        raise ValueError("--captions and --caption-model go together; give both or neither")
    curate = CurateConfig(
        size=(arguments.size, arguments.size),
        rate_hz=arguments.rate_hz,
        fit=arguments.fit,
        shots=arguments.shots,
        min_seconds=arguments.min_seconds,
        max_seconds=arguments.max_seconds,
        min_motion=arguments.min_motion,
    )
    if arguments.keep_all:
        curate = replace(curate, max_black=1.0, max_frozen=1.0, min_sharpness=0.0, max_text=1.0, max_bars=1.0, max_flicker=255.0)
    asked = arguments.captions is not None and arguments.caption_model is not None
    return IngestConfig(
        curate=curate,
        duplicates=None if arguments.keep_duplicates else DuplicateConfig(),
        captions=CaptionConfig(endpoint=arguments.captions or "", model=arguments.caption_model or "") if asked else None,
    )


def _text(arguments: Ingest, result: IngestResult, page: str) -> str:
    figures = result.figures
    if result.entries is None:
        lines = [f"nothing new in {figures['num_found']} files; {arguments.out} is as it was"]
    else:
        lines = [
            f"{figures['num_found']} files found, {figures['num_new']} new, {figures['num_repeated']} with the bytes of another, "
            f"{figures['num_rejected']} left out before reading"
        ]
    rows = [[name, str(count), f"{100 * count / max(figures['num_clips'], 1):.1f} %"] for name, count in figures["verdicts"].items()]
    lines += ["", table(["clips", "number", "share"], rows), ""]
    lines.append(
        f"{figures['hours_kept']:.2f} of {figures['hours_in']:.2f} hours kept, {figures['num_frames']} frames, "
        f"{figures['dataset_bytes'] / 2**20:.1f} MiB"
    )
    for name, reason in list(result.rejections.items())[:5]:
        lines.append(f"left out: {name}: {reason}")
    if len(result.rejections) > 5:
        lines.append(f"... and {len(result.rejections) - 5} more, see the report")
    lines += [f"{arguments.out}/datasets/{name}: {count} episodes" for name, count in figures["groups"].items()]
    return "\n".join([*lines, f"hash {figures['hash']}", f"wrote {page}"])
