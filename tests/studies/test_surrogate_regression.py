"""Study 04: the regression problem, its data, its tables; and the baseline kernel."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from jahslib import studies
from jahslib.core.problem import Job
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.problems.cells import nasbench201, synthetic_cells
from jahslib.problems.surrogate_regression import Regression, scores
from jahslib.reporting.report import Report
from jahslib.search.runs import run_all
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.graphs import Graph
from jahslib.studies import surrogate_regression as study
from jahslib.studies import surrogate_regression_results as results
from jahslib.surrogates.nasbot import NasbotKernel, features
from jahslib.surrogates.wl import TermTable

CELLS = examples.grammar("cell-based")


def options(**given):
    return study.options(**{"profile": "smoke", "device": "cpu"} | given)


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
        one = Graph(["input", "a", "output"], [0, 1], [1, 2])
        two = Graph(["input", "a", "b", "output"], [0, 0, 1, 2], [1, 2, 3, 3])
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


class TestStudy:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves(self, profile):
        assert options(profile=profile).profile == profile

    def test_the_paper_profile_is_the_originals_protocol(self):
        o = options(profile="paper")
        assert o.n_train == (10, 25, 50, 75, 100, 150, 200, 300, 400) and o.seeds == tuple(range(20))
        assert o.n_test == 500 and o.log and not o.rs_only

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"surrogate_model": "rf"}, "surrogate_model: 'rf' is unknown"),
            ({"n_train": 1}, "n_train, n_test: give at least 2"),
            ({"tables": "mnist"}, "tables: 'mnist' is unknown"),
            ({"random_trials": 0}, "random_trials: 0, .* nothing is left to learn from"),
            ({"random_seed": -1}, "random_seed: -1"),
        ],
    )
    def test_refuses_bad_options(self, bad, said):
        with pytest.raises(UserError, match=said):
            options(**bad)

    def test_without_the_table_it_is_left_out_and_that_is_said(self, monkeypatch):
        monkeypatch.setattr(nasbench201, "at_hand", lambda: False)
        o = options(profile="cpu")
        assert o.tables == () and "left out" in o.note

    def test_checks_write_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        studies.check(study.NOTEBOOK, {"profile": "smoke", "device": "cpu"})
        assert not list(tmp_path.iterdir())

    def test_an_architecture_counts_once_and_failed_ones_do_not(self):
        histories = {"a": trials(0.5, None, 0.3), "b": trials(0.4, offset=2)}
        (source,) = study.sources(options(search_space="cell-based"), histories)
        name, grammar, architectures, values = source
        assert (name, grammar) == ("nb201_addNIST-cell-based", "cell-based")
        assert len(set(architectures)) == len(values) == 2
        assert values == pytest.approx(np.log([0.5, 0.4]), abs=1e-6)
        assert next(study.sources(options(search_space="cell-based", log=False), histories))[3] == (0.5, 0.4)

    def test_sizes_without_room_and_a_second_kernel_on_cells_are_left_out(self):
        histories = {"a": trials(*np.linspace(0.1, 0.9, 30))}
        o = options(search_space="cell-based", n_train=(5, 20, 40), n_test=500)
        runs = list(study.regressions(o, histories))
        assert [r.problem.n_test for r in runs] == [10, 10]
        points = runs[0].optimizer.configurations
        assert {p["n_train"] for p in points} == {5, 20} and {p["model"] for p in points} == {"gp", "gp_nasbot"}

    def test_fits_run_and_resume(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        histories = {"a": trials(*np.linspace(0.1, 0.9, 20))}
        runs = list(study.regressions(options(search_space="cell-based", surrogate_model="gp"), histories))
        found = study.finished(runs, run_all(runs))
        results.check_claims(options(), found)
        table = results.fits(found)
        assert len(table) == 2 * 2 and set(table.model) == {"gp"}
        before = {r.log: r.log.read_bytes() for r in runs}
        again = results.fits(study.finished(runs, run_all(runs)))
        assert again.equals(table) and {r.log: r.log.read_bytes() for r in runs} == before

    def test_predictions_and_observations_are_kept(self, tmp_path):
        histories = {"a": trials(*np.linspace(0.1, 0.9, 20))}
        o = options(search_space="cell-based", surrogate_model=("gp", "gp_nasbot"), working_directory=str(tmp_path))
        runs = list(study.regressions(o, histories))
        assert all(run.log.parent == tmp_path / study.NOTEBOOK / "logs" for run in runs)
        found = study.finished(runs, run_all(runs))
        table = results.predictions(found)
        assert len(table) == 2 * 2 * 6 and not table.isna().any().any()  # splits, sizes, architectures predicted
        values = next(study.sources(o, histories))[3]
        assert table.observed.tolist() == [values[i] for i in table.architecture]
        fits = results.fits(found)
        for row in fits.itertuples():  # the scores are those of the predictions
            own = table[(table.split == row.split) & (table.n_train == row.n_train)]
            again = scores(own[f"{row.model}_mean"], own[f"{row.model}_sd"], own.observed)
            assert again["pearson"] == pytest.approx(row.pearson, abs=1e-3)
            assert again["nll"] == pytest.approx(row.nll, rel=1e-3, abs=1e-3)
        record = Report(study.NOTEBOOK, "smoke")
        results.record_values(record, o, found)
        assert "predictions" in record._records

    def test_a_log_without_predictions_has_no_such_table(self, tmp_path):
        histories = {"a": trials(*np.linspace(0.1, 0.9, 20))}
        o = options(search_space="cell-based", surrogate_model="gp", working_directory=str(tmp_path))
        runs = list(study.regressions(o, histories))
        found = study.finished(runs, run_all(runs))
        for s in found:
            s.history.trials[:] = [replace(t, outputs={"noise": 0.1, "h": 1}) for t in s.history]
        record = Report(study.NOTEBOOK, "smoke")
        results.record_values(record, o, found)
        assert results.predictions(found).empty and "predictions" not in record._records

    def test_the_working_directory_is_where_study_03s_trials_are_read(self, tmp_path):
        o = options(search_logs=True, working_directory=str(tmp_path))
        logs = {run.study: run.log.parent for run in study.training_runs(o)}
        assert logs == {"03_grammar_search": tmp_path / "logs", study.NOTEBOOK: tmp_path / study.NOTEBOOK / "logs"}


class TestResults:
    @pytest.fixture
    def table(self):

        rows = [
            {"source": "s", "split": split, "model": model, "n_train": n, "n_test": 5, "seconds": 1.0}
            | {"kendall": 0.5 + lead + split / 100, "spearman": 0.5, "pearson": 0.5, "nll": 1.0}
            for split in range(8)
            for n, ahead in ((10, 0.1), (25, 0.0))
            for model, lead in (("gp_hierarchical", ahead), ("gp", 0.0))
        ]
        return pd.DataFrame(rows)

    def test_pairs_are_by_split(self, table):
        pairs = results.paired_table(table).set_index("n_train")
        assert pairs.difference.to_dict() == pytest.approx({10: 0.1, 25: 0.0}, abs=1e-9)
        assert pairs.hwl_ahead[10] == "8 of 8" and pairs.p[10] < 0.05 and pairs.p[25] == 1.0

    def test_the_verdict_in_words(self, table):
        assert results.verdict(table) == "10: hWL ahead (+0.100); 25: not told apart (+0.000)"
        assert results.verdict(table[table.model == "gp"]) == "no source with folding levels"

    def test_the_figure_has_a_row_a_source(self, table):
        figure = results.curves(table)
        assert len(figure.axes) == 2 and figure.axes[0].get_title(loc="left") == "s"

    def test_the_papers_table_has_the_ends_and_the_middle_of_each_source(self):
        sizes = {"a": [10, 25, 50, 75, 100], "b": [10, 25]}
        table = pd.DataFrame([{"source": s, "n_train": n, "model": m} for s in sizes for n in sizes[s] for m in "xy"])
        kept = results.main_scores(table)
        assert kept[kept.source == "a"].n_train.tolist() == [10, 10, 50, 50, 100, 100]
        assert kept[kept.source == "b"].n_train.tolist() == [10, 10, 25, 25]
