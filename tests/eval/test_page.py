"""Pages: well-formed, self-contained, and nothing that is passed in becomes markup."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from worldline.eval.page import Page, chart, code, contact_sheet, heading, paragraph, side_by_side_charts, table, video

EVIL = '<script>alert("1")</script>&\'x\' onerror="y"'
VOID = {"meta", "img", "col"}


class Reader(HTMLParser):
    """Tags with their attributes, and the text; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"{tag} was not open"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def write(tmp_path: Path, text: str) -> Reader:
    frame = torch.rand(3, 8, 8)
    page = Page(text, text)
    charts = side_by_side_charts(chart({text: [1.0, 2.0]}, text, x=[1, 2], x_label=text, y_label=text))
    sheet = contact_sheet({text: [frame, frame], "other": [None, frame]}, text, labels=[text, "b"], num_shown=1)
    blocks = (paragraph(text), heading(text), code(text), table((text, ""), [(text, "met"), (text, "missed")], stacked=True))
    page.section(text, *blocks, charts, sheet, video(f"media/{text}.mp4", text, poster=frame), anchor="first")
    path = page.write(tmp_path / "index.html")
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]
    return Reader(path.read_text(encoding="utf-8"))


def test_a_page_holds_what_it_was_given(tmp_path: Path) -> None:
    page = write(tmp_path, "Plain words")
    names = [tag for tag, _ in page.tags]
    assert [name for name in names if name in ("h1", "h2", "h3", "video", "pre")] == ["h1", "h2", "h3", "pre", "video"]
    assert names.count("img") == 3
    assert ("section", {"id": "first"}) in page.tags
    assert {"met", "missed"} <= {attributes.get("class") for tag, attributes in page.tags if tag == "td"}
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")


def test_nothing_becomes_markup(tmp_path: Path) -> None:
    page, plain = write(tmp_path, EVIL), write(tmp_path, "Plain words")
    assert [(tag, attributes.keys()) for tag, attributes in page.tags] == [(tag, attributes.keys()) for tag, attributes in plain.tags]
    assert page.texts.count(EVIL) == plain.texts.count("Plain words") > 5
    [source] = [attributes["src"] for tag, attributes in page.tags if tag == "video"]
    assert source == f"media/{EVIL}.mp4"


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    page = write(tmp_path, "Plain words")
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "poster", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/png;base64,") or (tag == "video" and value.startswith("media/"))
    assert "@import" not in "".join(page.texts)
    assert "url(" not in "".join(page.texts)


def test_rows_must_fit_their_labels() -> None:
    with pytest.raises(ValueError, match="'a' has 1 frames for 2 labels"):
        contact_sheet({"a": [torch.rand(3, 4, 4)]}, "", labels=["x", "y"])
