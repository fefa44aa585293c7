"""The layout of a graph to be drawn: boxes, the layers they stand in, and the rows that long ones are divided into.

Activation, convolution and normalisation that only follow one another share a box. Layers are longest paths (Sugiyama,
Tagawa and Toda, IEEE SMC 1981); arcs that pass a layer bend in it, and those that leave a row do so at a port.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.graphs import INPUT, OUTPUT, Graph
from jahslib.spaces.grammars.topology import Child

ACTIVATIONS, NORMS = {"relu", "hardswish", "mish"}, {"batch", "instance", "layer"}
DOWN = "resBlock"

Arc = tuple[Hashable, Hashable]


def kind(label: str) -> str:
    """Classify a node's label: "end", "folded", "activation", ..., or "other"."""
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


@dataclass
class Layout:
    """Boxes by the number of their first node, with the arcs between them.

    A box has `lines`, one operation each or a folded node's two words, and their `kinds`; a `layer`, from 0; and a
    `stage`, how many resBlocks come before it.
    """

    lines: dict[Hashable, list[str]]
    kinds: dict[Hashable, list[str]]
    arcs: list[Arc]
    layer: dict[Hashable, int] = field(default_factory=dict)
    stage: dict[Hashable, int] = field(default_factory=dict)


def _merged(graph: Graph) -> Layout:
    """Merge activation, convolution and normalisation into one box where nothing else meets them."""
    arcs = list(dict.fromkeys(zip(*graph.arcs.tolist(), strict=True)))
    after: dict[int, list[int]] = {i: [] for i in range(len(graph.names))}
    before: dict[int, list[int]] = {i: [] for i in range(len(graph.names))}
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
    return Layout(
        lines={b: [word for node in own for word in graph.labels[node].split(" ")] for b, own in members.items()},
        kinds={b: [kind(graph.labels[node]) for node in own] for b, own in members.items()},
        arcs=list(dict.fromkeys((box[t], box[h]) for t, h in arcs if box[t] != box[h])),
    )


def layered(grammar: Grammar, graph: Graph) -> Layout:
    """Lay out a graph's boxes in layers by longest paths; every stage begins after the one before."""
    layout = _merged(graph)
    before: dict[Hashable, list[Hashable]] = {node: [] for node in layout.lines}
    for tail, head in layout.arcs:
        before[head].append(tail)
    order = list(TopologicalSorter(before).static_order())
    falls = {node: _halvings(grammar, lines) for node, lines in layout.lines.items()}
    stage, layer = layout.stage, layout.layer
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
    return layout


def _halvings(grammar: Grammar, lines: list[str]) -> int:
    """Count how often a box halves the resolution: as its nonterminal's first derivation does, and so all do."""

    def of(name: str, literal: bool, above: tuple[str, ...]) -> int:
        if literal or name in above or name not in grammar.productions:
            return int(name == DOWN)
        first = grammar.productions[name][0]
        if first.topology is None:
            return int(first.head == DOWN)
        contents: list[Child] = [edge.label or "" for edge in first.topology.edges]
        fixed = [True] * len(contents)
        for i, (slot, child) in enumerate(zip(first.topology.slots, first.children, strict=True)):
            if not slot.is_tail:
                contents[slot.edge], fixed[slot.edge] = child, (i, child) not in first.open
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
class Part:
    """The layers of one row, and its arcs; ("out", tail) and ("in", tail) are ports where arcs leave and enter."""

    layers: list[list[Hashable]]
    arcs: list[Arc]


def parted(layout: Layout, per_row: int) -> list[Part]:
    """Divide a layout into rows of about as many layers each, at most `per_row`."""
    n_layers = max(layout.layer.values()) + 1
    n_rows = -(-n_layers // per_row)
    each = -(-n_layers // n_rows)  # rows of about the same length
    parts = []
    for begin in range(0, n_layers, each):
        end = min(begin + each, n_layers)
        here = {node: layer for node, layer in layout.layer.items() if begin <= layer < end}
        layer_of: dict[Hashable, int] = {node: layer - begin + 1 for node, layer in here.items()}
        arcs: dict[Arc, None] = {}
        for tail, head in layout.arcs:
            at_tail, at_head = layout.layer[tail], layout.layer[head]
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
        parts.append(Part(layers, _with_bends(arcs, layer_of, layers)))
    return parts


def _with_bends(arcs: dict[Arc, None], layer_of: dict[Hashable, int], layers: list[list[Hashable]]) -> list[Arc]:
    """Cut arcs at the layers they pass, by a bend in each that the arcs of one tail share."""
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


def is_bend(node: Hashable) -> bool:
    """Tell whether a node is where an arc passes a layer."""
    return isinstance(node, tuple) and node[0] == "bend"
