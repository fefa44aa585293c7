"""Productions of a grammar, built from its notation, with its names checked.

`Rules` adds the look-ahead: which productions can be completed within a depth.
"""

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, NoReturn

from jahslib.errors import Bounds, bounded
from jahslib.spaces.grammars import notation
from jahslib.spaces.grammars.notation import Alternative, Definition, Word
from jahslib.spaces.grammars.terms import DEEPEST, Term
from jahslib.spaces.grammars.topology import BAN_ZERO, NO_BAN, ZERO, Child, Topology

Depth = Annotated[int, Bounds(0, DEEPEST)]


@dataclass(frozen=True)
class Production:
    """A production of `symbol`: to a terminal (`topology` None) or to a topology with children.

    `leaf` is a terminal's term. `children` are names; `open` are those of nonterminals, with their positions.
    """

    symbol: str
    head: str
    topology: Topology | None = None
    children: tuple[str, ...] = ()
    open: tuple[tuple[int, str], ...] = ()
    leaf: Term | None = None

    @property
    def form(self) -> str:
        """Right-hand side in the notation, with capitalised terminals in quotes."""
        names = [_quoted(name) for name in self.children]
        for i, name in self.open:
            names[i] = name
        return f"{self.head}({', '.join(names)})" if self.topology else _quoted(self.head)

    def __str__(self) -> str:
        return f"{self.symbol} -> {self.form}"


class Rules:
    """The productions of every nonterminal, and which of them can be completed.

    Args:
        productions: of each nonterminal; the first is the start symbol.
        shared: nonterminals whose occurrences are equal, those that contain others first.
        max_depth: the deepest nesting of topologies in a term.
    """

    def __init__(self, productions: dict[str, tuple[Production, ...]], shared: tuple[str, ...], max_depth: int):
        self.productions, self.shared, self.max_depth = productions, shared, max_depth
        self.start = next(iter(productions))
        self._options: dict[tuple[str, int, frozenset[str]], tuple[Production, ...]] = {}

    def options(self, symbol: str, depth: int, banned: frozenset[str] = NO_BAN) -> tuple[Production, ...]:
        """List the productions of `symbol` that can be completed within `depth` topologies, without `banned`."""
        key = (symbol, depth, banned)
        known = self._options.get(key)
        if known is None:
            known = self._options[key] = tuple(
                p
                for p in self.productions[symbol]
                if (p.head not in banned if p.topology is None else depth > 0 and self.completable(p, depth))
            )
        return known

    def completable(self, production: Production, depth: int) -> bool:
        """Tell whether a production with a topology has a term with `depth` nested topologies."""
        topology: Topology = production.topology  # type: ignore[assignment]
        filled = self.outline(production, depth)
        if not topology.connected(sum(1 << topology.slots[i].edge for i, c in enumerate(filled) if c == ZERO)):
            return False
        return all(self.options(name, depth - 1, topology.banned(i, filled)) for i, name in production.open)

    def outline(self, production: Production, depth: int) -> list[Child | None]:
        """List a production's children that are fixed before any is drawn, and None for the rest.

        Fixed are its own terminals, and `zero` for those that can be nothing else within `depth`.
        """
        children: list[Child | None] = [*production.children]
        for i, name in production.open:
            children[i] = None if self.options(name, depth - 1, BAN_ZERO) else ZERO
        return children


def production(definition: Definition, symbol: str, alternative: Alternative) -> Production:
    """Build the production of `symbol` from an alternative. Raises `UserError` with line and column."""
    head = alternative.head
    if not alternative.children:
        return Production(symbol, head.text, leaf=Term(symbol, head.text))
    topology = definition.topologies.get(head.text)
    if topology is None:
        notation.fail(head.place, f"topology {head.text} is not declared; declare its edges: {head.text}: 1-2 2-3 ...")
    children = alternative.children
    if len(children) != len(topology.slots):
        notation.fail(
            head.place,
            f"{head.text} has {len(topology.edges)} edges and takes {len(topology.slots)} children, "
            f"but {len(children)} are given",
        )
    for child, slot in zip(children, topology.slots, strict=True):
        if child.kind == "symbol" and child.text not in definition.productions:
            notation.fail(
                child.place,
                f"nonterminal {child.text} is not defined; define it with '{child.text} -> ...' "
                "(a terminal begins with a small letter or stands in quotes)",
            )
        if slot.is_tail:
            _check_tail(definition, topology, child, slot.edge)
    nonterminals = tuple((i, child.text) for i, child in enumerate(children) if child.kind == "symbol")
    return Production(symbol, head.text, topology, tuple(child.text for child in children), nonterminals)


def _check_tail(definition: Definition, topology: Topology, child: Word, edge: int) -> None:
    """Check that a chosen tail is a node, closes no cycle, and leaves tails for the other edges."""
    if child.text in {word.text for word in definition.shared}:
        notation.fail(child.place, f"{child.text} cannot be shared: two edges into one node need different tails")
    possible, head = topology.may_begin(edge), topology.edges[edge].head
    named = [child] if child.kind == "terminal" else [a.head for a in definition.productions[child.text]]
    for name in named:
        if name.kind != "terminal" or name.text not in possible:
            notation.fail(
                name.place,
                f"{name.text} cannot be where an edge of {topology.name} into {head} begins; "
                f"nodes that can: {', '.join(sorted(possible))}",
            )
    rivals = sum(e.head == head and e.tail is None for e in topology.edges)
    if len({name.text for name in named}) < rivals:
        notation.fail(child.place, f"{child.text} names fewer nodes than the {rivals} edges into {head} need")


def shared(definition: Definition, productions: dict[str, tuple[Production, ...]]) -> tuple[str, ...]:
    """List the shared nonterminals, those that contain others first."""
    for word in definition.shared:
        if word.text not in productions:
            notation.fail(word.place, f"shared nonterminal {word.text} is not defined")
        if any(p.head == ZERO for p in productions[word.text]):
            notation.fail(word.place, f"{word.text} cannot be shared: zero fits in some of its places only")
    names = list(dict.fromkeys(word.text for word in definition.shared))
    below = {name: _below(productions, name) for name in names}
    return tuple(sorted(names, key=lambda name: -sum(other in below[name] for other in names)))


def _below(productions: dict[str, tuple[Production, ...]], symbol: str) -> set[str]:
    """Collect the nonterminals that a term of `symbol` may contain."""
    found: set[str] = set()
    fresh = {symbol}
    while fresh:
        fresh = {name for above in fresh for p in productions[above] for _, name in p.open} - found
        found |= fresh
    return found


def depth_limit(
    definition: Definition, productions: dict[str, tuple[Production, ...]], start: str, max_depth: int | None
) -> int:
    """Validate the depth limit; by default compute the height of the highest term, which a recursion lacks."""
    if max_depth is not None:
        return bounded("grammar: max_depth", max_depth, Depth)
    below = {symbol: [name for p in ps for _, name in p.open] for symbol, ps in productions.items()}
    try:
        order = list(TopologicalSorter(below).static_order())
    except CycleError:
        _fail_on_recursion(definition, productions)
    heights: dict[str, int] = {}
    for symbol in order:
        heights[symbol] = max(
            1 + max((heights[name] for _, name in p.open), default=0) if p.topology else 0 for p in productions[symbol]
        )
    return bounded("grammar: max_depth (the nesting of its highest term)", heights[start], Depth)


def _fail_on_recursion(definition: Definition, productions: dict[str, tuple[Production, ...]]) -> NoReturn:
    symbol = next(symbol for symbol in productions if symbol in _below(productions, symbol))
    for alternative, production in zip(definition.productions[symbol], productions[symbol], strict=True):
        for i, child in enumerate(alternative.children):
            if child.kind == "symbol" and (child.text == symbol or symbol in _below(productions, child.text)):
                side = "left-recursive" if i == 0 else "recursive"
                notation.fail(child.place, f"{symbol} is {side} ({production}) without a depth limit; give max_depth")
    raise AssertionError("no recursion")


def _quoted(terminal: str) -> str:
    return f'"{terminal}"' if terminal[0].isupper() else terminal
