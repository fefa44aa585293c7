"""The regression problem, what it learns from, and the baseline kernel."""

import numpy as np
import pytest
import torch

from jahslib.core.problem import Job
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.problems.cells import synthetic_cells
from jahslib.problems.surrogate_regression import Regression, Source, of_trials, scores, unique
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.graphs import Graph
from jahslib.surrogates.kernels import NasbotKernel, features
from jahslib.surrogates.wl import TermTable

CELLS = examples.grammar("cell-based")


def cells(n, seed=0):
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys(CELLS.sample(rng) for _ in range(2 * n)))[:n]


def regression(n=60, n_test=30, split=0):
    terms = cells(n)
    values = tuple(synthetic_cells.noiseless_error(t) for t in terms)
    return Regression("made up", "cell-based", tuple(map(str, terms)), values, split, n_test)


def fitted(problem, model, n_train):
    return problem.evaluate(Job({"model": model, "n_train": n_train}, (1,), 0)).metrics


def trials(*errors, offset=0):
    """A history of finished random cells."""
    history = History()
    for term, error in zip(cells(len(errors) + offset)[offset:], errors, strict=True):
        configuration = {"architecture": str(term)}
        id = history.ask(Suggestion(configuration, 1))
        status = "failed" if error is None else "ok"
        metrics = {} if error is None else {"val_error": error}
        history.finish(Trial(configuration, 1, id=id, status=status, metrics=metrics))
    return history


class TestRegression:
    @pytest.mark.parametrize("model", ["gp", "gp_nasbot"])
    def test_more_architectures_predict_better(self, model):
        few, many = (np.mean([fitted(regression(split=s), model, n)["kendall"] for s in (0, 1)]) for n in (5, 30))
        assert many > few + 0.02 and many > 0.4

    def test_what_is_predicted_was_not_learnt_from(self):
        with pytest.raises(ValueError, match="they overlap"):
            fitted(regression(), "gp", 31)

    def test_the_split_decides_and_the_jobs_seed_does_not(self):
        problem = regression()
        first, second = (problem.evaluate(Job({"model": "gp", "n_train": 10}, (1,), seed)).metrics for seed in (0, 1))
        assert first == second != fitted(regression(split=1), "gp", 10)

    def test_the_fingerprint_tells_values_apart(self):
        problem, other = regression(), regression()
        other.values = (0.5, *other.values[1:])
        assert problem.describe() != other.describe() and problem.describe() == regression().describe()

    def test_the_fingerprint_does_not_hang_on_the_processors_last_digit(self):
        problem, other = regression(), regression()
        other.values = tuple(float(np.nextafter(v, 1)) for v in problem.values)
        assert problem.values != other.values and problem.describe() == other.describe()

    def test_refuses_too_much_to_predict(self):
        with pytest.raises(UserError, match="n_test=60 of 60"):
            regression(n_test=60)


class TestScores:
    def test_the_likelihood_is_that_of_each_value_under_its_own_variance(self):
        y, mean, deviation = np.array([0.0, 1.0, 3.0]), np.array([0.5, 1.0, 2.0]), np.array([1.0, 2.0, 0.5])
        expected = np.mean(0.5 * np.log(2 * np.pi * deviation**2) + (y - mean) ** 2 / (2 * deviation**2))
        found = scores(mean, deviation, y)
        assert found["nll"] == pytest.approx(expected) and found["kendall"] == found["spearman"] == pytest.approx(1)

    def test_one_value_for_all_has_no_correlation(self):
        assert scores(np.ones(3), np.ones(3), np.arange(3.0))["kendall"] == 0.0


class TestNasbot:
    def test_the_distance_of_two_small_graphs_by_hand(self):
        """in -> a -> out against in -> {a, b} -> out: one operation more (1), in-degrees 1, 1, 0 against 2, 1, 1, 0
        (2), and the same for out-degrees (2)."""
        one = Graph.of(["input", "a", "output"], [0, 1], [1, 2])
        two = Graph.of(["input", "a", "b", "output"], [0, 0, 1, 2], [1, 2, 3, 3])
        rows = features([one, two])
        assert np.abs(rows[0] - rows[1]).sum() == 5

    def test_it_is_a_kernel_that_knows_its_terms(self):
        table, terms = TermTable(CELLS, ()), cells(20)
        kernel = NasbotKernel(table, terms)
        ids = torch.from_numpy(table.index(terms).astype(float))[:, None]
        gram = kernel(ids).to_dense()
        assert torch.allclose(gram.diagonal(), torch.ones(20, dtype=gram.dtype)) and torch.equal(gram, gram.T)
        assert torch.linalg.eigvalsh(gram).min() > -1e-9
        unknown = torch.tensor([[float(table.index(cells(30)[25:])[0])]], dtype=torch.float64)
        with pytest.raises(UserError, match="no features of the term"):
            kernel(unknown, ids).to_dense()


class TestSource:
    def test_an_architecture_counts_once_and_failed_ones_do_not(self):
        learnt = unique([trials(0.5, None, 0.3), trials(0.4, offset=2)])
        found = of_trials("made up", "cell-based", learnt, log=True)
        assert (found.source, found.grammar) == ("made up", "cell-based")
        assert len(set(found.architectures)) == len(found.values) == 2
        assert found.values == pytest.approx(np.log([0.5, 0.4]), abs=1e-6)
        assert of_trials("made up", "cell-based", learnt, log=False).values == (0.5, 0.4)

    def test_what_is_learnt_from_does_not_hang_on_which_worker_was_first(self):
        found = trials(0.5, 0.4, 0.3)
        assert unique([reversed(found.trials)]) == unique([found]) == found.trials

    def test_sizes_without_room_and_a_second_kernel_on_cells_are_left_out(self):
        source = Source("made up", "cell-based", ("x",) * 30, (0.0,) * 30)
        points = source.points(["gp_hierarchical", "gp", "gp_nasbot"], (5, 20, 40), 10)
        assert points == [{"model": m, "n_train": n} for n in (5, 20) for m in ("gp", "gp_nasbot")]
        hierarchical = source._replace(grammar="hierarchical").points(["gp_hierarchical"], (5, 21), 10)
        assert hierarchical == [{"model": "gp_hierarchical", "n_train": 5}]
