"""Exact sizes of grammars, and enumeration of small ones.

Terms are counted as they are sampled: only those with a path from source to sink in every topology, within the depth
limit, and with equal subterms for a shared nonterminal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from jahslib.errors import UserError
from jahslib.spaces.grammars.productions import Production, Rules
from jahslib.spaces.grammars.terms import Term
from jahslib.spaces.grammars.topology import BAN_ZERO, NO_BAN, ZERO, Child

# Number of skeletons (terms with shared nonterminals left open) by the set of shared nonterminals that they use.
Skeletons = Mapping[frozenset[str], int]
ONE: Skeletons = {frozenset(): 1}

MANY = 10**1000  # sizes beyond it are not given in messages


def count(grammar: Rules, *, distinct: bool, cap: int | None = None) -> int:
    """Count the grammar's terms, up to `cap`; unless `distinct`, a production listed twice counts twice."""
    counter = _Counter(grammar, distinct, cap)
    for depth in range(grammar.max_depth):  # bottom up, to stay within the recursion limit
        for symbol in grammar.productions:
            counter.inside(symbol, depth)
            counter.inside(symbol, depth, BAN_ZERO)
    skeletons = counter.inside(grammar.start, grammar.max_depth)
    for symbol in grammar.shared:  # containing nonterminals first
        own = counter.inside(symbol, grammar.max_depth)
        filled: Counter[frozenset[str]] = Counter()
        for open_symbols, number in skeletons.items():
            if symbol in open_symbols:
                filled.update(_product({open_symbols - {symbol}: number}, own))
            else:
                filled[open_symbols] += number
        skeletons = filled
    size = sum(skeletons.values())
    return size if cap is None else min(size, cap)


class _Counter:
    def __init__(self, grammar: Rules, distinct: bool, cap: int | None):
        self.grammar, self.distinct, self.cap = grammar, distinct, cap
        self.known: dict[tuple[str, int, frozenset[str]], Skeletons] = {}

    def inside(self, symbol: str, depth: int, banned: frozenset[str] = NO_BAN) -> Skeletons:
        key = (symbol, depth, banned)
        if key not in self.known:
            total: Counter[frozenset[str]] = Counter()
            for production in self._listed(symbol, depth, banned):
                total.update(self._fillings(production, depth, 0, self.grammar.outline(production, depth)))
            # Sums and products are monotone, so that counts clipped to the cap stay exact below it.
            self.known[key] = total if self.cap is None else {s: min(n, self.cap) for s, n in total.items()}
        return self.known[key]

    def _listed(self, symbol: str, depth: int, banned: frozenset[str]) -> Iterable[Production]:
        options = self.grammar.options(symbol, depth, banned)
        return distinct(options) if self.distinct else options

    def _fillings(self, production: Production, depth: int, k: int, children: list[Child | None]) -> Skeletons:
        """Count the skeletons of a production, given its open children before the `k`-th.

        Of those only what matters to the others is known: whether they are zero, or which tail they name.
        """
        if k == len(production.open):
            return ONE
        topology, (i, name) = production.topology, production.open[k]
        assert topology is not None

        def rest(child: Child | None) -> Skeletons:
            return self._fillings(production, depth, k + 1, _put(children, i, child))

        total: Counter[frozenset[str]] = Counter()
        options = self._listed(name, depth - 1, topology.banned(i, children))
        if topology.slots[i].is_tail:
            for option in options:
                total.update(rest(option.head))
            return total
        shared = name in self.grammar.shared  # which is left open
        if others := {frozenset({name}): 1} if shared else self.inside(name, depth - 1, BAN_ZERO):
            total.update(_product(others, rest(None)))
        if zeros := sum(p.head == ZERO for p in options):
            total.update({symbols: zeros * number for symbols, number in rest(ZERO).items()})
        return total


def distinct(productions: Iterable[Production]) -> Collection[Production]:
    """Leave out productions that are listed before."""
    return {str(p): p for p in productions}.values()


def _product(a: Skeletons, b: Skeletons) -> Skeletons:
    total: Counter[frozenset[str]] = Counter()
    for symbols, number in a.items():
        for more, factor in b.items():
            total[symbols | more] += number * factor
    return total


def _put(children: list[Child | None], i: int, child: Child | None) -> list[Child | None]:
    return [*children[:i], child, *children[i + 1 :]]


def enumerate_terms(grammar: Rules, limit: int) -> Iterator[Term]:
    """Enumerate all distinct terms, in the order of the productions. Raises `UserError` beyond `limit`."""
    size = count(grammar, distinct=True, cap=max(limit + 1, MANY))
    if size > limit:
        about = f"{size}" if size < 10**9 else f"about 10^{math.log10(size):.1f}" if size < MANY else "over 10^1000"
        raise UserError(f"grammar: it has {about} terms, more than limit={limit}; raise the limit or sample")
    return (term for term, _ in _terms(grammar, grammar.start, grammar.max_depth, NO_BAN, {}))


Bindings = dict[str, Term]  # the terms of shared nonterminals


def _terms(
    grammar: Rules, symbol: str, depth: int, banned: frozenset[str], bindings: Bindings
) -> Iterator[tuple[Term, Bindings]]:
    """Yield subterms, each with the bindings after it."""

    def filled(
        production: Production, k: int, children: list[Child | None], bindings: Bindings
    ) -> Iterator[tuple[list[Child | None], Bindings]]:
        if k == len(production.open):
            yield children, bindings
            return
        assert production.topology is not None
        i, name = production.open[k]
        for child, after in _terms(grammar, name, depth - 1, production.topology.banned(i, children), bindings):
            yield from filled(production, k + 1, _put(children, i, child), after)

    if symbol in bindings:
        yield bindings[symbol], bindings
        return
    for production in distinct(grammar.options(symbol, depth, banned)):
        for children, after in filled(production, 0, grammar.outline(production, depth), bindings):
            term = Term(symbol, production.head, tuple(children))  # type: ignore[arg-type]
            yield term, {**after, symbol: term} if symbol in grammar.shared else after
