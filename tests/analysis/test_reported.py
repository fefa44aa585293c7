import json

import pandas as pd
import pytest
from ConfigSpace import Configuration as CSConfiguration

from benchmarks import original_runs
from jahslib.analysis import reported
from jahslib.data import places
from jahslib.errors import UserError

ORIGINAL_RUNS = "flower17_original_runs.jsonl.gz"


@pytest.fixture(scope="module")
def study():
    return reported.load("07_constrained_EA")


def row(rows, **wanted):
    found = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("notebook", json.loads(reported.FILE.read_text()))
def test_every_key_is_documented_and_every_table_tidy(notebook):
    stored = reported.load(notebook)
    assert set(stored) == set(stored["about"]) | {"about", "source"}
    for name, rows in stored.items():
        if isinstance(rows, list) and isinstance(rows[0], dict):
            assert all(list(r) == list(rows[0]) for r in rows), name


def test_constraint_settings(study):
    assert len(study["constraints"]) == 7
    first = row(study["constraints"], min_precision=0.39, max_size=20_000_000)
    assert (first["params"], first["test_precision"], first["test_top3"]) == (1_012_899, 0.56, 0.903)
    smallest = row(study["constraints"], max_size=2_000_000)
    assert (smallest["params"], smallest["test_precision"], smallest["test_top3"]) == (871_034, 0.492, 0.9)


def test_published_configurations_have_the_reported_sizes(study):
    from jahslib.models import flower_cnn

    for row_number, reported_row in enumerate(study["constraints"], start=1):
        configuration = study["configurations"][str(row_number)]
        assert flower_cnn.count_parameters(configuration, channels=3, size=16, classes=17) == reported_row["params"]
        CSConfiguration(flower_cnn.space(), values=configuration).check_valid_configuration()
    printed = study["best_configuration"]
    assert printed == flower_cnn.ROW_1 == pytest.approx(study["configurations"]["1"], rel=1e-3)


def test_slides(study):
    rs = row(study["test"], method="RS")
    assert (rs["test_precision"], rs["test_top3"]) == (0.569, 0.876)
    for pair in study["mcnemar"]:  # a significant difference is one whose statistic passes the critical value
        assert pair["significant"] == (pair["statistic"] > study["mcnemar_critical"])


def test_shares_agree_with_their_seeds(study):
    by_seed = pd.DataFrame(study["shares_by_seed"]).groupby("method")["share"].mean()
    for printed in study["shares"]:
        assert by_seed[printed["method"]] == pytest.approx(printed["mean"], abs=5e-4)


def test_final_curves_agree_with_the_runs(study):
    runs = pd.DataFrame(study["cv"])
    assert len(runs) == 9
    for method, group in runs.groupby("method"):
        end = row(study["curves"], metric="best_top3", method=method, seconds=82_800)
        assert group["top3"].mean() == pytest.approx(end["mean"], abs=1e-3)
        assert group["top3"].std(ddof=0) == pytest.approx(end["sd"], abs=1e-3)


def test_the_published_curves_average_the_wrong_runs(study):
    runs = pd.DataFrame(study["cv"])
    drawn = {r["label"]: r["drawn"] for r in study["published_curves"]}
    assert runs["top3"].mean() == pytest.approx(drawn["RS"], abs=1e-3)
    assert runs.query("method != 'RS'")["top3"].mean() == pytest.approx(drawn["EA"], abs=1e-3)


def test_the_recounted_runs_agree_with_what_was_published_of_them(study):
    recounted = pd.DataFrame(study["original_runs"])
    runs = pd.DataFrame(study["cv"]).assign(method=lambda t: t.method.str.lower().str.replace("-", "_"))
    both = recounted.merge(runs, on=["method", "seed"], suffixes=("", "_published"))
    assert len(both) == 9
    assert (both.evaluations == both.evaluations_published).all()
    assert both.best.tolist() == pytest.approx(both.top3.tolist(), abs=1e-4)
    ends = pd.DataFrame(study["original_courses"]).groupby(["method", "seed"]).last().reset_index()
    assert ends.merge(recounted, on=["method", "seed", "evaluations"]).eval("top3 == best").tolist() == [True] * 9


@pytest.mark.skipif(not places.at_hand(ORIGINAL_RUNS), reason="the original's run records are not at hand")
def test_the_original_runs_are_recounted_from_their_records(study):
    found = original_runs.recounted(places.obtain("original runs", [ORIGINAL_RUNS])[1])
    assert found == {name: study[name] for name in found}


def test_unknown_study_is_refused():
    with pytest.raises(UserError, match="08_none"):
        reported.load("08_none")


class TestGrowing:
    """Studies 01 and 02."""

    @pytest.fixture
    def search(self):
        return reported.load("01_growing_bohb")

    @pytest.fixture
    def thresholds(self):
        return reported.load("02_growing_thresholds")

    def test_the_incumbent_is_a_point_of_the_reported_space(self, search):
        for r in search["space"]:
            value, (low, high) = r["incumbent"], r["range"]
            assert low <= r["default"] <= high and (value is None or low <= value <= high)
            assert search["incumbent"].get(r["hyperparameter"]) == value
        assert search["incumbent"].keys() == {
            r["hyperparameter"] for r in search["space"] if r["incumbent"] is not None
        }
        assert (search["search"]["configurations"], search["search"]["static_configurations"]) == (60, 171)

    def test_the_library_searches_the_reported_space(self, search):
        from jahslib.problems.growing_convnet import INCUMBENT, space

        ours = space("joint")
        for r in search["space"]:
            hyperparameter = ours[r["hyperparameter"]]
            assert [hyperparameter.lower, hyperparameter.upper] == r["range"]
            assert hyperparameter.default_value == r["default"]
            assert getattr(hyperparameter, "log", False) == ("log" in r["type"])
        assert len(ours) == 5 and INCUMBENT == search["incumbent"]

    def test_the_sweep_is_complete_and_agrees_with_its_folds(self, thresholds):
        rows = thresholds["sweep"]
        assert [r["q"] for r in rows if r["type"] == "threshold"] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
        assert {r["type"] for r in rows} == {"baseline", "NORTH-Select", "threshold"}
        for r in rows:
            params, accuracy = pd.Series(r["params_by_fold"]) / 1000, pd.Series(r["accuracy_by_fold"])
            assert len(params) == len(accuracy) == 5
            assert params.mean() == pytest.approx(r["params_thousands"], abs=0.1)
            assert params.std(ddof=0) == pytest.approx(r["params_sd"], abs=0.1)
            assert accuracy.mean() == pytest.approx(r["accuracy"], abs=5.1e-4)
            assert accuracy.std(ddof=0) == pytest.approx(r["accuracy_sd"], abs=5.1e-4)

    @pytest.mark.parametrize(("q", "params", "accuracy"), [(1.0, 2.0, 0.887), (0.8, 6.4, 0.9), (0.4, 205.4, 0.914)])
    def test_points_of_the_sweep(self, thresholds, q, params, accuracy):
        point = row(thresholds["sweep"], q=q)
        assert (point["params_thousands"], point["accuracy"]) == (params, accuracy)

    def test_the_test_runs_agree_with_what_is_printed_of_them(self, thresholds):
        printed = {r["type"]: r["accuracy"] for r in thresholds["test"]}
        names = ("baseline", "BOHB static", "BOHB growing", "grown, retrained statically")
        assert printed == dict(zip(names, (0.907, 0.909, 0.914, 0.915), strict=True))
        for r in thresholds["test"]:
            runs = pd.Series(r["runs"])
            assert len(runs) == 5 and runs.mean() == pytest.approx(r["accuracy"], abs=5.1e-4)
            assert runs.std(ddof=0) == pytest.approx(r["accuracy_sd"], abs=5.1e-4)

    def test_the_stated_significance_follows_from_the_runs(self, thresholds):
        from statsmodels.stats.weightstats import ztest

        stated = thresholds["significance"]
        baseline, growing = (row(thresholds["test"], type=stated[k])["runs"] for k in ("against", "type"))
        _, p = ztest(growing, value=pd.Series(baseline).mean(), alternative="larger")
        assert (p < stated["alpha"]) == stated["rejected"]
