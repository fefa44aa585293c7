"""Mutation, crossover and self-crossover."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.evolve import crossover, mutate
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=25, deadline=None)  # a hierarchical term has some 450 parts
RECURSIVE = Grammar("Diamond: 1-2 1-3 2-4 3-4\nS -> Diamond(S, S, S, S) | zero | conv | pool", max_depth=3)
GRAMMARS = {name: examples.grammar(name) for name in examples.TEXTS} | {"recursive": RECURSIVE}
CELLS = examples.grammar("cell-based")


def valid(grammar: Grammar, term: Term) -> bool:
    """Checked from its string, so that nothing remembered of its parts helps."""
    return grammar.check(Term.parse(str(term))) == term


@pytest.mark.parametrize("name", GRAMMARS)
@FEW
@given(seed=SEEDS)
def test_every_offspring_is_another_term_of_the_grammar(name, seed):
    grammar, rng = GRAMMARS[name], np.random.default_rng(seed)
    a, b = grammar.sample(rng), grammar.sample(rng)
    mutant = mutate(grammar, a, rng)
    assert mutant is not None and mutant != a and valid(grammar, mutant)
    for parents, children in (((a, b), crossover(grammar, a, b, rng)), ((a, a), crossover(grammar, a, a, rng))):
        for parent, child in zip(parents, children or (), strict=bool(children)):
            assert child != parent and valid(grammar, child)


def test_number_of_edits_of_a_mutation():
    """As measured on the original: 62 % of the mutants of a cell have one edit, 28 % two, 9 % three."""
    rng = np.random.default_rng(0)
    edits = Counter()
    for _ in range(2000):
        cell = CELLS.sample(rng)
        edits[sum(a != b for a, b in zip(cell.children, mutate(CELLS, cell, rng).children, strict=True))] += 1
    assert [edits[n] / 2000 for n in (1, 2, 3)] == pytest.approx([0.60, 0.30, 0.085], abs=0.03)
    assert all(
        sum(a != b for a, b in zip(cell.children, mutate(CELLS, cell, rng, rate=6.0).children, strict=True)) >= 5
        for cell in (CELLS.sample(rng) for _ in range(20))
    )


def test_mutation_reaches_every_swappable_node():
    """Also the root of a hierarchical term, from which everything is drawn afresh."""
    grammar = examples.grammar("activation")
    term = grammar.parse("BinaryTopo(add, BinaryTopo(sub, neg, abs, id, id), UnaryTopo(exp), id, id)")
    rng = np.random.default_rng(0)
    changed = set()
    for _ in range(600):
        mutant = mutate(grammar, term, rng, rate=0.3)
        changed |= {p for p in paths(term) if p in paths(mutant) and mutant.at(p) != term.at(p)}
    assert changed == {(), (0,), (1,), (2,), (1, 0), (1, 1), (1, 2), (2, 0)}


def paths(term: Term, path=()) -> set[tuple]:
    inner = [paths(child, (*path, i)) for i, child in enumerate(term.children) if isinstance(child, Term)]
    return {path}.union(*inner)


def test_crossover_swaps_subterms_and_reaches_every_eligible_node_evenly():
    """The original never picks the first: the edge 1-2 of a cell."""
    rng = np.random.default_rng(0)
    a = CELLS.parse("Cell(conv3x3, conv3x3, conv3x3, conv3x3, conv3x3, conv3x3)")
    b = CELLS.parse("Cell(id, id, id, id, id, id)")
    sites: tuple[Counter, Counter] = (Counter(), Counter())
    for _ in range(1200):
        children = crossover(CELLS, a, b, rng)
        for count, parent, child, other in zip(sites, (a, b), children, ("id", "conv3x3"), strict=True):
            (site,) = (i for i, (x, y) in enumerate(zip(parent.children, child.children, strict=True)) if x != y)
            assert child.children[site].head == other
            count[site] += 1
    for count in sites:
        assert sorted(count) == list(range(6))
        assert min(count.values()) > 140


def test_crossover_reaches_all_nodes_of_a_hierarchical_term_but_its_root():
    grammar, rng = examples.grammar("hierarchical"), np.random.default_rng(1)
    a, b = grammar.sample(rng), grammar.sample(rng)
    reached = {}
    for _ in range(1500):
        child, _ = crossover(grammar, a, b, rng)
        path = changed_at(a, child)
        reached.setdefault(a.at(path).symbol, set()).add(path)
    assert () not in reached.get("D2", set())
    for symbol in ("D1", "D0", "DOWN", "C"):
        there = {p for p in paths(a) if a.at(p).symbol == symbol}
        assert reached[symbol] >= there, symbol


def changed_at(old: Term, new: Term) -> tuple:
    """The deepest node that all differences lie within."""
    if isinstance(old, str) or old.head != new.head or len(old.children) != len(new.children):
        return ()
    differing = [i for i, (x, y) in enumerate(zip(old.children, new.children, strict=True)) if x != y]
    return (
        (differing[0], *changed_at(old.children[differing[0]], new.children[differing[0]]))
        if len(differing) == 1
        else ()
    )


def test_self_crossover_copies_one_subterm_onto_another():
    grammar, rng = examples.grammar("hierarchical"), np.random.default_rng(2)
    term = grammar.sample(rng)
    before = Counter(term.walk())
    for _ in range(50):
        for child in crossover(grammar, term, term, rng):
            largest = max((t for t in child.walk() if t not in before), key=lambda t: t.height)
            assert largest is child  # only the way to the root is new: what was put in stood elsewhere in the term
            new = [t for t in child.walk() if t not in before]
            assert len(new) <= child.height + 1


def test_zero_is_never_swapped_to_where_it_would_cut_the_last_path():
    rng = np.random.default_rng(0)
    only_path = CELLS.parse("Cell(conv3x3, zero, zero, zero, conv3x3, zero)")
    for _ in range(200):
        child, _ = crossover(CELLS, only_path, CELLS.parse("Cell(id, zero, id, zero, id, id)"), rng)
        assert [child.children[i].head for i in (0, 4)].count("zero") == 0


def test_without_any_choice_there_are_no_offspring():
    single = Grammar("T: 1-2\nS -> T(A)\nA -> a")
    rng = np.random.default_rng(0)
    term = single.sample(rng)
    assert mutate(single, term, rng) is None
    assert crossover(single, term, term, rng) is None
    same = CELLS.parse("Cell(id, id, id, id, id, id)")
    assert crossover(CELLS, same, same, rng) is None


def test_the_shared_cell_and_the_network_around_it_are_both_varied():
    grammar, rng = examples.grammar("shared"), np.random.default_rng(5)
    term = grammar.sample(rng)

    def around(t: Term) -> str:
        return str(t.replace_all("CELL", Term("CELL", "open")))

    def cells(t: Term) -> set[Term]:
        return {inner for inner in t.walk() if inner.symbol == "CELL"}

    mutants = [mutate(grammar, term, rng, rate=0.5) for _ in range(200)]
    assert all(len(cells(m)) == 1 for m in mutants)
    assert sum(cells(m) != cells(term) for m in mutants) > 20
    assert sum(around(m) != around(term) for m in mutants) > 20


def test_parents_of_another_grammar_are_refused():
    rng = np.random.default_rng(0)
    cell, other = CELLS.sample(rng), examples.grammar("activation").sample(rng)
    for call in (lambda: mutate(CELLS, other, rng), lambda: crossover(CELLS, cell, other, rng)):
        with pytest.raises(UserError, match="starts at CELL"):
            call()
