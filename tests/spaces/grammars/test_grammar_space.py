"""Grammars as search spaces of the one search loop."""

import json
import pickle

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float, ForbiddenAndConjunction, ForbiddenEqualsClause

from jahslib.core.problem import Fidelity, Objective, Outcome, Problem
from jahslib.errors import UserError
from jahslib.optimizers.ax.optimizer import AxBO
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.grammar_bo import GrammarBO
from jahslib.optimizers.grid import grid
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.optimizers.sobol import Sobol
from jahslib.search import Budget, search
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.space import GrammarSpace

CELLS = examples.grammar("cell-based")


def numbers():
    space = ConfigurationSpace()
    space.add(Float("rate", (1e-4, 1.0), log=True), Categorical("augment", [True, False]))
    return space


class CountedConvolutions(Problem):
    name = "convolutions"
    objective = Objective("share")
    fidelity = Fidelity(1, 1)

    def __init__(self, space):
        self.space = space

    def evaluate(self, job):
        term = self.space.term(job.configuration)
        return Outcome({"share": np.mean([c.head.startswith("conv") for c in term.children])}, 1)


@pytest.fixture
def space():
    return GrammarSpace(CELLS, numbers(), "cell-based")


def test_a_configuration_is_a_term_and_hyperparameters(space):
    configuration = space.sample(np.random.default_rng(0))
    assert set(configuration) == {"architecture", "rate", "augment"}
    assert json.loads(json.dumps(configuration)) == configuration
    term = space.term(configuration)
    assert str(term) == configuration["architecture"] and CELLS.check(term) is term
    assert space.point(configuration).configuration == configuration
    assert space.sample(np.random.default_rng(0)) == configuration
    assert space.sample(np.random.default_rng(1)) != configuration


def test_terms_are_read_once(space):
    configuration = space.sample(np.random.default_rng(0))
    assert space.term(configuration) is space.term(dict(configuration))


def test_other_processes_get_the_same_space(space):
    copy = pickle.loads(pickle.dumps(space))
    configuration = space.sample(np.random.default_rng(0))
    assert copy.sample(np.random.default_rng(0)) == configuration
    assert copy.term(configuration) == space.term(configuration)
    assert copy.to_serialized_dict() == space.to_serialized_dict()


def test_the_fingerprint_holds_grammar_and_hyperparameters(space):
    said = space.to_serialized_dict()
    assert json.loads(json.dumps(said))["grammar"] == examples.CELL_BASED
    assert said != GrammarSpace(CELLS).to_serialized_dict()
    recursive = "L: 1-2\nA -> L(A) | x"
    deep, flat = (GrammarSpace(Grammar(recursive, max_depth=d)).to_serialized_dict() for d in (3, 2))
    assert deep != flat


@pytest.mark.parametrize(
    ("given", "said"),
    [(("A -> a | b",), "grammar is 'A -> a | b'"), ((CELLS, {"x": (0, 1)}), "hyperparameters is {'x'")],
)
def test_what_is_no_grammar_or_no_space_is_refused(given, said):
    with pytest.raises(UserError, match=f"grammar space: {said}.*; give it a "):
        GrammarSpace(*given)


def test_what_is_no_term_is_refused(space):
    with pytest.raises(UserError, match="no OPS -> conv5x5"):
        space.term({"architecture": "(CELL Cell" + " (OPS conv5x5)" * 6 + ")"})
    with pytest.raises(UserError, match="no 'architecture' in"):
        space.term({"rate": 0.1})
    clash = ConfigurationSpace({"architecture": (0, 3)})
    with pytest.raises(UserError, match="rename that hyperparameter"):
        GrammarSpace(CELLS, clash)


@pytest.mark.parametrize(("choices", "weights"), [([1.0, float("inf")], [1, 1]), (["a", "b"], [1, 0])])
def test_hyperparameters_that_no_search_could_log_are_refused(choices, weights):
    with pytest.raises(UserError, match="space: "):
        GrammarSpace(CELLS, ConfigurationSpace({"a": Categorical("a", choices, weights=weights)}))


def test_random_search_runs_on_a_grammar(space, tmp_path):
    problem = CountedConvolutions(space)
    history = search(problem, RandomSearch(problem, 0), Budget(trials=20), tmp_path / "log.jsonl", seed=0)
    assert len({t.configuration["architecture"] for t in history}) == 20
    assert problem.incumbent(history).metrics["share"] == max(t.metrics["share"] for t in history)


@pytest.mark.parametrize("make", [AxBO, Evolution, SmacBohb, Sobol])
def test_methods_for_named_hyperparameters_refuse_a_grammar(space, make):
    with pytest.raises(UserError, match="not on grammar space cell-based") as error:
        make(CountedConvolutions(space), 0)
    assert "\n" not in str(error.value)


def test_a_grid_refuses_a_grammar(space):
    with pytest.raises(UserError, match="grid: works on a ConfigurationSpace"):
        grid(space, {})


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (RandomSearch, {}),
        (RegularizedEvolution, {"pop_size": 6, "tournament_size": 3}),
        (GrammarBO, {"n_init": 6, "pool_size": 20, "generations": (1, 2)}),
    ],
)
def test_what_a_clause_forbids_is_never_proposed(optimizer, options, tmp_path):
    """Neither by a mutation nor by a crossover, and no search ends of it."""
    beside = ConfigurationSpace({"a": [0, 1, 2], "b": [0, 1, 2]})
    clauses = [(0, 1), (0, 2), (1, 0), (1, 1), (2, 2), (2, 0)]  # three of nine are left
    for a, b in clauses:
        beside.add(
            ForbiddenAndConjunction(ForbiddenEqualsClause(beside["a"], a), ForbiddenEqualsClause(beside["b"], b))
        )
    problem = CountedConvolutions(GrammarSpace(CELLS, beside, "cell-based"))
    found = search(problem, optimizer(problem, 0, **options), Budget(trials=20), tmp_path / "run.jsonl", seed=0)
    pairs = {(t.configuration["a"], t.configuration["b"]) for t in found}
    assert len(found) == 20 and not pairs & set(clauses) and len(pairs) > 1
