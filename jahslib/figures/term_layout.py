"""The layout of a graph to be drawn: boxes, the layers they stand in, and the rows that long ones are divided into.

Activation, convolution and normalisation that only follow one another share a box. Layers are longest paths (Sugiyama,
Tagawa and Toda, IEEE SMC 1981); arcs that pass a layer bend in it, and those that leave a row do so at a port.
"""

import math
from collections.abc import Hashable

import networkx as nx

from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.graphs import INPUT, OUTPUT, Graph

ACTIVATIONS, NORMS = {"relu", "hardswish", "mish"}, {"batch", "instance", "layer"}
DOWN = "resBlock"
JOINED = (("activation", "convolution"), ("convolution", "normalisation"))  # kinds that share a box


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


def layered(grammar: Grammar, graph: Graph) -> nx.DiGraph:
    """Lay out a graph in layers by longest paths; every stage begins after the one before.

    Nodes are boxes, the numbers of their first nodes, and bends: ("bend", tail, layer). A box has `lines`, one
    operation each or a folded node's two words, and their `kinds`; both have a `layer`, from 0; and a box has a
    `stage`, how many resBlocks come before it.
    """
    net = _boxes(graph)
    order = list(nx.topological_sort(net))
    falls = {
        node: _halvings(grammar, box["lines"][0]) if box["kinds"] == ["folded"] else int(box["lines"] == [DOWN])
        for node, box in net.nodes.items()
    }
    stage, layer, start = {}, {}, 0
    for node in order:
        stage[node] = max((stage[t] + falls[t] for t in net.pred[node]), default=0)
    for number in sorted(set(stage.values())):
        own = [node for node in order if stage[node] == number]
        for node in own:
            layer[node] = max([start, *(layer[t] + 1 for t in net.pred[node])])
        last = max(layer[node] for node in own)
        layer |= {node: last for node in own if falls[node]}
        start = last + 1
    nx.set_node_attributes(net, stage, "stage")
    nx.set_node_attributes(net, layer, "layer")
    for tail, head in list(net.edges):
        bends = [("bend", tail, passed) for passed in range(layer[tail] + 1, layer[head])]
        if bends:
            net.remove_edge(tail, head)
            net.add_nodes_from((bend, {"layer": bend[2]}) for bend in bends)
            nx.add_path(net, [tail, *bends, head])
    return net


def _boxes(graph: Graph) -> nx.DiGraph:
    """Merge activation, convolution and normalisation into one box where nothing else meets them."""
    net = nx.DiGraph()
    net.add_nodes_from((i, {"lines": label.split(" "), "kinds": [kind(label)]}) for i, label in enumerate(graph.labels))
    net.add_edges_from(zip(*graph.arcs.tolist(), strict=True))
    for node in list(nx.topological_sort(net)):
        tails, box = list(net.pred[node]), net.nodes[node]
        if len(tails) == 1 and net.out_degree(tails[0]) == 1:
            before = net.nodes[tails[0]]
            if (before["kinds"][-1], box["kinds"][0]) in JOINED:
                before["lines"] += box["lines"]
                before["kinds"] += box["kinds"]
                nx.contracted_nodes(net, tails[0], node, self_loops=False, copy=False)
    return net


def _halvings(grammar: Grammar, name: str, above: tuple[str, ...] = ()) -> int:
    """Count how often a nonterminal halves the resolution: as its first derivation does, and so all do."""
    first = grammar.productions[name][0]
    if first.topology is None or name in above:
        return int(first.head == DOWN)
    falls = [int(edge.label == DOWN) for edge in first.topology.edges]
    for i, (slot, child) in enumerate(zip(first.topology.slots, first.children, strict=True)):
        if not slot.is_tail:
            nested = (i, child) in first.open
            falls[slot.edge] = _halvings(grammar, child, (*above, name)) if nested else int(child == DOWN)
    net = nx.MultiDiGraph()
    net.add_weighted_edges_from((e.tail, e.head, n) for e, n in zip(first.topology.edges, falls, strict=True) if e.tail)
    return nx.dag_longest_path_length(net)


def parted(net: nx.DiGraph, per_row: int) -> list[tuple[list[list[Hashable]], nx.DiGraph]]:
    """Divide a layout into rows of about as many layers each, at most `per_row`.

    Returns each row's layers and its arcs. In the first and the last layer are ports where arcs enter and leave: ("in",
    box) and ("out", box), of the boxes that they come from.
    """
    layer: dict[Hashable, int] = nx.get_node_attributes(net, "layer")
    n_layers = max(layer.values()) + 1
    each = math.ceil(n_layers / math.ceil(n_layers / per_row))  # rows of about the same length
    parts = []
    for begin in range(0, n_layers, each):
        end = min(begin + each, n_layers)
        layers: list[list[Hashable]] = [[] for _ in range(end - begin + 2)]
        for node, at in layer.items():
            if begin <= at < end:
                layers[at - begin + 1].append(node)
        arcs = nx.DiGraph()
        for tail, head in net.edges:
            box = tail[1] if is_bend(tail) else tail
            if begin <= layer[tail] < end or begin <= layer[head] < end:
                a = tail if layer[tail] >= begin else ("in", box)
                b = head if layer[head] < end else ("out", box)
                for port, side in ((a, layers[0]), (b, layers[-1])):
                    if port not in net and port not in side:
                        side.append(port)
                arcs.add_edge(a, b)
        parts.append((layers, arcs))
    return parts


def is_bend(node: Hashable) -> bool:
    """Tell whether a node is where an arc passes a layer."""
    return isinstance(node, tuple) and node[0] == "bend"
