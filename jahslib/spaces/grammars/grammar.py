"""Context-free grammars over architecture terms: definition, sampling and checking.

    grammar = Grammar('''
        Cell: 1-2 1-3 2-3 1-4 2-4 3-4
        CELL -> Cell(OPS, OPS, OPS, OPS, OPS, OPS)
        OPS -> id | zero | conv3x3 | conv1x1 | avg_pool
    ''')
    term = grammar.sample(np.random.default_rng(0))

`jahslib.spaces.grammars.notation` explains the notation. Method: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842).
"""

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from jahslib.errors import UserError
from jahslib.spaces.grammars import counting, notation, productions
from jahslib.spaces.grammars.notation import Definition
from jahslib.spaces.grammars.productions import Production, Rules
from jahslib.spaces.grammars.terms import DEEPEST, Expression, Path, Term, parse_algebraic
from jahslib.spaces.grammars.topology import NO_BAN

KEPT_HEIGHT, KEPT = 2, 20_000  # of terms that are one object each: the height, and the number, at most


class Grammar(Rules):
    """A grammar with sampling, parsing, checking and counting of its terms.

    Args:
        text: the definition, see `jahslib.spaces.grammars.notation`.
        max_depth: the deepest nesting of topologies in a term (`Term.height`); required for a recursive grammar.

    Raises:
        UserError: the text is malformed, a nonterminal or topology is undefined, an alternative has not the number of
            children that its topology has edges, a recursion has no depth limit, or an alternative has no
            architecture; with line and column.
    """

    def __init__(self, text: str, max_depth: int | None = None):
        definition = notation.read(text)
        self.text = text
        self.topologies = definition.topologies
        made = {
            symbol: tuple(productions.production(definition, symbol, alternative) for alternative in alternatives)
            for symbol, alternatives in definition.productions.items()
        }
        shared = productions.shared(definition, made)
        super().__init__(made, shared, productions.depth_limit(definition, made, next(iter(made)), max_depth))
        if self.shared and max_depth is not None:
            raise UserError("grammar: shared nonterminals cannot be combined with max_depth; leave one out")
        self._by_form = {_form(p): p for ps in self.productions.values() for p in ps}
        self._kept: dict[tuple, Term] = {}
        for depth in range(self.max_depth):  # bottom up, to stay within the recursion limit
            for symbol in self.productions:
                self.options(symbol, depth)
        self.swappable = frozenset(s for s, ps in self.productions.items() if len(counting.distinct(ps)) > 1)
        self._check_satisfiable(definition)

    def __repr__(self) -> str:
        return f"<Grammar of {self.start}: {len(self.productions)} nonterminals, max_depth {self.max_depth}>"

    # Sampling -----------------------------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Term:
        """Draw a term top-down, with equal probability for every production of a nonterminal.

        A production listed twice counts twice. Look-ahead leaves out `zero` where it would cut the last path from
        source to sink, and what cannot be completed within `max_depth`, so that no draw is ever rejected.
        """
        return self.sample_symbol(self.start, self.max_depth, NO_BAN, rng, {})

    def sample_symbol(
        self, symbol: str, depth: int, banned: frozenset[str], rng: np.random.Generator, bindings: dict[str, Term]
    ) -> Term:
        """Draw a subterm of at most `depth` topologies; `bindings`, of shared nonterminals, are used and added to."""
        return self._draw(symbol, depth, banned, _uniform(rng), bindings)

    def _draw(
        self, symbol: str, depth: int, banned: frozenset[str], draws: Iterator[float], bindings: dict[str, Term]
    ) -> Term:
        if symbol in bindings:
            return bindings[symbol]
        options = self.options(symbol, depth, banned)
        production = options[int(next(draws) * len(options)) if len(options) > 1 else 0]
        topology = production.topology
        if topology is None:
            term: Term = production.leaf  # type: ignore[assignment]
        else:
            children = self.outline(production, depth)
            for i, name in production.open:
                children[i] = self._draw(name, depth - 1, topology.banned(i, children), draws, bindings)
            term = self._made(symbol, production.head, tuple(children))
        if symbol in self.shared:
            bindings[symbol] = term
        return term

    def _made(self, symbol: str, head: str, children: tuple[Term | str, ...]) -> Term:
        """Build a term; small ones recur, and are one object each that keeps what was computed of it."""
        key = (symbol, head, children)
        found = self._kept.get(key)
        if found is None:
            found = Term(*key)
            if found.height <= KEPT_HEIGHT and len(self._kept) < KEPT:
                self._kept[key] = found
        return found

    # Reading and checking -----------------------------------------------------------------------------------------

    def parse(self, text: str) -> Term:
        """Parse a term from its LISP-like or its algebraic form, of whose derivations the grammar's first is taken.

        Raises:
            UserError: the text is malformed, or no term of this grammar.
        """
        if isinstance(text, str) and text.lstrip().startswith("("):
            return self.check(Term.parse(text))
        expression = parse_algebraic(text)
        term = self._derive(self.start, expression, {})
        if term is None:
            raise UserError(f"term: {_shorten(text)} is not derived by this grammar from {self.start}")
        return self.check(term)

    def _derive(self, symbol: str, expression: Expression, known: dict) -> Term | None:
        key = (symbol, id(expression))
        if key in known:
            return known[key]
        head, parts = expression
        for p in self.productions[symbol]:
            if p.head == head and len(p.children) == len(parts):
                children: list[Any] = [
                    c if part == (c, ()) else None for c, part in zip(p.children, parts, strict=True)
                ]
                for i, name in p.open:
                    children[i] = self._derive(name, parts[i], known)
                if None not in children:
                    return known.setdefault(key, Term(symbol, head, tuple(children)))
        return known.setdefault(key, None)

    def check(self, term: Term) -> Term:
        """Return the term. Raises `UserError` if it is not of this grammar: what in it is not, and what would be."""
        if term.symbol != self.start:
            raise UserError(f"term: it derives {term.symbol}, but this grammar starts at {self.start}")
        self._check_subterm(term)
        if term.height > self.max_depth:
            raise UserError(f"term: it nests {term.height} topologies, but max_depth is {self.max_depth}")
        self.shared_places(term)
        return term

    def shared_places(self, term: Term) -> dict[str, Path]:
        """Map each shared nonterminal to the path of its first occurrence. Raises `UserError` if others differ."""
        key = (self, "shared")
        if not self.shared:
            return {}
        if key not in term.memo:
            places: dict[str, Path] = {}
            self._note_shared(term, term, (), places)
            term.memo[key] = places
        return term.memo[key]

    def _note_shared(self, root: Term, term: Term, path: Path, places: dict[str, Path]) -> None:
        if term.symbol in self.shared:
            if term.symbol in places:
                first = root.at(places[term.symbol])
                if first != term:
                    raise UserError(
                        f"term: {term.symbol} is shared, but stands both for {_shorten(str(first))} and for "
                        f"{_shorten(str(term))}; make them equal"
                    )
                return
            places[term.symbol] = path
        for i, child in enumerate(term.children):
            if isinstance(child, Term):
                self._note_shared(root, child, (*path, i), places)

    def _check_subterm(self, term: Term) -> None:
        if self in term.memo:
            return
        form = tuple([(c,) if type(c) is str else c.symbol for c in term.children])
        production = self._by_form.get((term.symbol, term.head, form))
        if production is None:
            self._fail_on(term, tuple(c if isinstance(c, str) else c.symbol for c in term.children))
        for child in term.children:
            if type(child) is Term and self not in child.memo:
                self._check_subterm(child)
        if production.topology is not None and not production.topology.admits(term.children):
            reason = "enters a node twice from the same tail" if production.topology.chooses_tails else "has no path"
            raise UserError(f"term: {_shorten(str(term))} {reason}; choose other children")
        term.memo[self] = True

    def _fail_on(self, term: Term, children: tuple[str, ...]) -> NoReturn:
        if term.symbol not in self.productions:
            known = ", ".join(self.productions)
            raise UserError(
                f"term: {term.symbol} in {_shorten(str(term))} is no nonterminal of this grammar; has {known}"
            )
        form = f"{term.head}({', '.join(children)})" if children else term.head
        listed = " | ".join(dict.fromkeys(p.form for p in self.productions[term.symbol]))
        raise UserError(f"term: this grammar has no {term.symbol} -> {form}; it has {term.symbol} -> {listed}")

    def _check_satisfiable(self, definition: Definition) -> None:
        # A shallowest derivation meets a nonterminal at most twice on a branch: where zero is allowed and where not.
        enough = min(2 * len(self.productions) + 1, DEEPEST)
        if not self.options(self.start, self.max_depth):
            depth = next((d for d in range(enough + 1) if self.options(self.start, d)), None)
            mend = "no depth suffices" if depth is None else f"the shallowest term needs {depth}"
            raise UserError(f"grammar: {self.start} has no term within max_depth={self.max_depth}; {mend}")
        for symbol, alternatives in definition.productions.items():
            for production, alternative in zip(self.productions[symbol], alternatives, strict=True):
                if production.topology and not self.completable(production, enough):
                    notation.fail(alternative.head.place, f"{production} leaves no path from source to sink")

    # Size ---------------------------------------------------------------------------------------------------------

    def count(self, cap: int | None = None) -> int:
        """Count the distinct terms (those with a path from source to sink), exactly, up to `cap`.

        A production that nests its nonterminal twice doubles the digits with each level, which a cap cuts short.
        """
        return counting.count(self, distinct=True, cap=cap)

    def derivations(self) -> int:
        """Count the derivations: like `count`, but a production listed twice counts twice."""
        return counting.count(self, distinct=False)

    def enumerate(self, limit: int = 100_000) -> Iterator[Term]:
        """Enumerate all distinct terms. Raises `UserError` if there are more than `limit`."""
        return counting.enumerate_terms(self, limit)


def _form(production: Production) -> tuple:
    """Identify a production among those of its nonterminal: its head, and its children with terminals marked."""
    children: list[Any] = [(name,) for name in production.children]
    for i, name in production.open:
        children[i] = name
    return production.symbol, production.head, tuple(children)


def _uniform(rng: np.random.Generator) -> Iterator[float]:
    """Yield draws from [0, 1), made in blocks because single calls are slow."""
    while True:
        yield from reversed(rng.random(64).tolist())


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
