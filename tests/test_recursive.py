"""The benchmark on a recursive grammar: what its terms are worth, and that NePS' space writes terms of the grammar."""

import numpy as np
import pytest

from benchmarks import recursive
from jahslib.search import Budget, search
from jahslib.spaces.grammars.space import Point


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("UnaryTopo(neg)", lambda x: -x),
        ("Chain(UnaryTopo(square), sin)", lambda x: np.sin(x**2)),
        ("BinaryTopo(sub, Chain(UnaryTopo(abs), tanh), UnaryTopo(id), id, id)", lambda x: np.tanh(abs(x)) - x),
    ],
)
def test_a_term_is_its_function(text, function):
    term = recursive.problem("chirp").space.grammar.parse(text)
    assert recursive.values(term) == pytest.approx(function(recursive.X))


@pytest.mark.parametrize(
    ("text", "error"),
    [("BinaryTopo(multi, UnaryTopo(id), Chain(UnaryTopo(square), sin), id, id)", 0.0),
     ("BinaryTopo(sub, UnaryTopo(id), UnaryTopo(id), id, id)", 1.0)],
)  # fmt: skip
def test_the_target_has_no_error_and_a_constant_all(text, error):
    posed = recursive.problem("chirp")
    assert posed.function(Point(posed.space.grammar.parse(text)).configuration) == pytest.approx(error, abs=1e-12)


def test_what_is_written_is_a_term_of_the_grammar():
    grammar = recursive.problem("chirp").space.grammar
    leaf = recursive._written("F", "UnaryTopo", "(UNARY sin)")
    text = recursive._written("F", "BinaryTopo", "(BINARY add)", leaf, leaf, "id", "id")
    assert grammar.parse(text).algebraic() == "BinaryTopo(add, UnaryTopo(sin), UnaryTopo(sin), id, id)"


def test_its_table_has_every_method_and_pairs_them_by_seed(tmp_path):
    runs = {"bo": "random", "evolution": "evolution", "neps_random": "random"}  # whose log, and who searches quickly
    for seed in range(2):
        for target in recursive.TARGETS:
            for logged, name in runs.items():
                posed, log = recursive.problem(target), recursive.log_path(tmp_path, target, logged, seed)
                search(posed, recursive.METHODS[name], Budget(trials=5), log, seed=seed)
    lines = recursive.table(tmp_path)
    assert sum(line.startswith("| chirp |") for line in lines) == len(recursive.LABELS) + 2
