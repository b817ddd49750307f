"""A report as one HTML file: text, tables, charts and contact sheets inside it, videos beside it; no scripts, nothing from elsewhere.

Every function that takes text escapes it, so a file name or a caption cannot become markup.

May import: eval.charts; torch for annotations alone, because ingest's page should not wait for it. Refuses to know: what is reported.
"""

import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NewType

from worldline.eval.charts import line_chart, png

if TYPE_CHECKING:
    from torch import Tensor

Html = NewType("Html", str)
"""Markup that is ready to go into a page; made by the functions of this file."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5c636b; --paper: #fdfdfc; --card: #f3f4f2; --rule: #d8dbd7;
  --good: #1a6b3c; --bad: #a8321f; --series-1: #0b5fd0; --series-2: #bc4b0c; --series-3: #6f757c; --series-4: #2c7a4b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e8e6; --soft: #a2a8ae; --paper: #16181a; --card: #202326; --rule: #3a3f44;
    --good: #6fd39a; --bad: #ff9580; --series-1: #74b3ff; --series-2: #ffa15c; --series-3: #a2a8ae; --series-4: #78d19a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0.4em 0; }
h2 { font-size: 1.3rem; margin: 2.4em 0 0.5em; padding-top: 0.9em; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.6em 0 0.4em; }
p { max-width: 46em; margin: 0.6em 0; }
.lead { font-size: 1.1rem; }
.wide { overflow-x: auto; margin: 0.8em 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.data th, .data td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--rule); }
.data th { color: var(--soft); font-weight: 600; }
.data:not(.stacked) td { white-space: nowrap; }
@media (max-width: 640px) { .data { font-size: 0.88rem; } .stacked thead { display: none; } .stacked td { display: block; }
  .stacked tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--rule); } .stacked td { padding: 1px 0; border: 0; }
  .stacked td:first-child { font-weight: 600; } .stacked td:nth-child(3)::before { content: "bar: "; color: var(--soft); } }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
figure { margin: 1em 0; }
figcaption { color: var(--soft); font-size: 0.92rem; max-width: 50em; margin-top: 0.4em; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); gap: 20px; }
.charts figure { margin: 0; background: var(--card); border-radius: 8px; padding: 12px; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--rule); } .line polyline { fill: none; stroke: var(--color); stroke-width: 2; } .line circle { fill: var(--color); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 6px 0 0; padding: 0; font-size: 0.9rem; }
.legend li { display: flex; align-items: center; gap: 7px; } .key { width: 34px; }
video { display: block; max-width: 100%; height: auto; image-rendering: pixelated; background: #000; border-radius: 4px; }
.sheet { width: 100%; table-layout: fixed; border-spacing: 2px; border-collapse: separate; font-size: 0.8rem; }
.sheet th { color: var(--soft); font-weight: 500; text-align: center; white-space: nowrap; }
.sheet th[scope=row] { text-align: left; white-space: normal; padding-right: 6px; }
.sheet td { padding: 0; } .sheet col.name { width: 84px; } .sheet .shown { opacity: 0.75; }
.sheet img { display: block; width: 100%; image-rendering: pixelated; border-radius: 2px; }
pre { background: var(--card); padding: 12px 14px; border-radius: 8px; overflow-x: auto; font-size: 0.88rem; }
"""


def paragraph(text: str) -> Html:
    """A paragraph of plain text."""
    return Html(f"<p>{escape(text)}</p>")


def heading(text: str) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{escape(text)}</h3>")


def code(text: str) -> Html:
    """Text in a fixed-width block, such as a command."""
    return Html(f"<pre><code>{escape(text)}</code></pre>")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, stacked: bool = False) -> Html:
    """A table; cells that read `met` or `missed` are coloured. `stacked` shows a row of long texts as lines on a narrow screen."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    style = "data stacked" if stacked else "data"
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return Html(f'<div class="wide"><table class="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def chart(
    series: Mapping[str, Sequence[float | None]],
    caption: str,
    *,
    x: Sequence[float],
    x_label: str,
    y_label: str,
    y_includes: Sequence[float] = (),
) -> Html:
    """A line chart with a caption; see `charts.line_chart`."""
    drawing = line_chart(series, x=x, x_label=x_label, y_label=y_label, y_includes=y_includes)
    return Html(f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>")


def side_by_side_charts(*charts: Html) -> Html:
    """Charts in columns where the screen is wide enough."""
    return Html(f'<div class="charts">{"".join(charts)}</div>')


def contact_sheet(rows: Mapping[str, Sequence["Tensor | None"]], caption: str, *, labels: Sequence[str], num_shown: int = 0) -> Html:
    """Videos as rows of pictures, one column per frame; the page's pictures where video cannot play.

    Args:
        rows: name -> frames (3, H, W) in [0, 1], or None for an empty place; as many as there are labels.
        caption: what is to be seen.
        labels: one per column, such as its time.
        num_shown: first columns that the world was shown; they are drawn paler.

    Raises:
        ValueError: if a row has another number of frames than there are labels.
    """
    for name, frames in rows.items():
        if len(frames) != len(labels):
            raise ValueError(f"row {name!r} has {len(frames)} frames for {len(labels)} labels")
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    body = []
    for name, frames in rows.items():
        cells = []
        for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
            picture = "" if frame is None else f'<img src="{_embedded(frame)}" alt="{escape(f"{name}, {label}")}">'
            style = ' class="shown"' if index < num_shown else ""
            cells.append(f"<td{style}>{picture}</td>")
        body.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    width = 84 + 44 * len(labels)
    return Html(
        f'<figure><div class="wide"><table class="sheet" style="min-width: {width}px"><colgroup><col class="name"></colgroup>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def video(file: str, caption: str, *, poster: "Tensor") -> Html:
    """A looping video.

    Args:
        file: where it lies, relative to the page.
        caption: what is to be seen.
        poster: (3, H, W) in [0, 1], drawn where it does not play; its size is the size on the page.
    """
    height, width = poster.shape[-2:]
    return Html(
        f'<figure><video controls loop muted autoplay playsinline width="{width}" height="{height}" poster="{_embedded(poster)}" '
        f'src="{escape(file)}"></video><figcaption>{escape(caption)}</figcaption></figure>'
    )


class Page:
    """A report under construction: sections in the order in which they are added."""

    def __init__(self, title: str, lead: str) -> None:
        self.title = title
        self._parts = [f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>']

    def section(self, title: str, *blocks: Html, anchor: str) -> None:
        """Add a section; `anchor` is its id, for links."""
        self._parts.append(f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{"".join(blocks)}</section>')

    def write(self, path: Path) -> Path:
        """Write the page; it appears whole or not at all."""
        text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(self.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{"".join(self._parts)}
</main>
</body>
</html>
"""
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(text, encoding="utf-8")
        return partial.replace(path)


def _cell(text: str) -> str:
    style = f' class="{text}"' if text in ("met", "missed") else ""
    return f"<td{style}>{escape(text)}</td>"


def _embedded(frame: "Tensor") -> str:
    return f"data:image/png;base64,{b64encode(png(frame)).decode()}"
