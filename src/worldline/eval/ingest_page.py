"""The report of an ingest: what was kept, what was not, and why, as one HTML file that needs nothing else.

May import: eval.page, eval.bars, data.curate, data.ingest. Refuses to know: how anything was decided.
"""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path

from worldline.data.curate.config import CurateConfig
from worldline.data.ingest.publish import Entry
from worldline.data.ingest.run import IngestResult
from worldline.eval.bars import bar_chart, histogram
from worldline.eval.page import Html, Page, paragraph, side_by_side_charts, table

_NUM_KEPT, _NUM_DROPPED, _NUM_LISTED = 24, 12, 200
_REASONS = {
    "short": "Too short",
    "black": "Black",
    "text": "A card of text",
    "frozen": "Frozen: every frame repeats the one before",
    "bars": "Black bars cover much of the picture",
    "blurred": "Blurred",
    "flicker": "Brightness flickers",
    "still": "Less motion than was asked for",
    "duplicate": "Shows the same as another clip",
    "labels": "Its labels do not fit",
}
_LIMITS = {
    "black": "max_black",
    "frozen": "max_frozen",
    "bars": "max_bars",
    "text": "max_text",
    "sharpness": "min_sharpness",
    "flicker": "max_flicker",
    "motion": "min_motion",
}


def write_ingest_page(path: Path, result: IngestResult, config: CurateConfig | None = None) -> Path:
    """Write the report of `result` at `path`; `config` gives the limits that are drawn into the histograms.

    Raises:
        ValueError: if the result holds no entries, because nothing had changed.
    """
    if result.entries is None:
        raise ValueError("nothing had changed, so there is nothing to report; the last report still holds")
    figures, entries = result.figures, result.entries
    kept = [entry for entry in entries if entry.verdict == "kept"]
    lead = (
        f"{len(kept)} of {len(entries)} clips kept, {figures['hours_kept']:.2f} of {figures['hours_in']:.2f} hours, from "
        f"{figures['num_files']} files. {len(result.rejections)} files could not be read or were left out."
    )
    page = Page("What went in, and what came out", lead)
    page.section("Totals", _totals(result), anchor="totals")
    page.section("What each stage dropped", *_stages(entries), anchor="dropped")
    page.section("Scores", *_scores(entries, config), anchor="scores")
    page.section("Kept", paragraph(f"{min(len(kept), _NUM_KEPT)} of {len(kept)}, evenly chosen."), _sheet(kept, _NUM_KEPT), anchor="kept")
    page.section("Dropped", *_dropped(entries), anchor="rejected")
    page.section("Captions", *_captions(kept), anchor="captions")
    page.section("Files that were left out", *_rejections(result.rejections), anchor="files")
    return page.write(path)


def _totals(result: IngestResult) -> Html:
    figures = result.figures
    found, new, repeated = (figures[name] for name in ("num_found", "num_new", "num_repeated"))
    cpu = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in figures["stage_cpu_seconds"].items())
    rows = [
        ["files found in this run", f"{found}, {new} of them new, {repeated} with the bytes of another"],
        ["files in the data sets", f"{figures['num_files']}, {figures['num_damaged']} of them damaged part of the way"],
        ["frames decoded", f"{figures['num_decoded']}"],
        ["frames kept", f"{figures['num_frames']}"],
        ["disk: data sets", f"{figures['dataset_bytes'] / 2**20:.1f} MiB"],
        ["disk: results to go on from", f"{figures['work_bytes'] / 2**20:.1f} MiB; the encoded video in both is one"],
        ["processor time", cpu],
        ["data sets", ", ".join(f"{name}: {count} episodes" for name, count in figures["groups"].items())],
        ["hash", figures["hash"]],
    ]
    return table(["", ""], rows, stacked=True)


def _stages(entries: Sequence[Entry]) -> list[Html]:
    counts: dict[str, float] = {}
    minutes: dict[str, float] = {}
    for name in ["kept", *_REASONS]:
        members = [entry for entry in entries if entry.verdict == name]
        if members:
            counts[name] = len(members)
            minutes[name] = round(sum(entry.clip.end_seconds - entry.clip.start_seconds for entry in members) / 60, 2)
    if not counts:
        return [paragraph("No clip was found.")]
    charts = [("clips", bar_chart(counts, label="clips by verdict")), ("minutes", bar_chart(minutes, label="minutes by verdict"))]
    return [side_by_side_charts(*(Html(f"<figure>{chart}<figcaption>{name}</figcaption></figure>") for name, chart in charts))]


def _scores(entries: Sequence[Entry], config: CurateConfig | None) -> list[Html]:
    charts = []
    for name, setting in _LIMITS.items():
        values = [entry.clip.scores[name] for entry in entries if name in entry.clip.scores]
        if values:
            is_least = setting.startswith("min_")
            limit = getattr(config, setting) if config is not None else None
            limit = None if is_least and limit == 0 else limit  # Nothing lies below that.
            words = "dropped below" if is_least else "dropped above"
            charts.append(Html(f"<figure>{histogram(values, label=name, limit=limit, limit_label=words)}</figure>"))
    return [side_by_side_charts(*charts)] if charts else [paragraph("No clip was found.")]


def _dropped(entries: Sequence[Entry]) -> list[Html]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.verdict != "kept":
            groups[entry.verdict].append(entry)
    blocks: list[Html] = []
    for name, members in sorted(groups.items()):
        blocks.append(Html(f"<h3>{escape(_REASONS.get(name, name))}: {len(members)}</h3>"))
        blocks.append(_sheet(members, _NUM_DROPPED))
    return blocks or [paragraph("Nothing was dropped.")]


def _sheet(entries: Sequence[Entry], most: int) -> Html:
    """A strip of pictures per clip, with what is known of it."""
    chosen = [entries[round(index * (len(entries) - 1) / max(min(len(entries), most) - 1, 1))] for index in range(min(len(entries), most))]
    cells = []
    for entry in chosen:
        scores = ", ".join(f"{name} {value:.3g}" for name, value in entry.clip.scores.items())
        words = f"{entry.labels.name}, {entry.clip.start_seconds:.1f} to {entry.clip.end_seconds:.1f} s"
        note = f"as {entry.detail}" if entry.verdict == "duplicate" else entry.detail or entry.caption
        picture = b64encode(entry.clip.strip).decode()
        cells.append(
            f'<figure><img src="data:image/jpeg;base64,{picture}" alt="{escape(words)}" title="{escape(scores)}" style="width: 100%">'
            f"<figcaption>{escape(words)}{'<br>' + escape(note) if note else ''}</figcaption></figure>"
        )
    return side_by_side_charts(*(Html(cell) for cell in cells))


def _captions(kept: Sequence[Entry]) -> list[Html]:
    spoken = [entry for entry in kept if entry.caption]
    if not spoken:
        return [paragraph("No kept clip came with words. An endpoint that describes pictures can be asked, with --captions.")]
    counts: dict[str, int] = defaultdict(int)
    for entry in spoken:
        counts[entry.caption] += 1
    rows = [[caption, str(count)] for caption, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_NUM_LISTED]]
    text = f"{len(spoken)} of {len(kept)} kept clips have words, {len(counts)} different ones; at most {_NUM_LISTED} are listed."
    return [paragraph(text), table(["caption", "clips"], rows, stacked=True)]


def _rejections(rejections: dict[str, str]) -> list[Html]:
    if not rejections:
        return [paragraph("None.")]
    rows = [[name, reason] for name, reason in list(rejections.items())[:_NUM_LISTED]]
    return [paragraph(f"{len(rejections)}; at most {_NUM_LISTED} are listed."), table(["file", "reason"], rows, stacked=True)]
