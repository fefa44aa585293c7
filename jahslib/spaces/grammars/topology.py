"""Topologies: directed acyclic graphs with one source and one sink, whose edges are filled.

An edge is filled by a terminal, by a nested topology (nesting keeps source and sink), or by one of two special
terminals: `zero`, the edge is absent, and `id`, its two ends are identified.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from jahslib.spaces.grammars.terms import Term

ZERO, ID = "zero", "id"
NO_BAN: frozenset[str] = frozenset()
BAN_ZERO = frozenset({ZERO})

Child = Term | str


@dataclass(frozen=True)
class Edge:
    """An edge; `tail` is None where a child names it, `label` a terminal that the topology fixes: it takes no child."""

    tail: str | None
    head: str
    label: str | None = None


@dataclass(frozen=True)
class Slot:
    """One child of a topology: the operation on an edge, or the tail of an edge."""

    edge: int
    is_tail: bool = False


@dataclass(frozen=True)
class Wiring:
    """The order of the edges' contents once `zero` and dead edges are gone and `id` is bypassed.

    `live`: edges on a path from source to sink. `entries`, `exits`: edges whose contents begin at the source and end at
    the sink. `follows`: pairs of edges; what ends the first is followed by what begins the second. `through`: source
    and sink are connected by `id` edges alone.
    """

    live: tuple[int, ...]
    entries: tuple[int, ...]
    exits: tuple[int, ...]
    follows: tuple[tuple[int, int], ...]
    through: bool


class Topology:
    """A topology, with cached tables of what follows from it.

    Raises:
        ValueError: the edges do not form such a graph; one line, to which the grammar adds the place.
    """

    def __init__(self, name: str, edges: Sequence[Edge]):
        self.name = name
        self.edges = tuple(edges)
        self.slots = tuple(
            slot
            for i, edge in enumerate(self.edges)
            if edge.label is None
            for slot in ([Slot(i), Slot(i, True)] if edge.tail is None else [Slot(i)])
        )
        self.chooses_tails = any(slot.is_tail for slot in self.slots)
        self._bits = tuple(1 << slot.edge for slot in self.slots)
        self.source, self.sink = self._ends()
        self._connected: dict[int, bool] = {}
        self._wirings: dict[tuple, Wiring] = {}

    def __repr__(self) -> str:
        return f"Topology({self.name})"

    def _ends(self) -> tuple[str, str]:
        """Find the one source and the one sink, which where tails are chosen is the head of the last edge."""
        fixed = [(e.tail, e.head) for e in self.edges if e.tail is not None]
        heads, tails = {e.head for e in self.edges}, {tail for tail, _ in fixed}
        last = {self.edges[-1].head} if self.edges else set()
        sources, sinks = tails - heads, (last if self.chooses_tails else heads) - tails
        for what, nodes in (("source", sources), ("sink", sinks)):
            if len(nodes) != 1:
                found = "none" if not nodes else ", ".join(sorted(nodes))
                raise ValueError(f"topology {self.name} needs exactly one {what}, found {found}")
        if not self.slots:
            raise ValueError(f"topology {self.name} has no edge to fill")
        try:
            TopologicalSorter({n: [t for t, h in fixed if h == n] for n in sorted(heads)}).prepare()
        except CycleError as error:
            raise ValueError(
                f"topology {self.name} has a cycle through {', '.join(sorted({*error.args[1]}))}"
            ) from None
        if self.chooses_tails:
            order = list(dict.fromkeys(e.head for e in self.edges))
            late = [(t, h) for t, h in fixed if t in order and order.index(t) > order.index(h)]
            if late:
                raise ValueError(f"topology {self.name}: edges into {late[0][0]} must come before {'-'.join(late[0])}")
        return sources.pop(), sinks.pop()

    def may_begin(self, edge: int) -> set[str]:
        """Return the nodes at which an edge with a chosen tail may begin: those mentioned before its head.

        No choice of tails then closes a cycle.
        """
        order = list(dict.fromkeys([self.source, *(e.head for e in self.edges)]))
        return set(order[: order.index(self.edges[edge].head)])

    # Which children are admissible --------------------------------------------------------------------------------

    def connected(self, absent: int) -> bool:
        """Tell whether a path leads from source to sink without the edges of bit mask `absent`."""
        known = self._connected.get(absent)
        if known is None:
            arcs = [(e.tail, e.head) for i, e in enumerate(self.edges) if not absent >> i & 1]
            known = self._connected[absent] = self.chooses_tails or self.sink in _reachable({self.source}, arcs)
        return known

    def banned(self, slot: int, children: Sequence[Child | None]) -> frozenset[str]:
        """Return the terminals that may not fill this slot, given the other children.

        None stands for a child not yet known, which is taken to be an operation. `zero` is banned where it would leave
        no path from source to sink, and everywhere in a topology whose tails are chosen; a chosen tail is banned for a
        further edge into the same node.
        """
        if self.chooses_tails:
            return self._taken(slot, children) if self.slots[slot].is_tail else BAN_ZERO
        return NO_BAN if self.connected(self._absent(children) | self._bits[slot]) else BAN_ZERO

    def _absent(self, children: Sequence[Child | None]) -> int:
        absent = 0
        for bit, child in zip(self._bits, children, strict=True):
            if child is not None and (child if type(child) is str else child.head) == ZERO:
                absent |= bit
        return absent

    def _taken(self, slot: int, children: Sequence[Child | None]) -> frozenset[str]:
        head = self.edges[self.slots[slot].edge].head
        return frozenset(
            _terminal(child)
            for i, (child, at) in enumerate(zip(children, self.slots, strict=True))
            if i != slot and child is not None and at.is_tail and self.edges[at.edge].head == head
        )

    def admits(self, children: Sequence[Child]) -> bool:
        """Tell whether these children leave a path from source to sink and enter no node twice from the same tail."""
        if not self.chooses_tails:  # equivalent to `banned` for every `zero` child, in one test
            return self.connected(self._absent(children))
        return all(_terminal(c) not in self.banned(i, children) for i, c in enumerate(children) if is_leaf(c))

    # From children to a graph --------------------------------------------------------------------------------------

    def wiring(self, absent: int, through: int, tails: tuple[str, ...] = ()) -> Wiring:
        """Compute the wiring without the edges of mask `absent`.

        The edges of mask `through` can be passed without meeting an operation; `tails` are the chosen ones, in order.
        """
        key = (absent, through, tails)
        known = self._wirings.get(key)
        if known is None:
            chosen = iter(tails)
            arcs = [(next(chosen) if e.tail is None else e.tail, e.head) for e in self.edges]
            known = self._wirings[key] = _wire(arcs, self.source, self.sink, absent, through)
        return known


def _wire(arcs: list[tuple[str, str]], source: str, sink: str, absent: int, through: int) -> Wiring:
    present = [i for i in range(len(arcs)) if not absent >> i & 1]
    forward = _reachable({source}, [arcs[i] for i in present])
    backward = _reachable({sink}, [arcs[i][::-1] for i in present])
    live = tuple(i for i in present if arcs[i][0] in forward and arcs[i][1] in backward)
    bypasses = [arcs[i] for i in live if through >> i & 1]
    same = {node: _reachable({node}, bypasses) for node in forward}
    return Wiring(
        live=live,
        entries=tuple(j for j in live if arcs[j][0] in same[source]),
        exits=tuple(i for i in live if sink in same[arcs[i][1]]),
        follows=tuple((i, j) for i in live for j in live if arcs[j][0] in same[arcs[i][1]]),
        through=sink in same[source],
    )


def _reachable(start: set[str], arcs: Sequence[tuple[str | None, str]]) -> set[str]:
    reached = set(start)
    for _ in arcs:
        reached |= {head for tail, head in arcs if tail in reached}
    return reached


def is_leaf(child: Child) -> bool:
    """Tell whether a child is a terminal, as a string or as a term."""
    return isinstance(child, str) or not child.children


def is_zero(child: Child) -> bool:
    """Tell whether a child leaves its edge out."""
    return _terminal(child) == ZERO


def _terminal(child: Child) -> str:
    return child if isinstance(child, str) else child.head
