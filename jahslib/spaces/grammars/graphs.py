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
from functools import cache, lru_cache

import numpy as np

from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term
from jahslib.spaces.grammars.topology import ID, ZERO, Child, Topology

INPUT, OUTPUT = "input", "output"


# Numbers of node labels, in the order of their first use, so that nodes are arrays; there are never more than a
# grammar's nonterminals, topologies and terminals make.
NAMES: dict[str, int] = {}


def _number(label: str) -> int:
    return NAMES.setdefault(label, len(NAMES))


@dataclass(frozen=True, slots=True, eq=False)
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
        return Graph(np.array([_number(label) for label in labels]), np.array([tails, heads], dtype=np.int64))

    @property
    def labels(self) -> list[str]:
        """The nodes' labels, the input's first and the output's last."""
        known = list(NAMES)
        return [known[number] for number in self.names.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The subgraph that fills an edge, before its surroundings and its nodes' names are known.

    `size` nodes, the arcs among them (each `tail * ARC + head`), the nodes that follow the edge's tail (`entries`) and
    that precede its head (`exits`), and whether the two ends are connected without a node between them (`through`).
    `live`: the parts that its nodes come from, in their order.
    """

    size: int
    arcs: np.ndarray
    entries: list[int]
    exits: list[int]
    through: bool = False
    live: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Fragment:
    """A shape, and the names of its nodes as bytes, which take less time to join than arrays do."""

    shape: Shape
    names: bytes


def _name(label: str) -> bytes:
    return np.int64(_number(label)).tobytes()


ARC = 2**31
_NO_ARCS = np.empty(0, np.int64)
_NODE = Shape(1, _NO_ARCS, [0], [0])
_BYPASS = Fragment(Shape(0, _NO_ARCS, [], [], through=True), b"")
_INPUT, _OUTPUT = _name(INPUT), _name(OUTPUT)


def graph(grammar: Grammar, term: Term, level: int | None = None) -> Graph:
    """Build the graph at a folding level; None is the full graph.

    Raises:
        UserError: the term is not one of this grammar.
    """
    return folded(grammar, term, (level,))[0]


def folded(grammar: Grammar, term: Term, levels: Sequence[int | None]) -> list[Graph]:
    """Build the graphs at several folding levels in one pass over the term. Raises `UserError` as `graph` does."""
    grammar.check(term)
    deepest = max((level for level in levels if level is not None), default=-1)
    whole = _fragments(grammar, term, deepest + 1)
    return [_closed(whole[-1 if level is None else min(level, len(whole) - 1)]) for level in levels]


# Shapes are made once of equal parts' shapes, and fragments of equal parts: a mutation deep in a term changes none of
# its shallow levels, and most change names and no shape. The caches hold what some generations of a pool are made of.


@lru_cache(maxsize=10_000)
def _closed(whole: Fragment | None) -> Graph:
    """Add input and output nodes to a fragment; None is a lone `zero`."""
    if whole is None:
        return Graph.of([INPUT, OUTPUT], [], [])
    return Graph(np.frombuffer(_INPUT + whole.names + _OUTPUT, np.int64), _arcs(whole.shape))


@lru_cache(maxsize=10_000)
def _arcs(shape: Shape) -> np.ndarray:
    output = shape.size + 1
    ends = [node + 1 for node in shape.entries]
    ends += [(node + 1) * ARC + output for node in shape.exits]
    if shape.through:
        ends.append(output)
    return np.array(np.divmod(np.concatenate([shape.arcs + (ARC + 1), ends], dtype=np.int64), ARC))


@cache
def _leaf(label: str) -> Fragment | None:
    if label == ZERO:
        return None
    return _BYPASS if label == ID else Fragment(_NODE, _name(label))


def _fragments(grammar: Grammar, child: Child, folds: int) -> Sequence[Fragment | None]:
    """Build a child's fragments at folding levels 0 to `folds` - 1, as far as they differ, and last the full one.

    None is a `zero`.
    """
    if type(child) is str:
        return (_leaf(child),)
    if not child.children:
        return (_leaf(child.head),)
    n = min(folds, child.height - 1) + 1
    memo, key = child.memo, (grammar, "fragments")
    found = memo.get(key)
    if found is None or len(found) < n:
        columns = [_column(grammar, c, n) for c in child.children]
        topology = grammar.topologies[child.head]
        tails: tuple[str, ...] = ()
        if len(columns) != len(topology.edges) or topology.chooses_tails:
            tails, columns = _per_edge(topology, child.children, columns)
        found = memo[key] = [_compose(topology, tails, *parts) for parts in zip(*columns, strict=True)]
    return found if len(found) == n else [*found[: n - 1], found[-1]]


def _column(grammar: Grammar, child: Child, n: int) -> list[Fragment | None]:
    """Build a child's fragments at its parent's `n` levels: folded to one node at the first, unless it is the last."""
    below = _fragments(grammar, child, max(0, n - 2))
    if n > 1 and type(child) is Term and child.children:
        below = (_leaf(f"{child.symbol} {child.head}"), *below)
    return [*below, *[below[-1]] * (n - len(below))]


@lru_cache(maxsize=50_000)
def _compose(topology: Topology, tails: tuple[str, ...], *parts: Fragment | None) -> Fragment:
    """Join the fragments of a topology's edges."""
    shape = _joined(topology, tails, *[part and part.shape for part in parts])
    return Fragment(shape, b"".join([parts[i].names for i in shape.live]))  # type: ignore[union-attr]


@lru_cache(maxsize=50_000)
def _joined(topology: Topology, tails: tuple[str, ...], *parts: Shape | None) -> Shape:
    absent = through = 0
    for i, part in enumerate(parts):
        if part is None:
            absent |= 1 << i
        elif part.through:
            through |= 1 << i
    wiring = topology.wiring(absent, through, tails)
    live = {i: part for i in wiring.live if (part := parts[i])}
    size, first, arcs = 0, {}, []
    for i, part in live.items():
        first[i] = size
        if part.arcs.size:
            arcs.append(part.arcs + size * (ARC + 1))
        size += part.size
    joints = [
        (first[i] + tail) * ARC + first[j] + head
        for i, j in wiring.follows
        for tail in live[i].exits
        for head in live[j].entries
    ]
    if joints:
        arcs.append(np.array(joints))
    return Shape(
        size,
        np.concatenate(arcs) if len(arcs) > 1 else arcs[0] if arcs else _NO_ARCS,
        [first[i] + node for i in wiring.entries for node in live[i].entries],
        [first[i] + node for i in wiring.exits for node in live[i].exits],
        wiring.through,
        wiring.live,
    )


def _per_edge(
    topology: Topology, children: tuple[Child, ...], columns: list[list[Fragment | None]]
) -> tuple[tuple[str, ...], list[list[Fragment | None]]]:
    """Split children into chosen tails, in the order of their edges, and a column of fragments per edge.

    For topologies whose children do not correspond one to one to their edges.
    """
    tails: list[str] = []
    filled = [[None if edge.label is None else _leaf(edge.label)] * len(columns[0]) for edge in topology.edges]
    for slot, child, column in zip(topology.slots, children, columns, strict=True):
        if slot.is_tail:
            tails.append(child if isinstance(child, str) else child.head)
        else:
            filled[slot.edge] = column
    return tuple(tails), filled
