"""The text notation of grammars.

    Cell: 1-2 1-3 2-3 1-4 2-4 3-4          # a topology: its edges, in the order of its children
    CELL -> Cell(OPS, OPS, OPS, OPS, OPS, OPS)
    OPS -> id | zero | conv3x3 | avg_pool

Names with a capital first letter are nonterminals (topologies before a colon or parenthesis); others, and all names in
quotes, are terminals. The first production's nonterminal is the start symbol; a line that begins with `|` continues
the production above it; `#` begins a comment.

In a topology, `1-2=relu` is an edge with a fixed terminal, which takes no child; `?-2` is an edge into node 2 that
takes two children, its operation and the name of the node where it begins. `shared CELL, ACT` says that all subterms of
each of these nonterminals within one term are equal.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from typing import NoReturn

from jahslib.errors import UserError
from jahslib.spaces.grammars.topology import Edge, Topology

Place = tuple[int, int]

TOKEN = re.compile(r"""\s+|(?P<comment>\#.*)|(?P<arrow>->)|(?P<quoted>"[^"\s(),|]+")|(?P<name>[\w.]+)|(?P<other>.)""")
EDGE = re.compile(r"(\?|\w+)-(\w+)(?:=([\w.]+))?")


@dataclass(frozen=True)
class Word:
    """A token: the name of a nonterminal, topology or terminal (unquoted), or a sign."""

    text: str
    place: Place
    kind: str  # "symbol", "terminal" or "sign"


@dataclass(frozen=True)
class Alternative:
    """One right-hand side of a production: a terminal, or a topology with its children."""

    head: Word
    children: tuple[Word, ...]


@dataclass
class Definition:
    """The parsed text, its names not yet checked against one another."""

    topologies: dict[str, Topology] = field(default_factory=dict)
    productions: dict[str, list[Alternative]] = field(default_factory=dict)
    shared: list[Word] = field(default_factory=list)


def fail(place: Place, what: str) -> NoReturn:
    """Raise a `UserError` that names line and column."""
    raise UserError(f"grammar: line {place[0]}, column {place[1]}: {what}")


def read(text: str) -> Definition:
    """Parse a grammar's text. Raises `UserError` with line and column of the first thing that is malformed."""
    if not isinstance(text, str):
        raise UserError(f"grammar: {text!r} is no text; give its definition in the notation")
    definition = Definition()
    current: list[Alternative] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        words = _words(line, number)
        if not words:
            continue
        first, second = words[0], words[1].text if len(words) > 1 else ""
        if second == ":":
            _topology(definition, first, line, words[1])
            current = None
        elif first.text == "shared" and second not in ("->", ":"):
            definition.shared += [_expect_symbol(w) for w in words[1:] if w.text != ","]
            current = None
        elif first.text == "|":
            if current is None:
                fail(first.place, "'|' without a production above it")
            current += _alternatives(words[1:], (number, len(line) + 1))
        elif second == "->":
            _expect_symbol(first)
            if first.text in definition.productions:
                fail(first.place, f"{first.text} is defined twice; add alternatives with '|'")
            current = definition.productions[first.text] = _alternatives(words[2:], (number, len(line) + 1))
        else:
            where = words[1].place if len(words) > 1 else (number, len(line) + 1)
            fail(where, f"'->' (a production) or ':' (a topology) must follow {first.text!r}")
    if not definition.productions:
        raise UserError("grammar: line 1, column 1: no production; write one, such as OPS -> id | conv3x3")
    return definition


def _words(line: str, number: int) -> list[Word]:
    words = []
    for match in TOKEN.finditer(line):
        kind, place = match.lastgroup, (number, match.start() + 1)
        if kind == "name":
            words.append(Word(match.group(), place, "symbol" if match.group()[0].isupper() else "terminal"))
        elif kind == "quoted":
            words.append(Word(match.group()[1:-1], place, "terminal"))
        elif kind in ("arrow", "other"):
            words.append(Word(match.group(), place, "sign"))
    return words


def _expect_symbol(word: Word) -> Word:
    if word.kind != "symbol":
        fail(word.place, f"{word.text!r} where a nonterminal must stand; its name begins with a capital letter")
    return word


def _topology(definition: Definition, name: Word, line: str, colon: Word) -> None:
    _expect_symbol(name)
    if name.text in definition.topologies:
        fail(name.place, f"topology {name.text} is declared twice")
    edges, start = [], colon.place[1]
    for part in re.finditer(r"[^\s,]+", line[start:].split("#")[0]):
        match, place = EDGE.fullmatch(part.group()), (name.place[0], start + part.start() + 1)
        if match is None:
            fail(place, f"{part.group()!r} is no edge; write tail-head, such as 1-2, ?-2 or 1-2=id")
        tail, head, label = match.groups()
        if tail == "?" and label is not None:
            fail(place, f"{part.group()!r}: an edge with a label needs its tail")
        edges.append(Edge(None if tail == "?" else tail, head, label))
    try:
        definition.topologies[name.text] = Topology(name.text, edges)
    except ValueError as error:
        fail(name.place, str(error))


def _alternatives(words: list[Word], end: Place) -> list[Alternative]:
    """Parse `a | T(X, y) | ...`."""
    rest = deque([*words, Word("the end of the line", end, "end")])
    found = [_alternative(rest)]
    while rest[0].kind != "end":
        if rest[0].text != "|":
            fail(rest[0].place, f"{rest[0].text!r} where '|' or the end of the line must stand")
        rest.popleft()
        found.append(_alternative(rest))
    return found


def _alternative(rest: deque[Word]) -> Alternative:
    head = _expect_name(rest.popleft(), "an alternative")
    if rest[0].text != "(" or rest[0].kind != "sign":
        if head.kind == "symbol":
            fail(
                head.place,
                f"{head.text} alone is no alternative: put a nonterminal in a topology, such as "
                f'Linear1({head.text}) with "Linear1: 1-2"; a terminal with a capital letter needs quotes',
            )
        return Alternative(head, ())
    if head.kind == "terminal":
        fail(head.place, f"topology {head.text!r} must begin with a capital letter")
    children = []
    while rest.popleft().text != ")":
        children.append(_expect_name(rest.popleft(), "a child"))
        if rest[0].text not in (",", ")"):
            fail(rest[0].place, f"{rest[0].text!r} where ',' or ')' must stand")
    return Alternative(head, tuple(children))


def _expect_name(word: Word, what: str) -> Word:
    if word.kind not in ("symbol", "terminal"):
        fail(word.place, f"{word.text!r} where {what} must stand")
    return word
