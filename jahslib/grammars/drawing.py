"""Drawings of terms at every folding level, for notebooks.

Operations are boxes between input and output, in layers from left to right; long drawings go on in the next row, where
arcs leave and enter at circles with the same number. Activation, convolution and normalisation that only follow one
another share a box. Where the grammar has resBlocks, each resolution has a band of its own.

Layers are longest paths, their order is by barycentres (Sugiyama, Tagawa and Toda, IEEE SMC 1981), and places within a
layer are the least-squares ones near each node's neighbours.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path
from sklearn.isotonic import isotonic_regression

from jahslib.errors import UserError
from jahslib.grammars import graphs
from jahslib.grammars.grammar import Grammar
from jahslib.grammars.graphs import INPUT, OUTPUT
from jahslib.grammars.terms import Term
from jahslib.grammars.topology import Child

# Okabe and Ito's colours, told apart by colour-blind readers, halfway to white so that black text stands out.
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
ACTIVATIONS, NORMS = {"relu", "hardswish", "mish"}, {"batch", "instance", "layer"}
DOWN = "resBlock"

FONT = 8  # points
LINE, CHARACTER = 0.15, 0.068  # inches a line and a character of that size take
GAP, SPACE, THIN = 0.12, 0.4, 0.1  # inches between boxes, between layers, and for an arc that passes a layer
PORT = 0.2  # inches
LINES = "#555555"

Arc = tuple[Hashable, Hashable]


def kind(label: str) -> str:
    """The key of `COLOURS` for a node's label."""
    if label in (INPUT, OUTPUT):
        return "end"
    if " " in label:
        return "folded"
    if label in ACTIVATIONS:
        return "activation"
    if label in NORMS:
        return "normalisation"
    if label == DOWN:
        return "resBlock"
    return "convolution" if "conv" in label else "pooling" if "pool" in label else "other"


def draw(grammar: Grammar, term: Term, level: int | None = None, *, per_row: int = 12) -> Figure:
    """The term's graph at a folding level (None: the full graph).

    Args:
        per_row: layers in a row, at least 2.

    Raises:
        UserError: the term is not one of this grammar, or `per_row` is too small.
    """
    if per_row < 2:
        raise UserError(f"per_row: {per_row}; give at least 2 layers")
    drawing = _layered(_merged(graphs.graph(grammar, term, level)), grammar)
    rows = [_Row(part, drawing) for part in _rows(drawing, per_row)]
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


# The graph to be drawn ------------------------------------------------------------------------------------------------


@dataclass
class _Drawing:
    """Nodes by number with the lines of their boxes (one operation each, or a folded node's two words), arcs, and for
    each node its layer and how many resBlocks come before it."""

    lines: dict[Hashable, list[str]]
    kinds: dict[Hashable, list[str]]
    arcs: list[Arc]
    layer: dict[Hashable, int] = field(default_factory=dict)
    stage: dict[Hashable, int] = field(default_factory=dict)


def _merged(graph: graphs.Graph) -> _Drawing:
    """Boxes of the graph: activation, convolution and normalisation in one where nothing else meets them."""
    arcs = list(dict.fromkeys(zip(graph.tails, graph.heads, strict=True)))
    after: dict[int, list[int]] = {i: [] for i in range(graph.n_nodes)}
    before: dict[int, list[int]] = {i: [] for i in range(graph.n_nodes)}
    for tail, head in arcs:
        after[tail].append(head)
        before[head].append(tail)
    into: dict[int, int] = {}  # a node's predecessor in its box
    follows = (("activation", "convolution"), ("convolution", "normalisation"))
    for node, label in enumerate(graph.labels):
        if len(before[node]) == 1:
            tail = before[node][0]
            if len(after[tail]) == 1 and (kind(graph.labels[tail]), kind(label)) in follows:
                into[node] = tail
    box = {node: node for node in after}
    for node in into:
        while box[node] in into:
            box[node] = into[box[node]]
    members: dict[int, list[int]] = {}
    for node in after:
        members.setdefault(box[node], []).append(node)
    for first, own in members.items():
        own.sort(key=lambda node: (node != first, kind(graph.labels[node]) == "normalisation"))
    return _Drawing(
        lines={b: [word for node in own for word in graph.labels[node].split(" ")] for b, own in members.items()},
        kinds={b: [kind(graph.labels[node]) for node in own] for b, own in members.items()},
        arcs=list(dict.fromkeys((box[t], box[h]) for t, h in arcs if box[t] != box[h])),
    )


def _layered(drawing: _Drawing, grammar: Grammar) -> _Drawing:
    """Layers by longest paths, every stage beginning after the one before; what ends a stage stands in its last."""
    before: dict[Hashable, list[Hashable]] = {node: [] for node in drawing.lines}
    for tail, head in drawing.arcs:
        before[head].append(tail)
    order = list(TopologicalSorter(before).static_order())
    falls = {node: _halvings(grammar, lines) for node, lines in drawing.lines.items()}
    stage, layer = drawing.stage, drawing.layer
    for node in order:
        stage[node] = max((stage[t] + falls[t] for t in before[node]), default=0)
    start = 0
    for number in sorted(set(stage.values())):
        own = [node for node in order if stage[node] == number]
        for node in own:
            layer[node] = max([start, *(layer[t] + 1 for t in before[node])])
        last = max(layer[node] for node in own)
        layer.update({node: last for node in own if falls[node]})
        start = last + 1
    return drawing


def _halvings(grammar: Grammar, lines: list[str]) -> int:
    """How often what a box stands for halves the resolution: as often as the first derivation of its nonterminal does.

    A network can only be built where all derivations agree on that.
    """

    def of(name: str, literal: bool, above: tuple[str, ...]) -> int:
        if literal or name in above or name not in grammar.productions:
            return int(name == DOWN)
        first = grammar.productions[name][0]
        if first.topology is None:
            return int(first.head == DOWN)
        contents: list[Child] = [edge.label or "" for edge in first.topology.edges]
        fixed = [True] * len(contents)
        for slot, child, is_literal in zip(first.topology.slots, first.children, first.literal, strict=True):
            if not slot.is_tail:
                contents[slot.edge], fixed[slot.edge] = child, is_literal
        reached = {first.topology.source: 0}
        for _ in contents:
            for edge, content, is_literal in zip(first.topology.edges, contents, fixed, strict=True):
                if edge.tail in reached:
                    passed = reached[edge.tail] + of(str(content), is_literal, (*above, name))
                    reached[edge.head] = max(reached.get(edge.head, 0), passed)
        return reached.get(first.topology.sink, 0)

    return of(lines[0], len(lines) != 2 or lines[0] not in grammar.productions, ())


# Rows ---------------------------------------------------------------------------------------------------------------


@dataclass
class _Part:
    """The layers of one row, and arcs between all that stands in it. Nodes that are tuples are ports, ("out", tail) for
    what leaves at the row's end and ("in", tail) for what enters at its beginning."""

    layers: list[list[Hashable]]
    arcs: list[Arc]


def _rows(drawing: _Drawing, per_row: int) -> list[_Part]:
    n_layers = max(drawing.layer.values()) + 1
    n_rows = -(-n_layers // per_row)
    each = -(-n_layers // n_rows)  # rows of about the same length
    parts = []
    for begin in range(0, n_layers, each):
        end = min(begin + each, n_layers)
        here = {node: layer for node, layer in drawing.layer.items() if begin <= layer < end}
        layer_of: dict[Hashable, int] = {node: layer - begin + 1 for node, layer in here.items()}
        arcs: dict[Arc, None] = {}
        for tail, head in drawing.arcs:
            at_tail, at_head = drawing.layer[tail], drawing.layer[head]
            if at_head < begin or at_tail >= end:
                continue
            a = tail if tail in here else ("in", tail)
            b = head if head in here else ("out", tail)
            layer_of.setdefault(a, 0)
            layer_of.setdefault(b, end - begin + 1)
            arcs[a, b] = None
        layers: list[list[Hashable]] = [[] for _ in range(end - begin + 2)]
        for node, layer in layer_of.items():
            layers[layer].append(node)
        parts.append(_Part(layers, _with_bends(arcs, layer_of, layers)))
    return parts


def _with_bends(arcs: dict[Arc, None], layer_of: dict[Hashable, int], layers: list[list[Hashable]]) -> list[Arc]:
    """Arcs between neighbouring layers only: one that passes layers gets a bend in each, shared by arcs of one tail."""
    short: dict[Arc, None] = {}
    for tail, head in arcs:
        at = tail
        for layer in range(layer_of[tail] + 1, layer_of[head]):
            bend = ("bend", tail, layer)
            if bend not in layers[layer]:
                layers[layer].append(bend)
            short[at, bend] = None
            at = bend
        short[at, head] = None
    return list(short)


class _Row:
    """Places of everything in one row, and its drawing. The numbers of ports are those of their tails' boxes in the
    order in which the row before puts them out."""

    def __init__(self, part: _Part, drawing: _Drawing):
        self.part, self.drawing = part, drawing
        self.before: dict[Hashable, list[Hashable]] = {}
        self.after: dict[Hashable, list[Hashable]] = {}
        for tail, head in part.arcs:
            self.before.setdefault(head, []).append(tail)
            self.after.setdefault(tail, []).append(head)
        self._order()
        self.y = self._places()
        self._columns()
        edges = [(self.y[n], self._height(n)) for layer in part.layers for n in layer]
        self.top = max(y + h / 2 for y, h in edges)
        self.staged = max(drawing.stage.values()) > 0
        self.height = self.top - min(y - h / 2 for y, h in edges) + 2 * GAP + (1.5 * LINE if self.staged else 0)

    def _height(self, node: Hashable) -> float:
        if isinstance(node, tuple):
            return THIN if node[0] == "bend" else PORT
        return LINE * len(self.drawing.lines[node]) + 0.06

    def _width(self, node: Hashable) -> float:
        if isinstance(node, tuple):
            return 0.0 if node[0] == "bend" else PORT
        return CHARACTER * max(map(len, self.drawing.lines[node])) + 0.12

    def _order(self) -> None:
        """Alternate sweeps; each sorts a layer by the mean rank of its neighbours in the layer beside it."""
        layers = self.part.layers
        for sweep in range(8):
            beside, order = (self.before, layers) if sweep % 2 == 0 else (self.after, layers[::-1])
            for fixed, layer in pairwise(order):
                rank = {node: i for i, node in enumerate(fixed)}
                own = {node: i for i, node in enumerate(layer)}
                mean = {n: np.mean([rank[m] for m in beside[n]]) if n in beside else own[n] for n in layer}
                layer.sort(key=lambda node: mean[node])

    def _places(self) -> dict[Hashable, float]:
        """y of every node, the first of a layer on top; relaxed towards neighbours without changing the order."""
        y: dict[Hashable, float] = {}
        offsets = []
        for layer in self.part.layers:
            heights = [self._height(node) for node in layer]
            steps = [(a + b) / 2 + GAP for a, b in pairwise(heights)]
            offset = -np.cumsum([0.0, *steps]) if layer else np.zeros(0)
            offsets.append(offset)
            y.update(zip(layer, offset - offset.mean() if layer else offset, strict=True))
        for sweep in range(12):
            beside = (self.before, self.after)[sweep % 2]
            turns = list(zip(self.part.layers, offsets, strict=True))
            for layer, offset in turns if sweep % 2 == 0 else turns[::-1]:
                if layer:
                    near = np.array([np.mean([y[m] for m in beside.get(n, [n])]) for n in layer])
                    fitted = isotonic_regression(near - offset, increasing=False) + offset
                    y.update(zip(layer, fitted.tolist(), strict=True))
        return y

    def _columns(self) -> None:
        """x of the middle of every layer, and of the line between it and the next."""
        self.x, self.borders, at = [], [], 0.0
        self.half = [max((self._width(n) for n in layer), default=0.0) / 2 for layer in self.part.layers]
        for layer, half in zip(self.part.layers, self.half, strict=True):
            self.x.append(at + half)
            at += 2 * half + (SPACE if layer else 0.0)
            self.borders.append(at - SPACE / 2)
        self.width = at

    def draw(self, axis: Axes, top: float) -> None:
        shift = top - GAP - self.top - (1.5 * LINE if self.staged else 0)
        if self.staged:
            self._draw_stages(axis, top)
        x_of = {node: x for x, layer in zip(self.x, self.part.layers, strict=True) for node in layer}
        half = {
            node: layer_half if _is_bend(node) else self._width(node) / 2
            for layer_half, layer in zip(self.half, self.part.layers, strict=True)
            for node in layer
        }
        for tail, head in self.part.arcs:
            a = (x_of[tail] + half[tail], self.y[tail] + shift)
            b = (x_of[head] - half[head], self.y[head] + shift)
            _arc(axis, a, b, arrow=not _is_bend(head))
            if _is_bend(head):
                axis.plot([b[0], b[0] + 2 * half[head]], [b[1], b[1]], color=LINES, linewidth=0.7, zorder=1.5)
        for layer in self.part.layers:
            for node in layer:
                self._draw_node(axis, node, x_of[node], self.y[node] + shift)

    def _draw_node(self, axis: Axes, node: Hashable, x: float, y: float) -> None:
        if isinstance(node, tuple):
            if node[0] != "bend":
                axis.add_patch(Circle((x, y), PORT / 2, facecolor="white", edgecolor="black", linewidth=0.6, zorder=3))
                axis.text(x, y, str(node[1]), size=FONT - 2, ha="center", va="center_baseline", zorder=4)
            return
        lines, kinds = self.drawing.lines[node], self.drawing.kinds[node]
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
        """A band behind each run of layers of one resolution, named on top."""
        stages = [
            max((self.drawing.stage[n] for n in layer if not isinstance(n, tuple)), default=-1)
            for layer in self.part.layers
        ]
        # Ports stand with what is beside them.
        if stages[0] < 0:
            stages[0] = stages[1]
        if stages[-1] < 0:
            stages[-1] = stages[-2]
        for stage in sorted(set(stages)):
            own = [i for i, s in enumerate(stages) if s == stage]
            left = -GAP / 2 if own[0] == 0 else self.borders[own[0] - 1]
            right = self.width + GAP / 2 if own[-1] == len(stages) - 1 else self.borders[own[-1]]
            shade = ("#F4F4F4", "#E9E9E9")[stage % 2]
            corner = (left, top - self.height)
            axis.add_patch(Rectangle(corner, right - left, self.height, facecolor=shade, edgecolor="none", zorder=0))
            name = "full resolution" if stage == 0 else f"1/{2**stage} of it" if right - left > 0.8 else f"1/{2**stage}"
            axis.text(left + 0.06, top - 0.05, name, size=FONT - 1, va="top", color="#444444", zorder=1)


def _is_bend(node: Hashable) -> bool:
    return isinstance(node, tuple) and node[0] == "bend"


def _arc(axis: Axes, a: tuple[float, float], b: tuple[float, float], arrow: bool) -> None:
    """A curve that leaves and arrives level, so that it keeps to the space between two layers."""
    middle = (a[0] + b[0]) / 2
    points = [a, (middle, a[1]), (middle, b[1]), b]
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    line = PathPatch(Path(points, codes), facecolor="none", edgecolor=LINES, linewidth=0.7, zorder=1.5)
    axis.add_patch(line)
    if arrow:
        tip = [b, (b[0] - 0.06, b[1] + 0.025), (b[0] - 0.06, b[1] - 0.025)]
        axis.add_patch(plt.Polygon(tip, facecolor=LINES, edgecolor="none", zorder=1.6))
