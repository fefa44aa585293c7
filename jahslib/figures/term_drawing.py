"""Drawings of terms at every folding level, for notebooks.

Operations are boxes in layers from left to right; long drawings go on in the next row, where arcs leave and enter at
circles with the same number. Where the grammar has resBlocks, each resolution has a band of its own. The order within a
layer is by barycentres (Sugiyama, Tagawa and Toda, IEEE SMC 1981), places are the least-squares ones near neighbours.
"""

from collections.abc import Hashable
from itertools import pairwise

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from sklearn.isotonic import isotonic_regression

from jahslib.errors import UserError
from jahslib.figures.term_layout import is_bend, layered, parted
from jahslib.spaces.grammars import graphs
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term

# By `term_layout.kind`. Okabe and Ito's colours, told apart by colour-blind readers, halfway to white so that black
# text stands out.
COLOURS = {
    "end": "#E6E6E6",
    "activation": "#AAD9F4",
    "convolution": "#F2CF7F",
    "normalisation": "#7FCEB9",
    "pooling": "#E5BCD3",
    "resBlock": "#EAAE7F",
    "folded": "#F7F1A0",
    "other": "#FFFFFF",
}
FONT = 8  # points
LINE, CHARACTER = 0.15, 0.068  # inches a line and a character of that size take
GAP, SPACE, THIN = 0.12, 0.4, 0.1  # inches between boxes, between layers, and for an arc that passes a layer
PORT = 0.2  # inches
LINES = "#555555"


def draw(grammar: Grammar, term: Term, level: int | None = None, *, per_row: int = 12) -> Figure:
    """Draw a term's graph at a folding level (None: in full), with at most `per_row` layers in a row, 2 or more."""
    if per_row < 2:
        raise UserError(f"per_row: {per_row}; give at least 2 layers")
    layout = layered(grammar, graphs.graph(grammar, term, level))
    rows = [_Row(layout, *part) for part in parted(layout, per_row)]
    width = max(row.width for row in rows)
    height = sum(row.height for row in rows) + GAP * (len(rows) + 1)
    figure = plt.figure(figsize=(width + 2 * GAP, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-GAP, width + GAP), ylim=(-height, 0), aspect="equal")
    axis.axis("off")
    top = -GAP
    for row in rows:
        row.draw(axis, top)
        top -= row.height + GAP
    plt.close(figure)  # a notebook shows what a cell returns, once
    return figure


class _Row:
    """Places of everything in one row, and its drawing; ports are numbered as the row before puts them out."""

    def __init__(self, layout: nx.DiGraph, layers: list[list[Hashable]], arcs: nx.DiGraph):
        self.boxes, self.layers, self.arcs = layout.nodes, layers, arcs
        self._order()
        self.y = self._places()
        self._columns()
        edges = [(self.y[n], self._height(n)) for layer in layers for n in layer]
        self.top = max(y + h / 2 for y, h in edges)
        self.stage = dict(layout.nodes(data="stage", default=-1))
        self.staged = max(self.stage.values()) > 0
        self.height = self.top - min(y - h / 2 for y, h in edges) + 2 * GAP + (1.5 * LINE if self.staged else 0)

    def _height(self, node: Hashable) -> float:
        if isinstance(node, tuple):
            return THIN if node[0] == "bend" else PORT
        return LINE * len(self.boxes[node]["lines"]) + 0.06

    def _width(self, node: Hashable) -> float:
        if isinstance(node, tuple):
            return 0.0 if node[0] == "bend" else PORT
        return CHARACTER * max(map(len, self.boxes[node]["lines"])) + 0.12

    def _order(self) -> None:
        """Order layers in alternate sweeps, each by the mean rank of a node's neighbours in the layer beside it."""
        for sweep in range(8):
            beside, order = (self.arcs.pred, self.layers) if sweep % 2 == 0 else (self.arcs.succ, self.layers[::-1])
            for fixed, layer in pairwise(order):
                rank = {node: i for i, node in enumerate(fixed)}
                own = {node: i for i, node in enumerate(layer)}
                mean = {n: np.mean([rank[m] for m in beside[n]]) if beside[n] else own[n] for n in layer}
                layer.sort(key=lambda node: mean[node])

    def _places(self) -> dict[Hashable, float]:
        """Compute y of every node, the first of a layer on top, relaxed towards its neighbours in unchanged order."""
        y: dict[Hashable, float] = {}
        offsets = []
        for layer in self.layers:
            heights = [self._height(node) for node in layer]
            steps = [(a + b) / 2 + GAP for a, b in pairwise(heights)]
            offset = -np.cumsum([0.0, *steps]) if layer else np.zeros(0)
            offsets.append(offset)
            y.update(zip(layer, offset - offset.mean() if layer else offset, strict=True))
        for sweep in range(12):
            beside = (self.arcs.pred, self.arcs.succ)[sweep % 2]
            turns = list(zip(self.layers, offsets, strict=True))
            for layer, offset in turns if sweep % 2 == 0 else turns[::-1]:
                if layer:
                    near = np.array([np.mean([y[m] for m in beside[n] or [n]]) for n in layer])
                    fitted = isotonic_regression(near - offset, increasing=False) + offset
                    y.update(zip(layer, fitted.tolist(), strict=True))
        return y

    def _columns(self) -> None:
        """Compute x of every node's middle, half the width that it takes, and the line behind each layer."""
        self.x, self.half, self.borders, self.width = {}, {}, [], 0.0
        for layer in self.layers:
            widest = max(map(self._width, layer), default=0.0)
            for node in layer:
                self.x[node] = self.width + widest / 2
                self.half[node] = (widest if is_bend(node) else self._width(node)) / 2
            self.width += widest + (SPACE if layer else 0.0)
            self.borders.append(self.width - SPACE / 2)

    def draw(self, axis: Axes, top: float) -> None:
        shift = top - GAP - self.top - (1.5 * LINE if self.staged else 0)
        if self.staged:
            self._draw_stages(axis, top)
        for tail, head in self.arcs.edges:
            a = (self.x[tail] + self.half[tail], self.y[tail] + shift)
            b = (self.x[head] - self.half[head], self.y[head] + shift)
            _arc(axis, a, b, arrow=not is_bend(head))
            if is_bend(head):
                axis.plot([b[0], b[0] + 2 * self.half[head]], [b[1], b[1]], color=LINES, linewidth=0.7, zorder=1.5)
        for layer in self.layers:
            for node in layer:
                self._draw_node(axis, node, self.x[node], self.y[node] + shift)

    def _draw_node(self, axis: Axes, node: Hashable, x: float, y: float) -> None:
        if isinstance(node, tuple):
            if node[0] != "bend":
                axis.add_patch(Circle((x, y), PORT / 2, facecolor="white", edgecolor="black", linewidth=0.6, zorder=3))
                axis.text(x, y, str(node[1]), size=FONT - 2, ha="center", va="center_baseline", zorder=4)
            return
        lines, kinds = self.boxes[node]["lines"], self.boxes[node]["kinds"]
        w, h = self._width(node), self._height(node)
        each = h / len(kinds)
        for i, name in enumerate(kinds):
            corner = (x - w / 2, y + h / 2 - (i + 1) * each)
            axis.add_patch(Rectangle(corner, w, each, facecolor=COLOURS[name], edgecolor="none", zorder=2))
        outline = FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle="square,pad=0", linewidth=0.7, zorder=3)
        outline.set(facecolor="none", edgecolor="black")
        axis.add_patch(outline)
        for i, line in enumerate(lines):
            at = y + h / 2 - (i + 0.5) * h / len(lines)
            axis.text(x, at, line, size=FONT, ha="center", va="center_baseline", zorder=4)

    def _draw_stages(self, axis: Axes, top: float) -> None:
        """Draw a band behind each run of layers of one resolution, named on top."""
        inner = [max(self.stage[n] for n in layer) for layer in self.layers[1:-1]]
        stages = [inner[0], *inner, inner[-1]]  # ports stand with what is beside them
        for stage in sorted(set(stages)):
            own = [i for i, s in enumerate(stages) if s == stage]
            left = -GAP / 2 if own[0] == 0 else self.borders[own[0] - 1]
            right = self.width + GAP / 2 if own[-1] == len(stages) - 1 else self.borders[own[-1]]
            shade = ("#F4F4F4", "#E9E9E9")[stage % 2]
            corner = (left, top - self.height)
            axis.add_patch(Rectangle(corner, right - left, self.height, facecolor=shade, edgecolor="none", zorder=0))
            name = "full resolution" if stage == 0 else f"1/{2**stage} of it" if right - left > 0.8 else f"1/{2**stage}"
            axis.text(left + 0.06, top - 0.05, name, size=FONT - 1, va="top", color="#444444", zorder=1)


def _arc(axis: Axes, a: tuple[float, float], b: tuple[float, float], arrow: bool) -> None:
    """Draw a curve that leaves and arrives level, so that it keeps to the space between two layers."""
    middle = (a[0] + b[0]) / 2
    points = [a, (middle, a[1]), (middle, b[1]), b]
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    line = PathPatch(Path(points, codes), facecolor="none", edgecolor=LINES, linewidth=0.7, zorder=1.5)
    axis.add_patch(line)
    if arrow:
        tip = [b, (b[0] - 0.06, b[1] + 0.025), (b[0] - 0.06, b[1] - 0.025)]
        axis.add_patch(Polygon(tip, facecolor=LINES, edgecolor="none", zorder=1.6))
