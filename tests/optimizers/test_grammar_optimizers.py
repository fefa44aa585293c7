"""Optimizers over grammar spaces: the conformance class on architectures beside hyperparameters, and their methods."""

import gc
from functools import partial

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace

from jahslib.core.problem import Fidelity, Objective, Outcome, Problem
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.optimizers import acquisition_pool
from jahslib.optimizers.grammar_bo import GrammarBO, shared_table
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.problems.cells.synthetic_cells import SyntheticCells
from jahslib.problems.function import Function
from jahslib.search import Budget, search
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.space import GrammarSpace, Point
from tests import conftest
from tests.conftest import PRECISION, SIZE
from tests.optimizers import test_optimizers
from tests.optimizers.test_optimizers import searched  # noqa: F401 (of the conformance class)

GRAMMAR = Grammar(
    """
    Linear:   1-2 2-3
    Residual: 1-2 1-3 2-3
    NET -> Linear(NET, OP) | Residual(OP, OP, OP) | Linear(OP, OP)
    OP -> id | zero | conv | pool
    """,
    max_depth=3,
)
FOUR = Grammar("Linear: 1-2 2-3\nNET -> Linear(OP, OP)\nOP -> conv | pool")
CELLS = GrammarSpace(examples.grammar("cell-based"), name="cell-based")
BEST = CELLS.grammar.parse("Cell(conv3x3, zero, conv1x1, conv3x3, conv3x3, id)")


class GrammarToy(conftest.Toy):
    """The toy problem, its accuracy scaled by the share of convolutions, over a recursive grammar."""

    def __init__(self, constraints=(), space=None, **options):
        super().__init__(constraints, space or GrammarSpace(GRAMMAR, conftest.conditional_space()), **options)

    def evaluate(self, job):
        outcome = super().evaluate(job)
        heads = [t.head for t in self.space.term(job.configuration).walk() if not t.children]
        outcome.metrics["accuracy"] *= 0.5 + 0.5 * heads.count("conv") / len(heads)
        return outcome


class Matching(Problem):
    """Accuracy is the share of the cell's edges that are those of `BEST`; near it, every edge counts alike."""

    name = "matching"
    objective = Objective("accuracy")
    fidelity = Fidelity(1, 1)
    space = CELLS

    def evaluate(self, job):
        term = self.space.term(job.configuration)
        return Outcome({"accuracy": share(term)}, 1)


def share(term):
    return float(np.mean([a == b for a, b in zip(term.children, BEST.children, strict=True)]))


def bo(p, seed, **options):
    small = {"n_init": 4, "pool_size": 12, "generations": (2, 3)}
    return GrammarBO(p, seed, **{**small, **options})


OPTIMIZERS = {
    "random search": RandomSearch,
    "regularized evolution": lambda p, seed: RegularizedEvolution(p, seed, pop_size=5, tournament_size=3),
    "BO hWL": bo,
    "BO WL, mutation": lambda p, seed: bo(p, seed, surrogate_model="gp", pool_strategy="mutation", mutate_size=8),
    "BO WL, random": lambda p, seed: bo(
        p, seed, surrogate_model="gp", pool_strategy="random", no_isomorphism=True, log_objective=False
    ),
}


@pytest.fixture(params=OPTIMIZERS, ids=lambda name: name.replace(" ", "-"))
def make(request):
    return OPTIMIZERS[request.param]


@pytest.fixture
def budget(make):
    # A model is fitted for each suggestion past the first few.
    return Budget(trials=25 if make in (OPTIMIZERS["random search"], OPTIMIZERS["regularized evolution"]) else 12)


@pytest.fixture
def toy():
    return GrammarToy([SIZE, PRECISION])


class TestConformanceOnAGrammar(test_optimizers.TestConformance):
    Toy = GrammarToy

    @staticmethod
    def tiny_space():
        return GrammarSpace(FOUR, conftest.tiny_space())


DECISIONS = """
import sys
from pathlib import Path
from tests.optimizers.test_grammar_optimizers import *

lines = test_optimizers.told(OPTIMIZERS, GrammarToy([SIZE, PRECISION]), lambda name: 8, Path(sys.argv[1]))
"""


def test_two_processes_give_the_same_trials_whatever_their_string_hashing(tmp_path):
    here = list(test_optimizers.told(OPTIMIZERS, GrammarToy([SIZE, PRECISION]), lambda name: 8, tmp_path))
    assert len(here) == len(OPTIMIZERS)
    assert here == test_optimizers.told_under_another_hashing(DECISIONS, tmp_path)


def history_of(configurations, problem, fidelity=None, history=None):
    history, fidelity = history or History(), fidelity or problem.fidelity.high
    for configuration in configurations:
        id = history.ask(Suggestion(configuration, fidelity))
        metrics = {"accuracy": share(CELLS.term(configuration))}
        history.finish(Trial(configuration, fidelity, id=id, metrics=metrics, asked=id + 1))
    return history


def cells(n, seed=0):
    rng = np.random.default_rng(seed)
    return [CELLS.sample(rng) for _ in range(n)]


def test_the_population_is_the_last_and_the_best_drawn_is_the_parent():
    """Thirty trials of the optimum are too old; of the last five, a tournament of many draws takes the best."""
    problem = Matching()
    best, rest = Point(BEST).configuration, cells(5)
    history = history_of([best] * 30 + rest, problem)
    optimizer = RegularizedEvolution(problem, 0, pop_size=5, tournament_size=60)
    child = CELLS.term(optimizer.ask(history).configuration)
    parent = max((CELLS.term(c) for c in rest), key=share)

    def distance(a, b):
        return sum(x != y for x, y in zip(a.children, b.children, strict=True))

    assert 1 <= distance(child, parent) <= 3 and distance(child, parent) < distance(child, BEST)
    # The same trials with the optimum among the last five: now it is the parent.
    child = optimizer.ask(history_of([*rest, best], problem)).configuration
    assert 1 <= distance(CELLS.term(child), BEST) <= 3


def test_results_at_low_fidelities_of_a_warm_start_are_neither_parents_nor_modelled():
    """They are not comparable; what was only begun may be trained in full."""
    problem = Matching()
    problem.fidelity = Fidelity(1, 9)
    history = history_of(cells(40), problem, fidelity=1)
    for make in (partial(RegularizedEvolution, pop_size=5), partial(GrammarBO, n_init=5)):
        first = make(problem, 0).ask(history).configuration
        assert first == RandomSearch(problem, 0).ask(history).configuration, "drawn at random, as there is no result"
    both = history_of([Point(BEST).configuration], problem, history=history)
    child = CELLS.term(RegularizedEvolution(problem, 0, pop_size=1).ask(both).configuration)
    assert 1 <= sum(x != y for x, y in zip(child.children, BEST.children, strict=True)) <= 3
    alone = GrammarBO(problem, 0).surrogate(history_of([Point(BEST).configuration], problem))
    assert np.array_equal(GrammarBO(problem, 0).surrogate(both).predict([BEST]), alone.predict([BEST]))


@pytest.mark.parametrize("surrogate_model", ["gp", "gp_hierarchical"])
def test_bayesian_optimisation_learns_what_random_search_does_not(surrogate_model, tmp_path):
    """Twenty trials lead it near the best cell (0.054), of which random search then is far."""
    problem = SyntheticCells()
    optimizer = GrammarBO(problem, 0, surrogate_model=surrogate_model, pool_size=60, generations=(3, 6))
    history = search(problem, optimizer, Budget(trials=20), tmp_path / "log.jsonl", seed=0)
    random = search(problem, RandomSearch(problem, 0), Budget(trials=20), tmp_path / "random.jsonl", seed=0)
    assert problem.cost(problem.incumbent(history)) < 0.12 < problem.cost(problem.incumbent(random))
    assert len({t.configuration["architecture"] for t in history}) == 20


def test_searchers_of_one_seed_begin_with_the_same_random_trials():
    problem, begins = Matching(), []
    for make in (RandomSearch, RegularizedEvolution, GrammarBO):
        optimizer, history = make(problem, 5), History()
        for _ in range(6):
            history.ask(optimizer.ask(history))
        begins.append([s.configuration for s in history.suggestions])
    assert begins[0] == begins[1] == begins[2]


def test_pending_trials_are_avoided():
    """Four workers ask at one moment: their four points are not one and the same, and differ from what one alone gets
    four times."""
    problem = Matching()
    history = history_of(cells(15), problem)
    optimizer = GrammarBO(problem, 0, surrogate_model="gp", pool_size=40, generations=(2, 3))
    asked = []
    for _ in range(4):
        suggestion = optimizer.ask(history)
        asked.append(suggestion.configuration["architecture"])
        history.ask(suggestion)
    assert len(set(asked)) == 4
    known = CELLS.term({"architecture": asked[0]})
    surrogate = optimizer.surrogate(history)
    alone = optimizer.surrogate(history_of(cells(15), problem))
    assert surrogate.predict([known])[1][0] < alone.predict([known])[1][0]


def test_architecture_and_hyperparameters_are_searched_together(tmp_path):
    class Together(SyntheticCells):
        space = GrammarSpace(CELLS.grammar, ConfigurationSpace({"rate": (1e-4, 1.0)}))

        def evaluate(self, job):
            outcome = super().evaluate(job)
            outcome.metrics["val_error"] = min(1, outcome.metrics["val_error"] + abs(job.configuration["rate"] - 0.3))
            return outcome

    problem = Together()
    optimizer = GrammarBO(problem, 0, pool_size=60, generations=(3, 6))
    history = search(problem, optimizer, Budget(trials=25), tmp_path / "log.jsonl", seed=0)
    first = min(problem.cost(t) for t in history.trials[:10])
    best = problem.incumbent(history)
    assert problem.cost(best) < first - 0.05 and best.id >= 10
    assert abs(best.configuration["rate"] - 0.3) < 0.1


def test_no_isomorphism_proposes_no_equal_graph():
    """Two of these cells are one graph, a convolution; the best pool members are its further writings."""
    problem = Matching()
    one, same, other = (
        CELLS.grammar.parse(f"Cell({inside})")
        for inside in (
            "zero, zero, zero, conv3x3, zero, zero",
            "conv3x3, zero, zero, zero, id, zero",
            "zero, zero, zero, conv1x1, zero, zero",
        )
    )
    table = shared_table(CELLS.grammar, False)
    points = [Point(same), Point(other)]
    for option, refused in ((True, [True, False]), (False, [False, False])):
        optimizer = GrammarBO(problem, 0, surrogate_model="gp", no_isomorphism=option)
        assert optimizer._refused(points, table, [one]).tolist() == refused


def test_the_originals_selection_is_no_selection():
    """Each point is selected by its predecessor's value: the pool hardly improves, while the mended one climbs."""

    def reached(original):
        values = []
        for seed in range(5):
            scored = acquisition_pool.Scored(lambda points: np.array([share(p.term) for p in points]), set())
            rng = np.random.default_rng(seed)
            acquisition_pool.evolved(CELLS, [], scored, rng, size=20, generations=(6, 6), original_selection=original)
            values.append(scored.best_value)
        return np.mean(values)

    assert reached(False) > reached(True) + 0.1


def test_the_best_new_point_is_never_a_seen_one():
    seen = {Point(BEST)}
    scored = acquisition_pool.Scored(lambda points: np.array([share(p.term) for p in points]), seen)
    acquisition_pool.evolved(CELLS, [Point(BEST)], scored, np.random.default_rng(0), size=30, generations=(5, 5))
    assert scored.best not in seen and scored.best_value == pytest.approx(5 / 6)


def test_an_evolution_pauses_the_cyclic_garbage_collector_and_leaves_it_as_it_was():
    def failing(points):
        assert not gc.isenabled()
        raise ArithmeticError

    scored = acquisition_pool.Scored(failing, set())
    with pytest.raises(ArithmeticError):
        acquisition_pool.evolved(CELLS, [], scored, np.random.default_rng(0), size=4)
    assert gc.isenabled()


def test_evolution_ends_when_nothing_better_is_found():
    calls = []

    def flat(points):
        calls.append(len(points))
        return np.zeros(len(points))

    acquisition_pool.evolved(
        CELLS, [], acquisition_pool.Scored(flat, set()), np.random.default_rng(0), size=10, generations=(7, 50)
    )
    assert len(calls) == 1 + 7


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"surrogate_model": "rf"}, "surrogate_model: 'rf' is unknown"),
        ({"pool_strategy": "grid"}, "pool_strategy: 'grid' is unknown"),
        ({"pool_size": 1}, "pool_size: 1; give a whole number of at least 2"),
        ({"generations": (5, 2)}, "generations=5 to 2"),
        ({"p_self_crossover": 1.5}, "p_self_crossover: 1.5; give a number from 0 to 1"),
        ({"mutate_size": 500}, "mutate_size=500; give 0 to pool_size=200"),
        ({"maximum_noise": 0}, "maximum_noise: 0; give a number from"),
    ],
)
def test_refuses_bad_settings(bad, said):
    with pytest.raises(UserError, match=said):
        GrammarBO(Matching(), 0, **bad)


def test_refuses_a_space_without_a_grammar_and_bad_populations():
    with pytest.raises(UserError, match="the problem's space is no GrammarSpace"):
        GrammarBO(conftest.Toy(), 0)
    with pytest.raises(UserError, match="tournament_size: 0; give a whole number of at least 1"):
        RegularizedEvolution(Matching(), 0, tournament_size=0)


def test_a_grammar_that_doubles_with_each_level_is_searched_without_being_counted(tmp_path):
    deep = Grammar("Chain: 1-2 2-3\nNET -> Chain(NET, NET) | conv | pool", max_depth=40)
    problem = Function("deep", GrammarSpace(deep), lambda c: 1 / len(c["architecture"]), worst=1.0)
    optimizer = GrammarBO(problem, seed=0, n_init=2, pool_size=4, generations=(0, 1))
    assert len(search(problem, optimizer, Budget(trials=3), tmp_path / "log.jsonl", seed=0)) == 3
