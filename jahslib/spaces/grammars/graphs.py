"""Terms as graphs, at every folding level.

Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), section 4: nodes are operations (every filled edge of a topology is a
node, labelled with what fills it) between one `input` and one `output`. `zero` edges are left out with all that no path
from input to output meets any more; `id` edges are bypassed.

Folding level l shows the term cut at depth l: a nonterminal below it is one node, labelled with the nonterminal and its
topology ("CELL Cell"). Level 0 is the root topology's graph; a level beyond the term's depth is the full graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term
from jahslib.spaces.grammars.topology import ID, ZERO, Child, Topology

INPUT, OUTPUT = "input", "output"


class _Names:
    """Numbers for node labels, so that nodes are arrays.

    There are never more than a grammar's nonterminals, topologies and terminals make.
    """

    def __init__(self):
        self.known: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, label: str) -> int:
        """Look up a label's number; a new label gets the next one."""
        if label not in self._numbers:
            self._numbers[label] = len(self.known)
            self.known.append(label)
        return self._numbers[label]


NAMES = _Names()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Graph:
    """A directed graph.

    `names`: the nodes' labels as numbers (`NAMES`), the input's first and the output's last. `arcs`: their tails and
    their heads, `2 x arcs`.

    Terms that look alike at a folding level share one object there.
    """

    names: np.ndarray
    arcs: np.ndarray

    @staticmethod
    def of(labels: Sequence[str], tails: Sequence[int], heads: Sequence[int]) -> Graph:
        """From labels, and arcs from `tails[k]` to `heads[k]`."""
        return Graph(np.array([NAMES.number(label) for label in labels]), np.array([tails, heads], dtype=np.int64))

    @property
    def labels(self) -> list[str]:
        """The nodes' labels, the input's first and the output's last."""
        return [NAMES.known[number] for number in self.names.tolist()]

    @property
    def tails(self) -> list[int]:
        """The node that each arc leaves."""
        return self.arcs[0].tolist()

    @property
    def heads(self) -> list[int]:
        """The node that each arc enters."""
        return self.arcs[1].tolist()

    @property
    def n_nodes(self) -> int:
        """Number of nodes, input and output included."""
        return len(self.names)

    @property
    def n_edges(self) -> int:
        """Number of arcs."""
        return self.arcs.shape[1]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Shape:
    """The subgraph that fills an edge, before its surroundings and its nodes' names are known.

    `size` nodes, `arcs` among them, the nodes that follow the edge's tail (`entries`) and that precede its head
    (`exits`), and whether the two ends are connected without a node between them (`through`). `live`: the parts that
    its nodes come from, in their order.
    """

    size: int
    arcs: np.ndarray
    entries: list[int]
    exits: list[int]
    through: bool = False
    live: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Fragment:
    """A shape, and the names of its nodes."""

    shape: Shape
    names: np.ndarray


_NO_ARCS = np.empty((2, 0), dtype=np.int64)
_NODE = Shape(1, _NO_ARCS, [0], [0])
_BYPASS = Fragment(Shape(0, _NO_ARCS, [], [], through=True), np.empty(0, dtype=np.int64))

# Shapes by their topology and parts' shapes, fragments by their topology and parts, graphs by their fragment and their
# arcs by their shape, for as long as some term uses them. A mutation deep in a term changes none of its shallow levels,
# and most change names and no shape.
_shapes: WeakValueDictionary[tuple, Shape] = WeakValueDictionary()
_composed: WeakValueDictionary[tuple, Fragment] = WeakValueDictionary()
_closed: WeakKeyDictionary[Fragment, Graph] = WeakKeyDictionary()
_arcs: WeakKeyDictionary[Shape, np.ndarray] = WeakKeyDictionary()


def graph(grammar: Grammar, term: Term, level: int | None = None) -> Graph:
    """Build the graph at a folding level; None is the full graph.

    Raises:
        UserError: the term is not one of this grammar.
    """
    grammar.check(term)
    whole = _part(grammar, term, level)
    if whole is None:  # a lone `zero`
        return Graph.of([INPUT, OUTPUT], [], [])
    found = _closed.get(whole)
    if found is None:
        found = _closed[whole] = _close(whole)
    return found


def _close(whole: Fragment) -> Graph:
    """Add input and output nodes to a fragment."""
    shape = whole.shape
    arcs = _arcs.get(shape)
    if arcs is None:
        output = shape.size + 1
        through = [0] if shape.through else []
        tails = [0] * len(shape.entries) + [node + 1 for node in shape.exits] + through
        heads = [node + 1 for node in shape.entries] + [output] * (len(shape.exits) + len(through))
        arcs = _arcs[shape] = np.concatenate([shape.arcs + 1, (tails, heads)], axis=1)
    return Graph(np.concatenate([_INPUT, whole.names, _OUTPUT]), arcs)


_INPUT, _OUTPUT = (np.array([NAMES.number(label)]) for label in (INPUT, OUTPUT))


@cache
def _leaf(label: str) -> Fragment | None:
    if label == ZERO:
        return None
    return _BYPASS if label == ID else Fragment(_NODE, np.array([NAMES.number(label)]))


@cache
def _folded(symbol: str, head: str) -> Fragment | None:
    return _leaf(f"{symbol} {head}")


def _part(grammar: Grammar, child: Child, level: int | None) -> Fragment | None:
    """Build a child's fragment with everything deeper than `level` folded; None for `zero`."""
    if type(child) is str:
        return _leaf(child)
    if not child.children:
        return _leaf(child.head)
    return _folded(child.symbol, child.head) if level is not None and level < 0 else _fragment(grammar, child, level)


def _fragment(grammar: Grammar, term: Term, level: int | None) -> Fragment:
    """Of a term with children, at a level from 0."""
    if level is not None and level >= term.height - 1:
        level = None
    key = (grammar, "fragment", level)
    memo = term.memo
    found = memo.get(key)
    if found is None:
        below = None if level is None else level - 1
        topology = grammar.topologies[term.head]
        parts = [_part(grammar, c, below) for c in term.children]
        tails: tuple[str, ...] = ()
        if len(parts) != len(topology.edges) or topology.chooses_tails:
            tails, parts = _per_edge(topology, term.children, parts)
        signature = (topology, tails, *parts)
        found = _composed.get(signature)
        if found is None:
            found = _composed[signature] = _compose(topology, tails, parts)
        memo[key] = found
    return found


def _compose(topology: Topology, tails: tuple[str, ...], parts: list[Fragment | None]) -> Fragment:
    """Join the fragments of a topology's edges."""
    signature = (topology, tails, *[part and part.shape for part in parts])
    shape = _shapes.get(signature)
    if shape is None:
        shape = _shapes[signature] = _joined(topology, tails, signature[2:])
    return Fragment(shape, np.concatenate([parts[i].names for i in shape.live]))  # type: ignore[union-attr]


def _joined(topology: Topology, tails: tuple[str, ...], parts: Sequence[Shape | None]) -> Shape:
    absent = through = 0
    for i, part in enumerate(parts):
        if part is None:
            absent |= 1 << i
        elif part.through:
            through |= 1 << i
    wiring = topology.wiring(absent, through, tails)
    arcs, size = [], 0
    entries: dict[int, list[int]] = {}
    exits: dict[int, list[int]] = {}
    for i in wiring.live:
        part = parts[i]
        assert part is not None
        if part.arcs.size:
            arcs.append(part.arcs + size)
        entries[i] = [node + size for node in part.entries]
        exits[i] = [node + size for node in part.exits]
        size += part.size
    arc_tails: list[int] = []
    arc_heads: list[int] = []
    for i, j in wiring.follows:
        for node in exits[i]:
            arc_tails += [node] * len(entries[j])
            arc_heads += entries[j]
    if arc_tails:
        arcs.append(np.array((arc_tails, arc_heads)))
    return Shape(
        size,
        np.concatenate(arcs, axis=1) if arcs else _NO_ARCS,
        [node for i in wiring.entries for node in entries[i]],
        [node for i in wiring.exits for node in exits[i]],
        wiring.through,
        wiring.live,
    )


def _per_edge(
    topology: Topology, children: tuple[Child, ...], parts: list[Fragment | None]
) -> tuple[tuple[str, ...], list[Fragment | None]]:
    """Split children into chosen tails, in the order of their edges, and a fragment per edge.

    For topologies whose children do not correspond one to one to their edges.
    """
    tails: list[str] = []
    filled = [None if edge.label is None else _leaf(edge.label) for edge in topology.edges]
    for slot, child, part in zip(topology.slots, children, parts, strict=True):
        if slot.is_tail:
            tails.append(child if isinstance(child, str) else child.head)
        else:
            filled[slot.edge] = part
    return tuple(tails), filled
