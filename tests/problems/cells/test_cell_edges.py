"""Cells as six choices are the grammar's cells, with the same evaluations."""

from itertools import product

import numpy as np
import pytest

from jahslib.core.problem import Job
from jahslib.optimizers.random_search import RandomSearch
from jahslib.problems.cells.cell_edges import CellEdges
from jahslib.problems.cells.nasbench201 import NasBench201
from jahslib.problems.cells.synthetic_cells import SyntheticCells
from jahslib.search import Budget, search
from jahslib.spaces import configurations as spaces
from jahslib.spaces.grammars.space import Point


@pytest.fixture
def problem():
    return CellEdges(SyntheticCells())


def test_the_admitted_choices_are_the_terms_of_the_grammar(problem):
    choices = [problem.space[name].choices for name in problem.space]
    every = (dict(zip(problem.space, values, strict=True)) for values in product(*choices))
    admitted = {str(problem.term(c)) for c in every if problem.admits(c)}
    assert admitted == {str(t) for t in SyntheticCells.space.grammar.enumerate()}


def test_a_choice_costs_what_its_term_costs(problem):
    c = spaces.sample_where(problem.space, np.random.default_rng(0), problem.admits)
    outcome = problem.evaluate(Job(c, (1,), 0))
    cells = SyntheticCells()
    assert outcome == cells.evaluate(Job(Point(problem.term(c)).configuration, (1,), 0))


def test_edges_stand_where_the_benchmark_has_them(problem):
    c = dict.fromkeys(problem.space, "zero") | {"edge_0_1": "conv3x3", "edge_1_3": "id", "edge_2_3": "avg_pool"}
    assert problem.term(c).algebraic() == "Cell(conv3x3, zero, zero, zero, id, avg_pool)"
    assert problem.admits(c) and not problem.admits(c | {"edge_1_3": "zero"})


def test_trials_are_feasible_and_charged_as_the_cells_are(problem, tmp_path):
    history = search(problem, RandomSearch(problem, 0), Budget(trials=5), tmp_path / "log.jsonl", seed=0)
    assert [t.status for t in history] == ["ok"] * 5 and sum(t.epochs for t in history) == 5
    assert all(problem.violation(t) == 0 for t in history)


def test_fidelity_and_objective_are_those_of_the_cells():
    assert CellEdges(NasBench201("cifar100")).fidelity == NasBench201.fidelity
    assert CellEdges(NasBench201("cifar100")).objective == NasBench201.objective


def test_logs_of_different_cells_are_told_apart(monkeypatch):
    monkeypatch.setattr("jahslib.problems.cells.nasbench201._table", lambda: ({}, "0"))
    described = [CellEdges(cells).describe() for cells in (SyntheticCells(), NasBench201(), NasBench201("cifar100"))]
    assert all(a != b for i, a in enumerate(described) for b in described[:i])
