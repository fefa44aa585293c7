"""Terms as graphs, at every folding level.

Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), section 4: nodes are operations (every filled edge of a topology is a
node, labelled with what fills it) between one `input` and one `output`. `zero` edges are left out with all that no path
from input to output meets any more; `id` edges are bypassed.

Folding level l shows the term cut at depth l: a nonterminal below it is one node, labelled with the nonterminal and its
topology ("CELL Cell"). Level 0 is the root topology's graph; a level beyond the term's depth is the full graph.
"""

from dataclasses import dataclass
from functools import cache
from itertools import chain
from weakref import WeakKeyDictionary, WeakValueDictionary

from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term
from jahslib.spaces.grammars.topology import ID, ZERO, Child, Topology

INPUT, OUTPUT = "input", "output"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Graph:
    """A directed graph: node labels (first the input, last the output) and arcs tails -> heads.

    Terms that look alike at a folding level share one object there.
    """

    labels: list[str]
    tails: list[int]
    heads: list[int]

    @property
    def n_nodes(self) -> int:
        """Number of nodes, input and output included."""
        return len(self.labels)

    @property
    def n_edges(self) -> int:
        return len(self.tails)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Fragment:
    """The subgraph that fills an edge, before its surroundings are known.

    Nodes, arcs among them, the nodes that follow the edge's tail (`entries`) and that precede its head (`exits`), and
    whether the two ends are connected without a node between them (`through`).
    """

    labels: list[str]
    tails: list[int]
    heads: list[int]
    entries: list[int]
    exits: list[int]
    through: bool = False


_BYPASS = Fragment([], [], [], [], [], through=True)

# Fragments by their topology and parts, graphs by their fragment, for as long as some term uses them. A mutation deep
# in a term changes none of its shallow levels, which are found here.
_composed: WeakValueDictionary[tuple, Fragment] = WeakValueDictionary()
_closed: WeakKeyDictionary[Fragment, Graph] = WeakKeyDictionary()


def graph(grammar: Grammar, term: Term, level: int | None = None) -> Graph:
    """Build the graph at a folding level; None is the full graph.

    Raises:
        UserError: the term is not one of this grammar.
    """
    grammar.check(term)
    whole = _fragment(grammar, term, level)
    if whole is None:  # a lone `zero`
        return Graph([INPUT, OUTPUT], [], [])
    found = _closed.get(whole)
    if found is None:
        found = _closed[whole] = _close(whole)
    return found


def _close(whole: Fragment) -> Graph:
    """Add input and output nodes to a fragment."""
    output = len(whole.labels) + 1
    through = [0] if whole.through else []
    return Graph(
        [INPUT, *whole.labels, OUTPUT],
        [0] * len(whole.entries) + [tail + 1 for tail in whole.tails] + [i + 1 for i in whole.exits] + through,
        [i + 1 for i in whole.entries]
        + [head + 1 for head in whole.heads]
        + [output] * (len(whole.exits) + len(through)),
    )


@cache
def _leaf(label: str) -> Fragment | None:
    if label == ZERO:
        return None
    return _BYPASS if label == ID else Fragment([label], [], [], [0], [0])


def _fragment(grammar: Grammar, child: Child, level: int | None) -> Fragment | None:
    """Build a child's fragment with everything deeper than `level` folded; None for `zero`."""
    if isinstance(child, str):
        return _leaf(child)
    if not child.children:
        return _leaf(child.head)
    if level is not None:
        if level < 0:
            return _leaf(f"{child.symbol} {child.head}")
        if level >= child.height - 1:
            level = None
    key = (grammar, "fragment", level)
    memo = child.memo
    if key not in memo:
        below = None if level is None else level - 1
        topology = grammar.topologies[child.head]
        parts = [_fragment(grammar, c, below) for c in child.children]
        tails: tuple[str, ...] = ()
        if len(parts) != len(topology.edges) or topology.chooses_tails:
            tails, parts = _per_edge(topology, child.children, parts)
        signature = (topology, tails, *parts)
        found = _composed.get(signature)
        if found is None:
            found = _composed[signature] = _compose(topology, tails, parts)
        memo[key] = found
    return memo[key]


def _compose(topology: Topology, tails: tuple[str, ...], parts: list[Fragment | None]) -> Fragment:
    """Join the fragments of a topology's edges."""
    absent = through = 0
    for i, part in enumerate(parts):
        if part is None:
            absent |= 1 << i
        elif part.through:
            through |= 1 << i
    wiring = topology.wiring(absent, through, tails)
    labels: list[str] = []
    arc_tails: list[int] = []
    arc_heads: list[int] = []
    entries: dict[int, list[int]] = {}
    exits: dict[int, list[int]] = {}
    for i in wiring.live:
        part = parts[i]
        assert part is not None
        offset = len(labels)
        labels += part.labels
        arc_tails += [tail + offset for tail in part.tails]
        arc_heads += [head + offset for head in part.heads]
        entries[i] = [node + offset for node in part.entries]
        exits[i] = [node + offset for node in part.exits]
    for i, j in wiring.follows:
        for node in exits[i]:
            arc_tails += [node] * len(entries[j])
            arc_heads += entries[j]
    return Fragment(
        labels,
        arc_tails,
        arc_heads,
        list(chain.from_iterable(entries[i] for i in wiring.entries)),
        list(chain.from_iterable(exits[i] for i in wiring.exits)),
        wiring.through,
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
