"""Variation operators on terms of a grammar: mutation, crossover and self-crossover.

Schrodi et al., NeurIPS 2023 (arXiv 2211.01842). A departure: their crossover never picks the first eligible node of a
term; ours reaches every one.
"""

import numpy as np

from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Path, Term
from jahslib.spaces.grammars.topology import NO_BAN

PATIENCE = 50


def mutate(grammar: Grammar, term: Term, rng: np.random.Generator, rate: float = 1.0) -> Term | None:
    """Resample swappable nodes (nonterminals with a choice), each with probability `rate`/n.

    The nodes are walked from the root, left to right; n is their number, counted again after each change, and the walk
    continues within what was drawn. None when 50 walks changed nothing, as always in a grammar without choices.

    Raises:
        UserError: the term is not one of this grammar.
    """
    grammar.check(term)
    for _ in range(PATIENCE):
        child, position = term, 0
        while (total := _total(grammar, child)) > 0:
            probability = min(1.0, rate / total)
            # The number of nodes skipped before the next one that is resampled.
            position += int(rng.geometric(probability)) - 1 if probability < 1 else 0
            if position >= total:
                break
            child = _redraw(grammar, child, _locate(grammar, child, position), rng)
            position += 1
        if child != term:
            return child
    return None


def _redraw(grammar: Grammar, term: Term, path: Path, rng: np.random.Generator) -> Term:
    """Draw another subterm of the same nonterminal at `path`; the term itself if none is found."""
    old = term.at(path)
    bindings = _bindings(grammar, term)
    bindings.pop(old.symbol, None)
    for _ in range(PATIENCE):
        new = grammar.sample_symbol(
            old.symbol, grammar.max_depth - len(path), _banned(grammar, term, path), rng, dict(bindings)
        )
        if new != old:
            return _put(grammar, term, path, new)
    return term


def crossover(grammar: Grammar, a: Term, b: Term, rng: np.random.Generator) -> tuple[Term, Term] | None:
    """Swap a random node of `a` with a random node of `b` of the same nonterminal.

    Every swappable node of `a` but its root (which would swap the parents themselves) is equally likely. Of a term with
    itself this is self-crossover: two unequal subterms are copied onto one another.

    Rejected are equal subterms, and swaps that cut the last path or exceed the depth limit in either child; None after
    50 rejected attempts.

    Raises:
        UserError: a parent is not a term of this grammar.
    """
    grammar.check(a)
    grammar.check(b)
    eligible = _total(grammar, a)
    first = 1 if a.symbol in grammar.swappable else 0
    for _ in range(PATIENCE if eligible > first else 0):
        at_a = _locate(grammar, a, int(rng.integers(first, eligible)))
        symbol = a.at(at_a).symbol
        partners = _total(grammar, b, symbol)
        if partners:
            at_b = _locate(grammar, b, int(rng.integers(partners)), symbol)
            child_a = _graft(grammar, a, at_a, b.at(at_b))
            child_b = child_a and _graft(grammar, b, at_b, a.at(at_a))
            if child_a and child_b:
                return child_a, child_b
    return None


def _graft(grammar: Grammar, term: Term, path: Path, new: Term) -> Term | None:
    """Replace the subterm at `path` by `new`; None where that gives no other valid term."""
    banned = _banned(grammar, term, path)
    if new == term.at(path) or new.head in banned or new.height > grammar.max_depth - len(path):
        return None
    bindings = _bindings(grammar, term)
    bindings.pop(new.symbol, None)
    for symbol in grammar.shared:  # the term's own bindings replace the graft's; outermost first
        if symbol in bindings:
            new = new.replace_all(symbol, bindings[symbol])
    child = _put(grammar, term, path, new)
    return child if child != term else None


def _banned(grammar: Grammar, term: Term, path: Path) -> frozenset[str]:
    if not path:
        return NO_BAN
    parent = term.at(path[:-1])
    return grammar.topologies[parent.head].banned(path[-1], parent.children)


def _put(grammar: Grammar, term: Term, path: Path, new: Term) -> Term:
    """Replace a subterm; in a shared nonterminal's term, replace it in every occurrence."""
    for depth in range(len(path), -1, -1) if grammar.shared else ():
        around = term.at(path[:depth])
        if around.symbol in grammar.shared:
            return term.replace_all(around.symbol, around.replace(path[depth:], new))
    return term.replace(path, new)


def _bindings(grammar: Grammar, term: Term) -> dict[str, Term]:
    return {symbol: term.at(path) for symbol, path in grammar.shared_places(term).items()}


# The swappable nodes ---------------------------------------------------------------------------------------------
#
# They are numbered: those outside shared nonterminals from the root, left to right, then those within the term of each
# shared nonterminal, which counts once. `symbol` restricts them to one nonterminal. Counts are cached with the terms,
# so that finding a node costs only its depth.


def _total(grammar: Grammar, term: Term, symbol: str | None = None) -> int:
    return sum(_count(grammar, term.at(path), symbol) for path in _parts(grammar, term))


def _parts(grammar: Grammar, term: Term) -> list[Path]:
    return [(), *(path for path in grammar.shared_places(term).values() if path)]


def _locate(grammar: Grammar, term: Term, number: int, symbol: str | None = None) -> Path:
    for start in _parts(grammar, term):
        part = term.at(start)
        inside = _count(grammar, part, symbol)
        if number < inside:
            return start + _descend(grammar, part, number, symbol)
        number -= inside
    raise IndexError(number)


def _descend(grammar: Grammar, part: Term, number: int, symbol: str | None) -> Path:
    path: list[int] = []
    while True:
        if _counts(grammar, part, symbol):
            if number == 0:
                return tuple(path)
            number -= 1
        for i, child in enumerate(part.children):
            if isinstance(child, Term) and child.symbol not in grammar.shared:
                inside = _count(grammar, child, symbol)
                if number < inside:
                    path.append(i)
                    part = child
                    break
                number -= inside


def _count(grammar: Grammar, part: Term, symbol: str | None) -> int:
    """Count the swappable nodes of a part, excluding those within shared nonterminals below it."""
    key = (grammar, symbol)
    known = part.memo.get(key)
    if known is None:
        known = part.memo[key] = _counts(grammar, part, symbol) + sum(
            _count(grammar, child, symbol)
            for child in part.children
            if isinstance(child, Term) and child.symbol not in grammar.shared
        )
    return known


def _counts(grammar: Grammar, term: Term, symbol: str | None) -> bool:
    return term.symbol in grammar.swappable if symbol is None else term.symbol == symbol
