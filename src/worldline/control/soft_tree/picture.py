"""A picture of a tree: imagined frames at its nodes, joined by lines as thick as the posterior, in one SVG or HTML file.

May import: torch, `worldline.interfaces` and files of `control`. Refuses to know: how the tree was grown.

Shapes: N nodes, H height, W width.
"""

import base64
import math
import struct
import zlib
from html import escape
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from worldline.control.soft_tree.tree import Tree
from worldline.interfaces import World

_SIDE, _GAP, _ROW, _MARGIN = 64, 90, 76, 16
_PAPER, _INK, _LINE = "#ffffff", "#333333", "#3b6ea8"


def draw_tree(tree: Tree, world: World, *, max_leaves: int = 12) -> str:
    """An SVG element of the likeliest leaves of a tree and everything above them, the likeliest path on top.

    Every node is the last imagined frame of its edge, in the first sample; a line is as thick as the posterior of passing it is high, and
    the number beside a leaf is its score.

    Args:
        tree: as `SoftTree.grow` returns it.
        world: decodes the frames.
        max_leaves: leaves that are drawn.

    Raises:
        ValueError: if `max_leaves` is not positive.
    """
    if max_leaves < 1:
        raise ValueError(f"max_leaves is {max_leaves}; draw at least one")
    chances = [chance.exp() for chance in tree.log_posterior()]
    shown = tree.scores.argsort(descending=True)[:max_leaves]
    paths = [index[shown] for index in tree.paths()]
    # Leaves that share a path are neighbours: sorted by the first of them that passes each node, level by level.
    rank = [[index.tolist().index(node) for node in index.tolist()] for index in paths]
    order = sorted(range(len(shown)), key=lambda leaf: [level[leaf] for level in rank])
    heights: list[dict[int, float]] = []
    for index in paths:
        rows: dict[int, list[int]] = {}
        for row, leaf in enumerate(order):
            rows.setdefault(int(index[leaf]), []).append(row)
        heights.append({node: _MARGIN + _ROW * (sum(at) / len(at)) + _SIDE / 2 for node, at in rows.items()})
    width = 2 * _MARGIN + tree.depth * (_SIDE + _GAP) + 60
    height = 2 * _MARGIN + _ROW * len(order)
    middle = sum(heights[0].values()) / len(heights[0])
    lines, pictures = [], []
    for depth, (level, nodes, chance) in enumerate(zip(tree.levels, heights, chances, strict=True)):
        left = _MARGIN + depth * (_SIDE + _GAP) + _GAP / 2
        with torch.no_grad():
            frames = world.decode(level.latents[0, list(nodes), -1])
        for (node, y), frame in zip(nodes.items(), frames, strict=True):
            above = middle if depth == 0 else heights[depth - 1][int(level.parent[node])]
            start = _MARGIN if depth == 0 else left - _GAP
            share = float(chance[node])
            bend = (start + left) / 2
            lines.append(
                f'<path d="M{start:.0f},{above:.1f} C{bend:.0f},{above:.1f} {bend:.0f},{y:.1f} {left:.0f},{y:.1f}" fill="none" '
                f'stroke="{_LINE}" stroke-opacity="{0.25 + 0.75 * share:.2f}" stroke-width="{1 + 7 * math.sqrt(share):.1f}"/>'
            )
            place = f'x="{left:.0f}" y="{y - _SIDE / 2:.1f}" width="{_SIDE}" height="{_SIDE}"'
            title = f"<title>level {depth}, node {node}: passed with probability {share:.3f}</title>"
            pictures.append(f'<image {place} href="data:image/png;base64,{_png(frame)}">{title}</image>')
            if depth == tree.depth - 1:
                label = escape(f"{float(tree.scores[node]):.4g}")
                pictures.append(f'<text x="{left + _SIDE + 6:.0f}" y="{y + 4:.1f}" font-size="12" fill="{_INK}">{label}</text>')
    body = "\n".join([f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>', *lines, *pictures])
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">\n{body}\n</svg>\n'


def write_tree(path: str | Path, tree: Tree, world: World, *, max_leaves: int = 12) -> Path:
    """Write the picture of a tree to a file whose name ends in `.svg` or `.html`; see `draw_tree`.

    Raises:
        ValueError: for another ending.
    """
    path = Path(path)
    if path.suffix not in (".svg", ".html"):
        raise ValueError(f"the picture of a tree is an .svg or .html file, got {path.name}")
    picture = draw_tree(tree, world, max_leaves=max_leaves)
    page = f"<!doctype html>\n<meta charset='utf-8'>\n<title>Soft tree</title>\n{picture}" if path.suffix == ".html" else picture
    path.write_text(page, encoding="utf-8")
    return path


def _png(frame: Tensor) -> str:
    """A frame (3, H, W) in [0, 1] as a PNG in base64, at most `_SIDE` pixels a side."""
    if max(frame.shape[1:]) > _SIDE:
        size = [max(1, round(side * _SIDE / max(frame.shape[1:]))) for side in frame.shape[1:]]
        frame = F.interpolate(frame[None].float(), size=size, mode="area")[0]
    levels = (frame.clamp(0, 1) * 255).round().long().permute(1, 2, 0)
    rows = b"".join(b"\0" + bytes(row.flatten().tolist()) for row in levels)

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    return base64.b64encode(png).decode()
