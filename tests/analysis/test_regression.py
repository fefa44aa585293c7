"""Tables of surrogates that predict architectures."""

from dataclasses import replace

import pandas as pd
import pytest

from jahslib.analysis import regression
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.figures.comparison import learning_curves
from jahslib.problems.surrogate_regression import METRICS, Regression
from jahslib.search.runs import AnySearch
from tests.analysis.conftest import backwards


@pytest.fixture
def table():
    rows = [
        {"source": "s", "split": split, "model": model, "n_train": n, "n_test": 5, "seconds": 1.0}
        | {"kendall": 0.5 + lead + split / 100, "spearman": 0.5, "pearson": 0.5, "nll": 1.0}
        for split in range(8)
        for n, ahead in ((10, 0.1), (25, 0.0))
        for model, lead in (("gp_hierarchical", ahead), ("gp", 0.0))
    ]
    return pd.DataFrame(rows)


def test_the_figure_has_a_row_a_source(table):
    figure = learning_curves(table, {"kendall": "τ", "nll": "NLL"}, {"gp_hierarchical": "hWL", "gp": "WL"})
    assert len(figure.axes) == 2 and figure.axes[0].get_title(loc="left") == "s"


def test_only_a_likelihood_that_leaps_is_drawn_on_a_logarithmic_axis(table):
    for worst, scale in ((-2.0, "linear"), (300.0, "symlog")):
        drawn = learning_curves(table.assign(nll=worst), {"nll": "NLL"}, {"gp": "WL"})
        assert drawn.axes[0].get_yscale() == scale


def test_the_papers_table_has_the_ends_and_the_middle_of_each_source():
    sizes = {"a": [10, 25, 50, 75, 100], "b": [10, 25]}
    table = pd.DataFrame([{"source": s, "n_train": n, "model": m} for s in sizes for n in sizes[s] for m in "xy"])
    kept = regression.main_scores(table)
    assert kept[kept.source == "a"].n_train.tolist() == [10, 10, 50, 50, 100, 100]
    assert kept[kept.source == "b"].n_train.tolist() == [10, 10, 25, 25]


@pytest.fixture
def searches():
    """One split, two models."""
    history, problem = History(), Regression("s", "cell-based", ("a", "b", "c"), (0.1, 0.2, 0.3), 0, 2)
    for model in ("gp_hierarchical", "gp"):
        id = history.ask(suggestion := Suggestion({"model": model, "n_train": 1}, 1))
        outputs = {"mean": [0.1, 0.2], "deviation": [1.0, 1.0]}
        history.finish(Trial(**vars(suggestion), id=id, metrics=dict.fromkeys(METRICS, 0.5), outputs=outputs))
    return [AnySearch("regression", 0, history, problem)]


def test_a_log_without_predictions_has_no_such_table(searches):
    assert len(regression.predictions(searches)) == 2 and len(regression.fits(searches)) == 2
    trials = searches[0].history.trials
    trials[:] = [replace(t, outputs={"noise": 0.1, "h": 1}) for t in trials]
    assert regression.predictions(searches).empty and len(regression.fits(searches)) == 2


@pytest.mark.parametrize("table", [regression.fits, regression.predictions])
def test_tables_do_not_hang_on_which_fit_was_done_first(searches, table):
    assert table(backwards(searches)).equals(table(searches))
