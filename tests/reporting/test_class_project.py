"""Study 07's files in the original's form, made from searches of seconds."""

import json

import pandas as pd
import pytest

from jahslib.core.trials import Trial
from jahslib.experiments.notebook import experiment
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.reporting.class_project import run_name, write_result, write_runs


@pytest.mark.parametrize(("split", "file"), [("test", "result_test.json"), ("validation", "result_cv.json")])
def test_a_result_is_the_mean_over_trainings_by_the_problems_precision(split, file, tmp_path):
    task = ConstrainedCNN(data="digits", split=split, precision="macro_precision")
    rows = ({"params": 100, "top3": top3, "macro_precision": p} for top3, p in ((0.5, 0.25), (0.75, 0.5)))
    path = write_result(tmp_path, task, [Trial({}, 4, metrics=metrics) for metrics in rows])
    assert path == tmp_path / file
    assert json.loads(path.read_text()) == {"model_size": 100, "precision": 0.375, "top3_accuracy": 0.625}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of each evolution and of random search: (4 + 3 steps of 2) trainings, and what Hyperband makes."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("runs")
        patch.setenv("JAHSLIB_RESULTS", str(place))
        given = {"profile": "smoke", "device": "cpu", "methods": ["ea_hb", "ea", "rs"], "epoch_budget": 40}
        made = experiment("07_constrained_EA", given)
        searches = made.study.run(made.plan)
        written = write_runs(place / "runs", made.plan, searches)
        assert written == write_runs(place / "runs", made.plan, searches), "names depend on the trials alone"
        found = {run.method: (s, run.optimizer) for run, s in zip(made.plan, searches, strict=True)}
        names = {m: run_name(s, None if m == "rs" else optimizer) for m, (s, optimizer) in found.items()}
        yield {m: s for m, (s, _) in found.items()}, names, {f.name: f for f in written}


def test_names_say_what_the_originals_say(searched):
    _, names, files = searched
    assert len(files) == 9
    limits = "minPrecision_0.2_maxModelSize_20000.0_seed_0_date_20"
    assert names["ea_hb"].startswith(f"popSize_4_numChildren_2_hyperband_True_{limits}")
    assert names["ea"].startswith(f"popSize_4_numChildren_2_hyperband_False_{limits}")
    assert names["rs"].startswith(f"rs_{limits}")
    name = names["ea_hb"]
    assert {f"automl_run_{name}.json", f"opt_cfg_{name}.json", f"{name}.csv"} <= set(files)


def test_the_json_has_every_full_training(searched):
    searches, names, files = searched
    for method, s in searches.items():
        rows = json.loads(files[f"automl_run_{names[method]}.json"].read_text())
        assert [set(row) for row in rows] == [{"configuration", "top3", "precision", "num_params"}] * len(s.full)
        for row, t in zip(rows, s.full, strict=True):
            assert (row["configuration"], row["top3"]) == (t.configuration, t.metrics["top3"])
            assert (row["precision"], row["num_params"]) == (t.metrics["batchwise_precision"], t.metrics["params"])
        assert json.loads(files[f"opt_cfg_{names[method]}.json"].read_text()) == s.incumbent.configuration


@pytest.mark.parametrize("method", ["ea", "ea_hb"])
def test_the_csv_has_a_row_a_step(searched, method):
    searches, names, files = searched
    s = searches[method]
    table = pd.read_csv(files[f"{names[method]}.csv"])
    assert list(table.columns) == ["avg_acc", "best_acc", "avg_prec", "best_prec", "step", "time"]
    assert list(table.step) == list(range(len(table))) and len(table) > 1
    first = sorted(s.full[:4], key=s.problem.rank)
    assert table.avg_acc[0] == pytest.approx(sum(t.metrics["top3"] for t in first) / 4)
    assert table.time[0] == s.full[3].elapsed
    last = sorted(s.full, key=s.problem.rank)[:4]
    assert table.best_acc.iloc[-1] == last[0].metrics["top3"] == s.incumbent.metrics["top3"]
    assert table.avg_prec.iloc[-1] == pytest.approx(sum(t.metrics["batchwise_precision"] for t in last) / 4)
    if method == "ea":
        assert len(table) == 1 + -(-(len(s.full) - 4) // 2)
        assert table.time[1] == s.full[5].elapsed
    else:  # one step of the plan 4@1 -> 2@2 -> 1@4, 3@2 -> 1@4, 3@4
        assert table.time[1] == s.full[min(8, len(s.full) - 1)].elapsed


def test_random_search_has_no_averages_and_a_row_a_training(searched):
    searches, names, files = searched
    table = pd.read_csv(files[f"{names['rs']}.csv"])
    assert list(table.columns) == ["best_acc", "best_prec", "step", "time"] and len(table) == len(searches["rs"].full)
