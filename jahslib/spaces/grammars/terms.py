"""Terms: derivation trees of a grammar, immutable and hashable, with their two string forms.

The LISP-like form names nonterminals, `(CELL Cell (OPS zero) (OPS Linear1 (CONVBLOCK ...)) ...)`; the algebraic form is
the same tree without them, `Cell(zero, Linear1(...), ...)`.
"""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from jahslib.errors import UserError

Path = tuple[int, ...]

DEEPEST = 100  # nested topologies: terms are handled recursively, and this is well within Python's own limit


class Term:
    """A node of a derivation tree, with the subtree below it; equal where the whole trees are.

    `symbol` is a nonterminal, `head` the terminal or topology that replaces it; `children` fill the topology's edges in
    order: terms, or strings for terminals that stand in the production itself. `height` counts the topologies nested in
    one another: 0 for `(OPS zero)`. `memo` caches what was computed of the term.
    """

    __slots__ = ("_hash", "_memo", "children", "head", "height", "symbol")
    symbol: str
    head: str
    children: "tuple[Term | str, ...]"
    height: int
    _hash: int
    _memo: dict[Any, Any] | None

    def __init__(self, symbol: str, head: str, children: "tuple[Term | str, ...]" = ()):
        _set_symbol(self, symbol)
        _set_head(self, head)
        _set_children(self, children)
        _set_hash(self, hash((symbol, head, children)))
        _set_memo(self, None)
        _set_height(self, 1 + max([c.height for c in children if type(c) is Term], default=0) if children else 0)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a term is immutable; build a new one instead of setting {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a term is immutable; {name} cannot be deleted")

    @property
    def memo(self) -> dict[Any, Any]:
        """Cache of values computed from this term, created on first access."""
        if self._memo is None:
            _set_memo(self, {})
        return self._memo  # type: ignore[return-value]

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Term):
            return NotImplemented
        return (
            self._hash == other._hash
            and self.symbol == other.symbol
            and self.head == other.head
            and self.children == other.children
        )

    def __str__(self) -> str:
        if not self.children:
            return f"({self.symbol} {self.head})"
        return f"({self.symbol} {self.head} {' '.join(map(str, self.children))})"

    def __repr__(self) -> str:
        return f"Term.parse({str(self)!r})"

    def __reduce__(self):
        return Term, (self.symbol, self.head, self.children)

    def __copy__(self) -> "Term":
        return self

    def __deepcopy__(self, memo: dict) -> "Term":
        return self

    @staticmethod
    def parse(text: str) -> "Term":
        """Parse the LISP-like form, of any grammar. Raises `UserError` with the column of what is malformed."""
        return _lisp(_Tokens(text))

    def algebraic(self) -> str:
        """Format as `Topology(child, ...)`, the tree without its nonterminals."""
        if not self.children:
            return self.head
        return f"{self.head}({', '.join(c if isinstance(c, str) else c.algebraic() for c in self.children)})"

    def walk(self) -> "Iterator[Term]":
        """Yield this term and all terms within it, parents first, left to right."""
        yield self
        for child in self.children:
            if isinstance(child, Term):
                yield from child.walk()

    def at(self, path: Path) -> "Term":
        """Return the subterm at a path of child indices."""
        found = self
        for i in path:
            found = found.children[i]
            assert isinstance(found, Term)
        return found

    def replace(self, path: Path, new: "Term") -> "Term":
        """Replace the subterm at a path of child indices."""
        if not path:
            return new
        i = path[0]
        child: Term = self.children[i]  # type: ignore[assignment]
        return Term(self.symbol, self.head, (*self.children[:i], child.replace(path[1:], new), *self.children[i + 1 :]))

    def replace_all(self, symbol: str, new: "Term") -> "Term":
        """Replace every outermost subterm of nonterminal `symbol`."""
        return self._replace_all(symbol, new, {})

    def _replace_all(self, symbol: str, new: "Term", done: "dict[int, Term]") -> "Term":
        if self.symbol == symbol:
            return new
        if id(self) not in done:
            children = tuple(c if isinstance(c, str) else c._replace_all(symbol, new, done) for c in self.children)
            same = all(a is b for a, b in zip(children, self.children, strict=True))
            done[id(self)] = self if same else Term(self.symbol, self.head, children)
        return done[id(self)]


# The only way past __setattr__, and a quicker one than object.__setattr__.
_set_hash, _set_memo, _set_children, _set_head, _set_height, _set_symbol = (
    getattr(Term, name).__set__ for name in Term.__slots__
)

Expression = tuple[str, tuple["Expression", ...]]


def parse_algebraic(text: str) -> Expression:
    """Parse the algebraic form to nested `(head, children)`, to which `Grammar.parse` restores the nonterminals."""
    tokens = _Tokens(text)
    expression = _algebraic(tokens)
    tokens.end()
    return expression


def _lisp(tokens: "_Tokens") -> Term:
    """Parse a term iteratively, so that deep terms do not exceed the recursion limit."""
    tokens.expect("(")
    open_terms: list[list[Any]] = [[]]
    for position in range(1, len(tokens.found)):
        token = tokens.found[position]
        if token == "(":
            if len(open_terms[-1]) < 2:
                tokens.fail(position, "'(' where a nonterminal and what replaces it must come first")
            open_terms.append([])
            tokens.refuse_depth(len(open_terms) - 1, position)  # a terminal is in parentheses too
        elif token == ")":
            parts = open_terms.pop()
            if len(parts) < 2:
                tokens.fail(position, "')' before a nonterminal and what replaces it")
            term = Term(parts[0], parts[1], tuple(parts[2:]))
            if not open_terms:
                tokens.position = position + 1
                tokens.end()
                return term
            open_terms[-1].append(term)
        elif token == ",":
            tokens.fail(position, "',' in a term; its parts are separated by spaces")
        else:
            open_terms[-1].append(token)
    tokens.fail(len(tokens.found), "the term ends with a parenthesis still open")


def _algebraic(tokens: "_Tokens", depth: int = 0) -> Expression:
    tokens.refuse_depth(depth, tokens.position - 1)
    head = tokens.next("a name")
    if head in "(),":
        tokens.fail(tokens.position - 1, f"{head!r} where a terminal or topology must stand")
    if tokens.peek() != "(":
        return head, ()
    children = []
    while not children or tokens.peek() == ",":
        tokens.next("a child")
        children.append(_algebraic(tokens, depth + 1))
    tokens.expect(")")
    return head, tuple(children)


class _Tokens:
    TOKEN = re.compile(r"[(),]|[^\s(),]+")

    def __init__(self, text: str):
        if not isinstance(text, str):
            raise UserError(f"term: {text!r} is not a string; give the LISP-like or the algebraic form")
        self.text = text
        self.found: list[str] = self.TOKEN.findall(text)
        self.position = 0

    def fail(self, position: int, what: str) -> NoReturn:
        starts = [match.start() for match in self.TOKEN.finditer(self.text)]
        column = [*starts, len(self.text)][position] + 1
        raise UserError(f"term: column {column}: {what}")

    def refuse_depth(self, depth: int, position: int) -> None:
        if depth > DEEPEST:
            self.fail(position, f"more than {DEEPEST} topologies nested in one another")

    def peek(self) -> str | None:
        return self.found[self.position] if self.position < len(self.found) else None

    def next(self, wanted: str) -> str:
        if self.position == len(self.found):
            self.fail(self.position, f"the term ends where {wanted} must follow")
        self.position += 1
        return self.found[self.position - 1]

    def expect(self, sign: str) -> None:
        token = self.next(repr(sign))
        if token != sign:
            self.fail(self.position - 1, f"{token!r} where {sign!r} must stand")

    def end(self) -> None:
        if self.position < len(self.found):
            self.fail(self.position, f"{self.found[self.position]!r} after the end of the term")
