"""Grammars: definition, sampling, counting, and what is refused."""

import itertools
import math
from collections import Counter

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
RECURSIVE = """
Diamond: 1-2 1-3 2-4 3-4
S -> Diamond(S, S, S, S) | zero | conv
"""
SHARED = """
T: 1-2 1-3 2-3
S -> T(A, B, A) | T(B, B, B)
A -> a | b | T(B, B, C)
B -> x | y | z
C -> zero | c
shared A, B
"""


def has_path(edges, source, sink):
    reached = {source}
    for _ in edges:
        reached |= {head for tail, head in edges if tail in reached}
    return sink in reached


# Definition


def test_reads_topologies_continued_lines_comments_and_quotes():
    grammar = Grammar(
        """
        Cell: 1-2, 1-3, 2-3   # commas are allowed
        CELL -> Cell(OP, "ReLU", id)
        # a comment
        OP -> zero
            | conv  # and another
            | "Mish"
        """
    )
    assert grammar.start == "CELL"
    terms = {term.algebraic() for term in grammar.enumerate()}
    assert terms == {"Cell(zero, ReLU, id)", "Cell(conv, ReLU, id)", "Cell(Mish, ReLU, id)"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: no production"),
        ("OPS > id", r"line 1, column 5: '->' \(a production\)"),
        ("OPS", "line 1, column 4"),
        ("\nOPS -> id |", "line 2, column 12: 'the end of the line' where an alternative"),
        ("OPS -> id conv", r"line 1, column 11: 'conv' where '\|'"),
        ("ops -> id", "line 1, column 1: 'ops' where a nonterminal"),
        ("| id", r"line 1, column 1: '\|' without a production"),
        ("OPS -> id\nOPS -> conv", "line 2, column 1: OPS is defined twice"),
        ("T: 1-2\nS -> T(a", r"line 2, column 9: 'the end of the line' where ',' or '\)'"),
        ("T: 1-2\nS -> T()", r"line 2, column 8: '\)' where a child"),
        ("T: 1-2\nS -> T(OPS)", "line 2, column 8: nonterminal OPS is not defined"),
        ("T: 1-2\nS -> a | OPS", "line 2, column 10: OPS alone"),
        ("S -> T(a)", "line 1, column 6: topology T is not declared"),
        ("T: 1-2 2-3\nS -> a | T(b)", "line 2, column 10: T has 2 edges and takes 2 children, but 1 are given"),
        ("T: 1-2 2>3\nS -> a", "line 1, column 8: '2>3' is no edge"),
        ("T: 1-2 3-4\nS -> a", "line 1, column 1: topology T needs exactly one source, found 1, 3"),
        ("T: 1-2 2-3 3-2 3-4\nS -> a", "line 1, column 1: topology T has a cycle through 2, 3$"),
        ("T: 1-2\nT: 1-2\nS -> a", "line 2, column 1: topology T is declared twice"),
        ("T: 1-2\nS -> T(S) | a", "line 2, column 8: S is left-recursive"),
        ("T: 1-2 2-3\nS -> T(A, S) | a\nA -> b", "line 2, column 11: S is recursive"),
        ("T: 1-2\nS -> T(A)\nA -> b | T(S)", "line 2, column 8: S is left-recursive"),
        ("T: 1-2\nS -> a | T(zero)", r"line 2, column 10: S -> T\(zero\) leaves no path"),
        ("S -> a\nshared B", "line 2, column 8: shared nonterminal B is not defined"),
        ("T: 1-2 1-2\nS -> T(A, A)\nA -> a | zero\nshared A", "line 4, column 8: A cannot be shared"),
        ("T: in-1 ?-2 2-3\nS -> T(a, b, IN, c)\nIN -> 1 | 2", "line 3, column 11: 2 cannot be where"),
        ("T: in-1 ?-2 ?-2 2-3\nS -> T(a, b, IN, b, IN, c)\nIN -> 1", "line 2, column 14: IN names fewer nodes"),
    ],
)
def test_a_malformed_grammar_is_refused_with_line_and_column(text, message):
    with pytest.raises(UserError, match=message):
        Grammar(text)


@pytest.mark.parametrize("text", [None, 3, b"S -> a"])
def test_what_is_no_text_is_no_grammar_and_no_term(text):
    for door in (Grammar, Grammar("S -> a").parse):
        with pytest.raises(UserError, match=f"{text!r} is "):
            door(text)


def test_depth_limits_that_cannot_be():
    text = "T: 1-2\nU: 1-2\nS -> T(A)\nA -> U(S) | U(B)\nB -> b"
    with pytest.raises(UserError, match="max_depth=1; the shallowest term needs 2"):
        Grammar(text, max_depth=1)
    assert [t.algebraic() for t in Grammar(text, max_depth=2).enumerate()] == ["T(U(b))"]
    with pytest.raises(UserError, match="no depth suffices"):
        Grammar("T: 1-2\nS -> T(S)", max_depth=9)
    for depth in (-1, 1.5, "3", True, 101):
        with pytest.raises(UserError, match=f"max_depth: {depth!r}"):
            Grammar(RECURSIVE, max_depth=depth)
    with pytest.raises(UserError, match="shared"):
        Grammar(SHARED, max_depth=3)


# Sampling


@pytest.mark.parametrize("name", examples.TEXTS)
@FEW
@given(seed=SEEDS)
def test_every_sample_is_a_term_of_the_grammar(name, seed):
    grammar = examples.grammar(name)
    grammar.check(Term.parse(str(grammar.sample(np.random.default_rng(seed)))))


@FEW
@given(seed=SEEDS, depth=st.integers(0, 4))
def test_samples_of_a_recursive_grammar_keep_the_depth_limit_and_a_path(seed, depth):
    grammar = Grammar(RECURSIVE, max_depth=depth)
    term = grammar.sample(np.random.default_rng(seed))
    grammar.check(Term.parse(str(term)))
    assert term.height <= depth
    edges = [(1, 2), (1, 3), (2, 4), (3, 4)]
    for inner in term.walk():
        if inner.children:
            assert has_path([e for e, c in zip(edges, inner.children, strict=True) if c.head != "zero"], 1, 4)


def test_a_deep_limit_meets_no_recursion_limit():
    grammar = Grammar("T: 1-2 2-3\nS -> T(S, a) | T(S, b) | a", max_depth=100)
    assert grammar.count() == 2**101 - 1
    longest = "(S T " * 100 + "(S a)" + " b)" * 100
    assert str(grammar.parse(longest)) == longest
    assert grammar.parse(grammar.parse(longest).algebraic()).height == 100


def test_what_cannot_be_completed_within_the_depth_is_left_out():
    """At the limit S is zero or nothing: then no Diamond may have been begun."""
    grammar = Grammar(
        "Diamond: 1-2 1-3 2-4 3-4\nS -> Diamond(A, A, A, A) | a\nA -> zero | Diamond(S, S, S, S)", max_depth=2
    )
    terms = list(grammar.enumerate())
    assert len(terms) == grammar.count()
    assert {grammar.sample(np.random.default_rng(seed)) for seed in range(300)} == set(terms)


def test_sampling_is_uniform_over_productions_and_counts_one_listed_twice_as_two():
    """As in the original's samples; `zero` is a little rarer, as it is banned at times."""
    grammar = examples.grammar("hierarchical")
    rng = np.random.default_rng(0)
    drawn = Counter(t.head for _ in range(60) for t in grammar.sample(rng).walk() if t.symbol == "OPS")
    share = {head: n / drawn.total() for head, n in drawn.items()}
    assert share == pytest.approx({"id": 0.2, "zero": 0.2, "avg_pool": 0.2, "Linear1": 0.4}, abs=0.03)


def test_a_seed_fixes_the_sample_and_the_global_generator_is_left_alone():
    grammar = examples.grammar("hierarchical")
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (looks that nobody uses it)
    assert grammar.sample(np.random.default_rng(3)) == grammar.sample(np.random.default_rng(3))
    assert grammar.sample(np.random.default_rng(3)) != grammar.sample(np.random.default_rng(4))
    assert (before == np.random.get_state()[1]).all()  # noqa: NPY002


@FEW
@given(seed=SEEDS)
def test_shared_nonterminals_are_the_same_throughout(seed):
    term = examples.grammar("shared").sample(np.random.default_rng(seed))
    for symbol in ("CELL", "ACT", "CONV"):
        assert len({t for t in term.walk() if t.symbol == symbol}) <= 1


# Sizes


def test_sizes_of_the_published_spaces():
    """The original reports log10 446.0924 (derivations), and 15,168 cells, its counter looking at the wrong edge."""
    assert examples.grammar("cell-based").count() == 15_284
    hierarchical = examples.grammar("hierarchical")
    assert math.log10(hierarchical.count()) == pytest.approx(375.84, abs=0.01)
    assert math.log10(hierarchical.derivations()) == pytest.approx(446.0924, abs=2e-4)
    cell = Grammar(examples.HIERARCHICAL.replace("D2 ->", "X -> Linear1(CELL)\nD2 ->"))
    assert cell.count() == 728_919_959
    assert examples.grammar("activation").count() == 393_762_525
    # 1.0377e9 cells; a term orders the two inputs of each of four nodes
    assert examples.grammar("DARTS cell").count() == 2**4 * 1_037_664_180


def test_enumeration_agrees_with_brute_force():
    edges = [(1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4)]
    ops = ("id", "zero", "conv3x3", "conv1x1", "avg_pool")
    expected = {
        f"Cell({', '.join(cell)})"
        for cell in itertools.product(ops, repeat=6)
        if has_path([e for e, op in zip(edges, cell, strict=True) if op != "zero"], 1, 4)
    }
    found = [term.algebraic() for term in examples.grammar("cell-based").enumerate()]
    assert len(found) == len(set(found)) and set(found) == expected


@pytest.mark.parametrize(
    ("text", "depth", "size"),
    [
        (RECURSIVE, 1, 2 + 7),  # zero, conv, and the 7 Diamonds of zero and conv that have a path
        ("T: 1-2 2-3\nS -> T(S, S) | a | b", 2, 2 + (2 + 2 * 2) ** 2),
        ("T: 1-2 2-3\nS -> T(A, A) | T(A, A) | a\nA -> a | b", None, 5),
        ("T: 1-2 1-2\nS -> T(A, A)\nA -> a | zero", None, 3),
        # A is left open in neither, one or both: T(A, B, A) has one A and one B, the B of A being the same
        (SHARED, None, 3 * (2 + 2) + 3),
    ],
)
def test_counts_agree_with_enumeration_and_by_hand(text, depth, size):
    grammar = Grammar(text, max_depth=depth)
    terms = list(grammar.enumerate())
    assert len(terms) == len(set(terms)) == grammar.count() == size
    for term in terms:
        grammar.check(Term.parse(str(term)))
    rng = np.random.default_rng(0)
    assert {grammar.sample(rng) for _ in range(5000)} == set(terms)


def test_derivations_count_a_production_listed_twice_as_two():
    assert Grammar("T: 1-2 2-3\nS -> T(A, A) | T(A, A) | a\nA -> a | b | b").derivations() == 2 * 9 + 1


def test_a_capped_count_tells_whether_there_are_as_many():
    for depth in range(4):
        grammar = Grammar(RECURSIVE, max_depth=depth)
        size = grammar.count()
        assert [grammar.count(cap=cap) for cap in (1, size, size + 1, 10 * size)] == [min(size, 1), size, size, size]


def test_terms_that_double_with_each_level_are_not_counted_to_the_end():
    """The exact number has about 2^100 digits."""
    deep = Grammar("Chain: 1-2 2-3\nNET -> Chain(NET, NET) | conv | pool", max_depth=100)
    assert deep.count(cap=1000) == 1000
    with pytest.raises(UserError, match=r"over 10\^1000 terms"):
        deep.enumerate(10)


def test_enumeration_of_a_large_space_is_refused():
    with pytest.raises(UserError, match=r"about 10\^375.8 terms, more than limit=100000"):
        examples.grammar("hierarchical").enumerate()


# Terms of other grammars


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(OPS id)", "it derives OPS, but this grammar starts at CELL"),
        (
            "(CELL Cell (OPS id) (OPS id) (OPS id) (OPS id) (OPS id))",
            r"no CELL -> Cell\(OPS, OPS, OPS, OPS, OPS\); it has",
        ),
        ("(CELL Cell id (OPS id) (OPS id) (OPS id) (OPS id) (OPS id))", "no CELL"),
        ("Cell(id, id, id, id, id, conv5x5)", "is not derived by this grammar"),
        ("(CELL Cell (OPS zero) (OPS zero) (OPS id) (OPS zero) (OPS id) (OPS id))", "has no path"),
        (
            "(CELL Cell (OPS id) (OPS id) (OPS id) (OPS id) (OPS id) (OPS conv5x5))",
            r"no OPS -> conv5x5; it has OPS -> id \| zero \| conv3x3 \| conv1x1 \| avg_pool",
        ),
        ("(CELL Cell (OPS id) (OPS id) (OPS id) (OPS id) (OPS id) (OP id))", "no CELL -> Cell"),
    ],
)
def test_a_term_of_another_grammar_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        examples.grammar("cell-based").parse(text)


def test_terms_beyond_the_depth_limit_or_with_unequal_shared_parts_are_refused():
    deep = Grammar(RECURSIVE, max_depth=2).parse("Diamond(Diamond(conv, conv, conv, conv), conv, conv, conv)")
    with pytest.raises(UserError, match="it nests 2 topologies, but max_depth is 1"):
        Grammar(RECURSIVE, max_depth=1).check(deep)
    with pytest.raises(UserError, match=r"A is shared, but stands both for \(A a\) and for \(A b\)"):
        Grammar(SHARED).parse("T(a, x, b)")


@pytest.mark.parametrize("name", ["cell-based", "DARTS cell"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_children_are_admissible_where_none_is_banned_beside_the_others(name, data):
    """`admits` takes one look at all children where it can; `banned` asks for each."""
    for topology in examples.grammar(name).topologies.values():
        tails = st.sampled_from(["previous2", "previous1", "2", "3"])
        children = [data.draw(tails if slot.is_tail else st.sampled_from(["zero", "id"])) for slot in topology.slots]
        banned = [child in topology.banned(i, children) for i, child in enumerate(children)]
        assert topology.admits(children) == (not any(banned))


def test_two_edges_into_one_node_have_different_tails():
    grammar = examples.grammar("DARTS cell")
    term = grammar.sample(np.random.default_rng(0))
    same = term.replace((3,), term.at((1,)))
    with pytest.raises(UserError, match="twice from the same tail"):
        grammar.check(same)


def test_the_network_of_a_cell_has_five_cells_a_stage():
    cell = examples.grammar("cell-based").sample(np.random.default_rng(0))
    network = Grammar(examples.CELL_BASED_NETWORK).check(examples.cell_based_network(cell))
    assert [t for t in network.walk() if t.symbol == "CELL"] == [cell] * 15
    assert str(network).count("resBlock") == 2


def test_small_terms_are_one_object_and_large_ones_are_not_kept():
    grammar = examples.grammar("hierarchical")
    terms = [grammar.sample(np.random.default_rng(seed)) for seed in (0, 1)]
    small = [[t for t in term.walk() if t.head == "Linear1"] for term in terms]
    same = [(a, b) for a in small[0] for b in small[1] if a == b]
    assert same and all(a is b for a, b in same)
    again = grammar.sample(np.random.default_rng(0))
    assert again == terms[0] and again is not terms[0]
