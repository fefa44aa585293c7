"""Tables of searches over grammars."""

import numpy as np
import pytest

from jahslib.analysis import cells, pairs
from jahslib.analysis.claims import check_no_repeats
from jahslib.analysis.curves import mean_course, task_curves
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.problems.cells.synthetic_cells import SyntheticCells
from jahslib.search.runs import AnySearch

METRICS = ("val_error", "test_error")
ERRORS = {"val_error": "validation error", "test_error": "test error"}
COMPARED = {m: lambda s, m=m: s.incumbent.metrics[m] for m in METRICS} | {"course": mean_course}


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
    table = cells.looked_up([searched([None, 0.5, 0.7, 0.3])])
    assert table.course[0] == f"{100 * np.mean([1.0, 0.5, 0.5, 0.3]):.2f}"


def test_the_test_error_is_that_of_the_incumbent_and_not_the_best_seen():
    table = cells.looked_up([searched([0.5, 0.3, 0.4], test={0: 0.2, 1: 0.6, 2: 0.25})])
    best = 100 * SyntheticCells().best_test()
    assert table.test_error[0] == "60.00" and table.regret[0] == f"{60 - best:.2f}"


def test_agreement_is_between_what_searches_see_and_what_they_are_judged_by():
    (row,) = cells.agreement_table([SyntheticCells()]).itertuples()
    errors = SyntheticCells().errors()
    seen_best = errors.sort_values("val_error").test_error.iloc[0]
    assert row.cells == 15_284 and 0 < row.tau_best < row.tau < 1
    assert row.reachable == pytest.approx(100 * seen_best, abs=0.01) and row.reachable >= row.best_test
    assert row.rank == 1 + sum(errors.test_error < seen_best)


def test_curves_begin_with_the_first_that_succeeded():
    rows = task_curves([searched([None, 0.5, 0.7, 0.3])], METRICS)
    assert rows.evaluations.tolist() == [2, 3, 4] and rows.val_error.tolist() == [0.5, 0.5, 0.3]
    assert set(rows.panel) == {"synthetic-cells"}


def test_methods_are_ordered_by_the_test_error_of_their_incumbents():
    found = [searched([0.5]), searched([0.3], "random"), searched([0.4], "random", 1)]
    assert cells.ordering(found) == "synthetic-cells: random (45.00), BO, WL (60.00)"


def test_pairs_are_by_seed_and_negative_where_the_first_is_ahead():
    found = []
    for seed in range(8):
        found += [searched([0.5, 0.2 + seed / 100], seed=seed), searched([0.5, 0.3 + seed / 100], "random", seed)]
    found.append(searched([0.9], "random", 99))  # which has no partner
    table = pairs.paired_table(found, ("gp",), COMPARED)
    rows = table.set_index("metric")
    assert rows.difference["val_error"] == rows.difference["test_error"] == pytest.approx(-10)
    assert set(table.n) == {8} and set(table.pair) == {"BO, WL − random"}
    assert rows.p["val_error"] < 0.05 and rows.high["val_error"] < 0
    assert pairs.verdicts(table, ERRORS) == "BO, WL against random: ahead in 2 of 2 comparisons (p ≤ 0.0078)"
    assert pairs.judged(table, ERRORS).verdict.tolist() == ["ahead", "ahead"]


def test_equal_methods_are_not_told_apart():
    found = [searched([0.5], m, seed) for m in ("gp", "random") for seed in range(5)]
    said = pairs.verdicts(pairs.paired_table(found, ("gp",), COMPARED), ERRORS)
    assert "not told apart" in said and "ahead" not in said and "behind" not in said


def test_without_a_rival_there_is_no_pair():
    table = pairs.paired_table([searched([0.5])], ("gp",), COMPARED)
    assert table.empty and pairs.verdicts(table, ERRORS) == "" and pairs.judged(table, ERRORS).empty


def test_a_repeated_configuration_fails_the_claims():
    s = searched([0.5, 0.4])
    check_no_repeats([s])
    s.history.trials[1].configuration["architecture"] = "gp 0"
    with pytest.raises(AssertionError, match="evaluated a configuration twice"):
        check_no_repeats([s])


def test_sizes_of_the_example_grammars():
    sizes = cells.spaces_table().set_index("space")
    assert sizes.terms["activation"] == "393,762,525" and sizes.terms["hierarchical"] == ""
