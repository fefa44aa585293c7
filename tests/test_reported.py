import pandas as pd
import pytest

from jahslib import reported
from jahslib.errors import UserError


@pytest.fixture(scope="module")
def study():
    return reported.load("07_constrained_EA")


def row(rows, **wanted):
    found = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_every_key_is_documented(study):
    assert set(study) == set(study["about"]) | {"about", "source"}


def test_tables_are_tidy(study):
    for name, rows in study.items():
        if isinstance(rows, list):
            assert all(list(r) == list(rows[0]) for r in rows), name
            assert len(pd.DataFrame(rows)) == len(rows)


def test_constraint_settings(study):
    assert len(study["constraints"]) == 7
    first = row(study["constraints"], min_precision=0.39, max_size=20_000_000)
    assert (first["params"], first["test_precision"], first["test_top3"]) == (1_012_899, 0.56, 0.903)
    smallest = row(study["constraints"], max_size=2_000_000)
    assert (smallest["params"], smallest["test_precision"], smallest["test_top3"]) == (871_034, 0.492, 0.9)


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


def test_unknown_study_is_refused():
    with pytest.raises(UserError, match="08_none"):
        reported.load("08_none")
