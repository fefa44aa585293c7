"""Optimizers compared over families of tasks."""

import numpy as np
import pandas as pd
import pytest

from jahslib.analysis import tournament
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.search.runs import AnySearch
from tests.conftest import PRECISION, Toy


def found(values):
    """A table of searches from (family, task, method, seed, score) rows."""
    table = pd.DataFrame(values, columns=["family", "task", "method", "seed", "score"])
    columns = list(tournament.MEASURES)
    return table.assign(**dict.fromkeys(columns, 1.0))


def family(shift, tasks=12, rng=0):
    """Methods whose scores on each task are a common one and a shift with a little noise, two seeds each."""
    rng, rows = np.random.default_rng(rng), []
    for task in range(tasks):
        common = rng.random()
        for method, by in shift.items():
            rows += [("f", f"t{task}", method, seed, common + by + 0.01 * rng.normal()) for seed in (0, 1)]
    return found(rows)


def searched(accuracies, *, method="rs", seed=0, task="t", fidelity=9):
    history = History()
    for i, accuracy in enumerate(accuracies):
        suggestion = Suggestion({"kernel": i}, fidelity)
        id = history.ask(suggestion)
        metrics = {"accuracy": accuracy, "precision": 1.0}
        history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, epochs=9, seconds=2.0, elapsed=2.5 * (i + 1)))
    return AnySearch(method, seed, history, Toy([PRECISION]), task=task, label=method)


def cost(search, trial):
    return 1.0 if trial is None else 1 - trial.metrics["accuracy"]


def test_a_search_is_scored_by_its_incumbent():
    table = tournament.searches_table([searched([0.5, 0.8, 0.6])], {"t": "f"}, cost)
    row = table.iloc[0]
    assert row.score == pytest.approx(0.2) and (row.family, row.full_trainings, row.epochs) == ("f", 3, 27)
    assert row.proposal_seconds == pytest.approx(0.5)


def test_blocks_are_tasks_with_their_mean_and_seeds_where_there_is_one_task():
    rows = [("f", t, m, s, s + 10 * (t == "y")) for t in "xy" for m in ("a", "b") for s in (0, 1)]
    assert tournament.blocks(found(rows)).to_numpy().tolist() == [[0.5, 0.5], [10.5, 10.5]]
    one = found([row for row in rows if row[1] == "x"])
    assert tournament.blocks(one).index.name == "seed" and len(tournament.blocks(one)) == 2


def test_a_method_that_lacks_a_task_is_in_no_comparison():
    rows = [("f", t, m, 0, 1.0) for t in "xy" for m in "ab"] + [("f", "x", "c", 0, 0.0)]
    assert list(tournament.blocks(found(rows))) == ["a", "b"]
    assert set(tournament.standings(found(rows)).method) == {"a", "b"}


def test_standings_order_methods_and_hold_their_interval():
    table = tournament.standings(family({"a": 0.0, "b": 0.3})).set_index("method")
    assert table.rank_mean.to_dict() == {"a": 1.0, "b": 2.0} and set(table.n) == {12}
    assert (table.score_low < table.score_mean).all() and (table.score_mean < table.score_high).all()


def test_what_leads_what_is_behind_and_what_is_not_told_apart():
    table = tournament.leaders(family({"a": 0.0, "b": 0.3, "c": 0.0})).set_index("method")
    assert table.verdict["b"] == "behind" and set(table.verdict[["a", "c"]]) == {"leads", "not told apart"}
    assert table.low["b"] > 0.25


def test_few_tasks_cannot_tell():
    table = tournament.leaders(family({"a": 0.0, "b": 0.3}, tasks=4)).set_index("method")
    assert table.verdict.to_dict() == {"a": "leads", "b": "cannot tell"}


def test_what_to_take_is_the_lowest_mean_with_whom_is_not_told_from_it():
    table = family({"a": 0.0, "rs": 0.3, "c": 0.0})
    curves = table[["family", "method", "seed", "score"]].assign(share=0.25)
    curves.loc[curves.method == "rs", "score"] -= 1  # ahead at first
    row = tournament.choices(table, curves, {"a": "A", "rs": "RS", "c": "C"}, 0.25).iloc[0]
    assert {row["take"], row.not_told_apart} == {"A", "C"} and row.early == "RS" and row.random > row.score + 0.25
    few = tournament.choices(family({"a": 0.0, "b": 0.3}, tasks=4), curves.iloc[:0], {"a": "A", "b": "B"}, 0.25)
    assert few.iloc[0][["take", "not_told_apart", "early"]].tolist() == ["A", "cannot tell", ""]


def test_differences_are_paired_by_task():
    table = tournament.against(family({"rs": 0.0, "a": -0.1, "b": 0.0}), ["rs"]).set_index("method")
    assert table.difference["a"] == pytest.approx(-0.1, abs=0.01) and table.high["a"] < 0 and table.ahead["a"] == 12
    assert table.low["b"] < 0 < table.high["b"] and (table.p_holm >= table.p).all()
    assert table.p["a"] == pytest.approx(2 / 2**12)


def test_friedman_and_nemenyi_are_of_each_family():
    table = tournament.tests_table(tournament.rankings(family({"a": 0.0, "b": 0.3, "c": 0.31}))).iloc[0]
    assert (
        (table.blocks, table.methods, table.pairs) == (12, 3, 3) and table.friedman_p < 0.01 and table.told_apart >= 2
    )


def test_the_course_has_the_score_of_none_until_the_first_full_training():
    curve = tournament.anytime([searched([0.5, 0.8])], {"t": "f"}, cost, {"t": 36.0}, points=4)
    assert curve.share.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.score.tolist() == pytest.approx([0.5, 0.2, 0.2, 0.2])
    late = tournament.anytime([searched([0.5])], {"t": "f"}, cost, {"t": 90.0}, points=20)
    assert late.score.tolist()[:2] == pytest.approx([1.0, 0.5])
    none = tournament.anytime([], {}, cost, {}, points=4)  # no task has a table
    assert none.columns.equals(curve.columns) and none.empty and none.share.dtype == none.score.dtype == float


def test_rungs_are_compared_over_all_promotions_of_a_task():
    own = searched([0.4, 0.5, 0.6], method="bohb", fidelity=1)
    for parent, accuracy in ((1, 0.6), (2, 0.7)):
        suggestion = Suggestion({"kernel": parent}, 3, parent=parent)
        id = own.history.ask(suggestion)
        own.history.finish(Trial(**vars(suggestion), id=id, metrics={"accuracy": accuracy, "precision": 1.0}))
    (row,) = tournament.rungs([own, searched([0.1])], {"t": "f"}).to_dict("records")
    assert (row["method"], row["epochs"], row["next_epochs"], row["n"], row["tau"]) == ("bohb", 1, 3, 2, 1.0)


def test_workers_are_as_busy_and_as_fast_as_their_clock_says():
    def clocked(starts, workers):
        own = searched([0.5] * len(starts))
        trials = [
            Trial(**vars(t) | {"started": at, "seconds": 10.0}) for t, at in zip(own.history, starts, strict=True)
        ]
        own.history.trials[:] = trials
        return own

    table = tournament.workers_table({1: [clocked([0, 10, 20, 30], 1)], 2: [clocked([0, 0, 10, 10], 2)]}, cost)
    assert table.speedup_mean.tolist() == [1, 2] and table.busy_mean.tolist() == [1, 1]
    assert table.hours_mean.tolist() == pytest.approx([40 / 3600, 20 / 3600])
