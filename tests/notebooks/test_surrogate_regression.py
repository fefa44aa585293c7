"""Notebook 04: what its cells plan, read and refuse."""

from types import SimpleNamespace

import numpy as np
import pytest

from jahslib.analysis import regression
from jahslib.errors import UserError
from jahslib.experiments.notebook import check, experiment
from jahslib.problems.cells import nasbench201, synthetic_cells
from jahslib.problems.surrogate_regression import Source, scores
from tests.problems.test_surrogate_regression import cells

NOTEBOOK = "04_surrogate_regression"


def of(**given):
    return experiment(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | given)


def learnt(n=20):
    terms = cells(n)
    values = tuple(synthetic_cells.noiseless_error(t) for t in terms)
    return Source("made up", "cell-based", tuple(map(str, terms)), values)


@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_every_profile_resolves(profile, monkeypatch):
    monkeypatch.setattr(nasbench201, "at_hand", lambda: True)
    settings = of(profile=profile, tables=()).settings
    assert settings.profile == profile
    assert settings.left_out == ({} if profile == "smoke" else {"tables": list(nasbench201.DATA)})


def test_the_paper_profile_is_the_originals_protocol():
    s = of(profile="paper", tables=()).settings
    assert s.n_train == (10, 25, 50, 75, 100, 150, 200, 300, 400) and s.seeds == tuple(range(20))
    assert s.n_test == 500 and s.log and not s.rs_only


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"surrogate_model": "rf"}, "surrogate_model: 'rf' is unknown"),
        ({"n_train": 1}, "n_train: 1 .*greater than or equal to 2"),
        ({"n_train": ()}, "n_train: .*at least 1 item"),
        ({"n_test": 1}, "n_test: 1 .*greater than or equal to 2"),
        ({"tables": "mnist"}, "tables: 'mnist' is unknown"),
        ({"random_trials": 0}, "random_trials: 0, .* nothing is left to learn from"),
        ({"random_seed": -1}, "random_seed: -1"),
        ({"objective": "mnist"}, "objective: 'mnist' is unknown"),
        ({"search_space": "darts"}, "search_space: none of nb201_addNIST's is among those given"),
        ({"training": {"width": 0}}, "width: 0"),
    ],
)
def test_refuses_what_cannot_work_before_anything_is_written(bad, said, tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    with pytest.raises(UserError, match=said):
        check(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
    assert not list(tmp_path.iterdir())


def test_without_the_table_it_is_left_out_and_that_is_said(monkeypatch):
    monkeypatch.setattr(nasbench201, "at_hand", lambda: False)
    n = of(profile="cpu")
    assert n.table_plan == [] and "left out" in n.settings.note
    assert n.settings.left_out == {"tables": list(nasbench201.DATA)}


def test_checks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    check(NOTEBOOK, {"profile": "smoke", "device": "cpu"})
    assert not list(tmp_path.iterdir())


def test_networks_are_study_03s_and_random_ones_of_the_same_problem(tmp_path):
    n = of(search_logs=True, working_directory=str(tmp_path), training={"n_train": 24, "width": 4})
    logs = {run.study: run.log.parent for run in (*n.study.reads, *n.random_plan)}
    assert logs == {"03_grammar_search": tmp_path / "logs", NOTEBOOK: tmp_path / NOTEBOOK / "logs"}
    assert {run.problem.n_train for run in n.study.reads} == {24} and n.random_plan[0].problem is n.problem
    assert {run.method for run in n.study.reads} == {"random_search", "regularized_evolution", "gp_hierarchical"}
    assert {run.method for run in of(search_logs=True, rs_only=True).study.reads} == {"random_search"}
    assert of().study.reads == [] and of(search_logs=True, random_trials=0).random_plan == []


def test_the_first_source_is_random_and_pools_with_searches_leave_each_searcher_out_once():
    n, methods = of(), ("random_search", "regularized_evolution", "gp_hierarchical", "random_search")
    trained = [SimpleNamespace(method=method) for method in methods]
    random, evolution, bo, further = trained
    assert list(n.pools(trained).items()) == [
        (n.RANDOM, [random, further]),
        (n.source, trained),
        (f"{n.WITHOUT}random", [evolution, bo]),
        (f"{n.WITHOUT}evolution", [random, bo, further]),
        (f"{n.WITHOUT}BO", [random, evolution, further]),
    ]
    assert list(n.pools([random, further])) == [n.RANDOM] and n.pools([]) == {}


def test_an_objective_with_a_space_of_its_own_is_learnt_from_too():
    (run,) = of(objective="act_cifar10", search_space="activation").random_plan
    assert run.problem.grammar == "activation" and run.log.stem == "random-act_digits-activation-seed0"


def test_no_more_is_predicted_than_a_third_of_what_there_is():
    runs = of(n_test=500).regressions(learnt(30))
    assert [r.problem.n_test for r in runs] == [10, 10] and [r.problem.split for r in runs] == [0, 1]
    assert of(n_train=500).regressions(learnt(30)) == []


def test_fits_run_and_resume_and_keep_what_they_predict(tmp_path):
    n = of(surrogate_model=("gp", "gp_nasbot"), working_directory=str(tmp_path))
    source = learnt()
    runs = n.regressions(source)
    assert all(run.log.parent == tmp_path / NOTEBOOK / "logs" for run in runs)
    found = n.study.run(runs)
    before = {r.log: r.log.read_bytes() for r in runs}
    fits, table = regression.fits(found), regression.predictions(found)
    assert regression.fits(n.study.run(runs)).equals(fits) and {r.log: r.log.read_bytes() for r in runs} == before
    assert len(fits) == 2 * 2 * 2 and set(fits.model) == {"gp", "gp_nasbot"}
    assert len(table) == 2 * 2 * 6 and not table.isna().any().any()  # splits, sizes, architectures predicted
    assert table.observed.tolist() == [source.values[i] for i in table.architecture]
    for row in fits.itertuples():  # the scores are those of the predictions
        own = table[(table.split == row.split) & (table.n_train == row.n_train)]
        again = scores(own[f"{row.model}_mean"], own[f"{row.model}_sd"], own.observed)
        assert again["pearson"] == pytest.approx(row.pearson, abs=1e-3)
        assert again["nll"] == pytest.approx(row.nll, rel=1e-3, abs=1e-3)
    assert np.isfinite(fits.nll).all()
