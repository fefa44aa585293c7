"""Folded graphs as the original program makes them, for comparison with published results.

They differ from `jahslib.spaces.grammars.graphs` in two ways, apparently by mistake; the full graph is the same.
(1) A topology's graph is closed by taking every node without a predecessor for an input and every node without a
successor for an output. Where `zero` leaves an operation without either, that operation vanishes and the one before it
(after it) is joined to the output (the input): dead ends turn into short cuts.
(2) Equal subterms share one graph, the one made last. When that one stood where nothing led to it, because of `zero`,
it lacks what came first, and all its equals do so too.

Since (2) depends on the whole term, parts are not reused between terms: this is slower than `graphs.graph`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jahslib.errors import UserError
from jahslib.spaces.grammars import graphs
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.graphs import INPUT, OUTPUT, Graph
from jahslib.spaces.grammars.terms import Term
from jahslib.spaces.grammars.topology import ID, ZERO, Child, Topology


def graph(grammar: Grammar, term: Term, level: int | None = None) -> Graph:
    """Build the graph as `graphs.graph`; levels beyond the term's give its deepest folded one.

    Raises:
        UserError: the term is not one of this grammar, is a lone terminal, or has a chosen tail (the original made no
            graph of either).
    """
    if level is None or term.height < 2:
        return graphs.graph(grammar, term, None)
    key = (grammar, "published folding")
    if key not in grammar.check(term).memo:
        if any(grammar.topologies[t.head].chooses_tails for t in term.walk() if t.children):
            raise UserError("the published folding has no topologies whose tails are chosen")
        term.memo[key] = _levels(_Builder(grammar, term))
    levels = term.memo[key]
    return levels[min(level, len(levels) - 1)]


def folded(grammar: Grammar, term: Term, levels: Sequence[int | None]) -> list[Graph]:
    """Build the graphs at several folding levels, as a `TermTable` asks for them."""
    return [graph(grammar, term, level) for level in levels]


class _Arcs:
    """A directed graph without parallel arcs; labels are terms (folded), or strings."""

    def __init__(self, arcs: Iterable[tuple[int, int]] = ()):
        self.after: dict[int, set[int]] = {}
        self.before: dict[int, set[int]] = {}
        self.labels: dict[int, Child] = {}
        self.add(arcs)

    def add(self, arcs: Iterable[tuple[int, int]]) -> None:
        for tail, head in list(arcs):
            for node in (tail, head):
                self.after.setdefault(node, set())
                self.before.setdefault(node, set())
            self.after[tail].add(head)
            self.before[head].add(tail)

    def drop(self, node: int) -> None:
        for head in self.after.pop(node, ()):
            self.before[head].discard(node)
        for tail in self.before.pop(node, ()):
            self.after[tail].discard(node)
        self.labels.pop(node, None)

    def bypass(self, node: int) -> None:
        self.add([(tail, head) for tail in self.before[node] for head in self.after[node]])
        self.drop(node)

    def copy(self) -> _Arcs:
        new = _Arcs()
        new.after = {node: set(heads) for node, heads in self.after.items()}
        new.before = {node: set(tails) for node, tails in self.before.items()}
        new.labels = dict(self.labels)
        return new


class _Builder:
    """Expansion of nodes into topologies, left to right, in one graph and in one per topology."""

    def __init__(self, grammar: Grammar, term: Term):
        self.grammar, self.term = grammar, term
        self.whole = _Arcs()
        self.parts: dict[Term, _Arcs] = {}
        self.count = 2
        self.expand(term, {0}, {1})

    def new(self) -> int:
        self.count += 1
        return self.count

    def expand(self, term: Term, before: set[int], after: set[int]) -> None:
        topology = self.grammar.topologies[term.head]
        nodes, arcs = self._arcs(topology, before, after)
        self.whole.add(arcs)
        own = _Arcs(arcs)
        children: list[Child] = [e.label or ZERO for e in topology.edges]
        for slot, child in zip(topology.slots, term.children, strict=True):
            children[slot.edge] = child
        for node, child in zip(nodes, children, strict=True):
            if isinstance(child, Term) and child.children:
                own.labels[node] = child
                around = set(self.whole.before.get(node, ())), set(self.whole.after.get(node, ()))
                self.whole.drop(node)
                self.expand(child, *around)
                continue
            terminal = child if isinstance(child, str) else child.head
            for arcs_of in (self.whole, own):
                if terminal == ZERO:
                    arcs_of.drop(node)
                elif terminal == ID:
                    arcs_of.bypass(node)
            if terminal not in (ZERO, ID):
                own.labels[node] = terminal
        self._close(own)
        self.parts[term] = own

    def _arcs(self, topology: Topology, before: set[int], after: set[int]) -> tuple[list[int], list[tuple[int, int]]]:
        nodes = [self.new() for _ in topology.edges]
        arcs: list[tuple[int, int]] = []
        for node, edge in zip(nodes, topology.edges, strict=True):
            if edge.tail == topology.source:
                arcs += [(other, node) for other in before]
            if edge.head == topology.sink:
                arcs += [(node, other) for other in after]
            arcs += [(n, node) for n, e in zip(nodes, topology.edges, strict=True) if e.head == edge.tail]
        return nodes, arcs

    def _close(self, own: _Arcs) -> None:
        """Reproduce fault (1): loose ends become input or output, joined to their neighbours."""
        starts = [n for n in own.after if own.after[n] and not own.before[n]]
        ends = [n for n in own.after if own.before[n] and not own.after[n]]
        source, sink = self.new(), self.new()
        own.add([(source, head) for n in starts for head in own.after[n]])
        for n in starts:
            own.drop(n)
        own.add([(tail, sink) for n in ends for tail in own.before.get(n, ())])
        for n in ends:
            own.drop(n)
        own.labels[source], own.labels[sink] = INPUT, OUTPUT
        loose = [n for n in own.after if not own.after[n] and not own.before[n] and n not in (source, sink)]
        for n in loose:
            own.drop(n)


def _levels(builder: _Builder) -> list[Graph]:
    """Build all levels but the last, which is the full graph."""
    current = builder.parts[builder.term].copy()
    levels = [current]
    while any(isinstance(label, Term) for label in current.labels.values()):
        current = current.copy()
        for node, label in list(current.labels.items()):
            if isinstance(label, Term):
                _insert(builder, current, node, builder.parts[label])
        levels.append(current)
    return [_finished(level) for level in (levels[:-1] or levels)]


def _insert(builder: _Builder, graph: _Arcs, node: int, part: _Arcs) -> None:
    """Replace a folded node by its topology's graph."""
    before, after = graph.before[node], graph.after[node]
    ends = {label: n for n, label in part.labels.items() if label in (INPUT, OUTPUT)}
    fresh = {n: builder.new() for n in part.after if part.labels.get(n) not in (INPUT, OUTPUT)}
    arcs: list[tuple[int, int]] = []
    for tail, heads in part.after.items():
        for head in heads:
            tails = before if tail == ends[INPUT] else {fresh[tail]}
            arcs += [(t, h) for t in tails for h in (after if head == ends[OUTPUT] else {fresh[head]})]
    graph.add(arcs)
    graph.labels.update({new: part.labels[old] for old, new in fresh.items()})
    graph.drop(node)


def _finished(arcs: _Arcs) -> Graph:
    (source,) = (n for n, label in arcs.labels.items() if label == INPUT)
    (sink,) = (n for n, label in arcs.labels.items() if label == OUTPUT)
    order = [source, *(n for n in arcs.labels if n not in (source, sink)), sink]
    index = {node: i for i, node in enumerate(order)}
    pairs = [(index[tail], index[head]) for tail in order for head in sorted(arcs.after[tail])]
    labels = (arcs.labels[node] for node in order)
    names = [label if isinstance(label, str) else f"{label.symbol} {label.head}" for label in labels]
    return Graph.of(names, [tail for tail, _ in pairs], [head for _, head in pairs])
