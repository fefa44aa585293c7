"""Tables of searches over grammars."""

import numpy as np
import pandas as pd
import pytest

from jahslib.analysis import cells
from jahslib.analysis.claims import check_no_repeats
from jahslib.analysis.curves import curves, mean_course
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.problems.cells.synthetic_cells import SyntheticCells
from jahslib.search.runs import AnySearch


def searched(errors, method="gp", seed=0, test=None):
    """A search on the made-up table with these validation errors; the test error is 0.1 more unless given."""
    history = History()
    for i, error in enumerate(errors):
        id = history.ask(Suggestion({"architecture": f"{method} {i}"}, 1))
        metrics = {} if error is None else {"val_error": error, "test_error": (test or {}).get(i, error + 0.1)}
        status = "failed" if error is None else "ok"
        trial = Trial({"architecture": f"{method} {i}"}, 1, id=id, status=status, metrics=metrics, epochs=1)
        history.finish(trial)
    label = {"gp": "BO, WL"}.get(method, method)
    return AnySearch(
        method, seed, history, SyntheticCells(), task="synthetic-cells", label=label, name=f"{method}-{seed}"
    )


def test_the_course_is_the_mean_of_the_incumbents_error_and_failures_are_the_worst():
    assert mean_course(searched([None, 0.5, 0.7, 0.3])) == pytest.approx(np.mean([1.0, 0.5, 0.5, 0.3]))


def test_agreement_is_between_what_searches_see_and_what_they_are_judged_by():
    (row,) = cells.agreement_table([SyntheticCells()]).itertuples()
    errors = SyntheticCells().errors()
    seen_best = errors.sort_values("val_error").test_error.iloc[0]
    assert row.cells == 15_284 and 0 < row.tau_best < row.tau < 1
    assert row.reachable == pytest.approx(100 * seen_best, abs=0.01) and row.reachable >= row.best_test
    assert row.rank == 1 + sum(errors.test_error < seen_best)


def test_curves_begin_with_the_first_that_succeeded():
    rows = curves([searched([None, 0.5, 0.7, 0.3], test={3: 0.6})], ["val_error", "test_error"])
    assert rows.trials.tolist() == [2, 3, 4] and rows.val_error.tolist() == [0.5, 0.5, 0.3]
    assert rows.test_error.tolist() == [0.6, 0.6, 0.6]  # the incumbent's, not the best seen
    assert set(rows.task) == {"synthetic-cells"}


def test_a_repeated_configuration_fails_the_claims():
    s = searched([0.5, 0.4])
    check_no_repeats([s])
    s.history.trials[1].configuration["architecture"] = "gp 0"
    with pytest.raises(AssertionError, match="evaluated a configuration twice"):
        check_no_repeats([s])


def test_sizes_of_the_example_grammars():
    sizes = cells.spaces_table().set_index("space")
    assert sizes.terms["activation"] == 393_762_525 and pd.isna(sizes.terms["hierarchical"])
