"""Terms and their two string forms."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=25, deadline=None)  # a hierarchical term has some 450 parts
CELL = "(CELL Cell (OPS zero) (OPS avg_pool) (OPS conv1x1) (OPS conv1x1) (OPS conv3x3) (OPS zero))"


@pytest.mark.parametrize("name", examples.TEXTS)
@FEW
@given(seed=SEEDS)
def test_both_forms_are_read_back_as_printed(name, seed):
    grammar = examples.grammar(name)
    term = grammar.sample(np.random.default_rng(seed))
    assert Term.parse(str(term)) == term
    assert grammar.parse(str(term)) == term
    assert grammar.parse(term.algebraic()) == term


@pytest.mark.parametrize("depth", [101, 500, 5000])
def test_what_nests_too_deeply_for_recursion_is_refused(depth):
    for form in ("T(" * depth + "a" + ")" * depth, "(S T " * depth + "(S a)" + ")" * depth, "T(" * depth):
        for parse in (Grammar("T: 1-2\nS -> T(S) | a", max_depth=100).parse, Term.parse):
            with pytest.raises(UserError, match="term: "):
                parse(form)
    chain = "".join(f"A{i} -> T(A{i + 1})\n" for i in range(depth))
    with pytest.raises(UserError, match=f"max_depth.*{depth}"):
        Grammar(f"T: 1-2\n{chain}A{depth} -> a")


def test_the_deepest_nesting_is_read_back():
    for text in ("S -> T(S) | a", "".join(f"A{i} -> T(A{i + 1})\n" for i in range(100)) + "A100 -> a"):
        grammar = Grammar(f"T: 1-2\n{text}", max_depth=100 if "S" in text else None)
        *_, term = grammar.enumerate()
        term = max([term, *grammar.enumerate()], key=lambda t: t.height)
        assert term.height == 100 and grammar.parse(str(term)) == grammar.parse(term.algebraic()) == term


def test_many_nonterminals_that_contain_one_another_make_a_grammar():
    many = "".join(f"A{i} -> T(A{(i + 1) % 300}) | a{i}\n" for i in range(300))
    assert Grammar(f"T: 1-2\n{many}", max_depth=2).count() == 3


def test_forms_of_one_term():
    term = Term.parse(CELL)
    assert str(term) == CELL
    assert term.algebraic() == "Cell(zero, avg_pool, conv1x1, conv1x1, conv3x3, zero)"
    assert Term.parse(CELL.replace(" ", "\n  ")) == term


def test_terminals_that_stand_in_a_production_are_kept_apart_from_nonterminals():
    term = Term.parse("(DOWN Linear2 (CELL Cell (OPS id)) resBlock)")
    assert term.children[1] == "resBlock"
    assert term.algebraic() == "Linear2(Cell(id), resBlock)"


def test_terms_are_immutable_hashable_values():
    a, b = Term.parse(CELL), Term.parse(CELL)
    assert a is not b and a == b and hash(a) == hash(b) and len({a, b}) == 1
    assert a != Term.parse(CELL.replace("avg_pool", "id"))
    with pytest.raises(AttributeError, match="immutable"):
        a.head = "Other"
    with pytest.raises(AttributeError, match="immutable"):
        del a.head
    assert copy.deepcopy(a) is a
    assert pickle.loads(pickle.dumps(a)) == a


def test_replace_leaves_the_rest_shared_and_the_original_as_it_was():
    term = Term.parse(CELL)
    new = term.replace((1,), Term("OPS", "id"))
    assert new.children[1] == Term("OPS", "id") and new.children[0] is term.children[0]
    assert str(term) == CELL
    assert term.replace_all("OPS", Term("OPS", "id")).algebraic() == "Cell(id, id, id, id, id, id)"
    assert term.replace_all("NORM", Term("NORM", "batch")) is term


def test_height_counts_nested_topologies():
    assert Term("OPS", "zero").height == 0
    assert Term.parse(CELL).height == 1
    assert Term.parse(f"(C Linear2 {CELL} (CELL x))").height == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(CELL Cell (OPS zero)", "column 22: the term ends"),
        ("(CELL Cell (OPS zero)) x", "column 24: 'x' after the end"),
        ("CELL", "column 1: 'CELL' where '\\('"),
        ("(CELL (OPS zero))", "column 7: '\\('"),
        ("(CELL)", "column 6: '\\)'"),
        ("(CELL Cell, zero)", "column 11: ','"),
        ("", "column 1"),
    ],
)
def test_malformed_lisp_form_is_refused_with_its_column(text, message):
    with pytest.raises(UserError, match=message):
        Term.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Cell(zero, ", "column 12: the term ends"),
        ("Cell(zero id)", "column 11: 'id' where '\\)'"),
        ("Cell(,)", "column 6: ','"),
        ("Cell(id))", "column 9: '\\)' after the end"),
    ],
)
def test_malformed_algebraic_form_is_refused_with_its_column(text, message):
    with pytest.raises(UserError, match=message):
        examples.grammar("cell-based").parse(text)
