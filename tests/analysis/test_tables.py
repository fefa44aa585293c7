"""What the tables and claims of several studies share."""

from dataclasses import replace

import numpy as np
import pytest

from jahslib.analysis import claims, tables
from jahslib.analysis.curves import curves
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.problems.growing_convnet import GrowingConvNets
from jahslib.search.runs import AnySearch
from tests.analysis.conftest import backwards
from tests.conftest import PRECISION, Toy


class Split(Toy):
    data, split = "toys", "validation"


def search(*trials):
    """A search of trials given as (accuracy, precision, whether whole) or a status; each takes 2 epochs, 30 seconds."""
    history = History()
    for i, given in enumerate(trials):
        ok = not isinstance(given, str)
        whole = not ok or given[2]
        suggestion = Suggestion({"kernel": i}, 9 if whole else 3, final=whole)
        id = history.ask(suggestion)
        metrics = {"accuracy": given[0], "precision": given[1]} if ok else {}
        status = "ok" if ok else given
        history.finish(
            Trial(**vars(suggestion), id=id, status=status, metrics=metrics, epochs=2.0, elapsed=30.0 * (i + 1))
        )
    return AnySearch("rs", 0, history, Split([PRECISION]))


def test_the_course_follows_the_incumbent_from_the_first_on():
    s = search("failed", (0.9, 0.9, False), (0.9, 0.1, True), (0.3, 0.6, True), "failed", (0.5, 0.6, True))
    found = [(at.trials, at.epochs, at.minutes, at.incumbent.id) for at in tables.course(s)]
    # What was not trained to the end never leads; a feasible trial displaces a better one that is not.
    assert found == [(3, 6.0, 1.5, 2), (4, 8.0, 2.0, 3), (5, 10.0, 2.5, 3), (6, 12.0, 3.0, 5)]
    assert curves([s], ["accuracy"]).feasible.tolist() == [False, True, True, True]


def test_of_equals_the_one_proposed_first_is_the_incumbent_whichever_worker_was_first():
    there = search((0.5, 0.6, True), (0.5, 0.6, True), (0.4, 0.6, True))
    (back,) = backwards([there])
    assert there.incumbent.id == back.incumbent.id == list(tables.course(back))[-1].incumbent.id == 0
    assert [t.id for t in back.full] == [0, 1, 2]


def test_of_repeated_trainings_the_mean_stands_in_tables_as_for_the_incumbent():
    s = search((0.9, 0.6, True), (0.1, 0.6, True), (0.6, 0.6, True), (0.6, 0.6, True), (0.8, 0.6, True))
    twice = History()
    for trial in s.history:  # two trainings each of two configurations, and one of a third
        twice.ask(trial.suggestion())
        twice.finish(replace(trial, configuration={"kernel": trial.id // 2}))
    s.problem.repeats = 2
    s = replace(s, history=twice)
    assert [t.metrics["accuracy"] for t in s.full] == [0.5, 0.6]
    assert [at.incumbent.metrics["accuracy"] for at in tables.course(s)] == [0.5, 0.5, 0.6, 0.6]
    claims.check_searches([s], 10.0)


def test_evaluations_stand_as_they_were_proposed_with_the_failed_ones_where_asked_for():
    s = search((0.5, 0.6, True), "failed", (0.9, 0.6, False), (0.4, 0.6, True))
    columns = {"trial": lambda s, t: t.id, "accuracy": lambda s, t: t.metrics.get("accuracy")}
    table = tables.evaluations_table(backwards([s]), columns)
    assert table.to_dict("list") == {"method": ["rs"] * 2, "seed": [0, 0], "trial": [0, 3], "accuracy": [0.5, 0.4]}
    whole = tables.evaluations_table(backwards([replace(s, task="toys")]), columns, failed=True)
    assert whole.task.eq("toys").all() and whole.trial.tolist() == [0, 1, 3] and whole.accuracy.isna().sum() == 1


def test_means_are_over_trials():
    assert tables.mean_of(search((0.2, 0.6, True), (0.4, 0.6, True)).full, "accuracy") == pytest.approx(0.3)


def test_the_feasible_share_is_of_full_trainings_that_succeeded():
    share = tables.feasible_share
    assert share(search((0.9, 0.1, True), (0.5, 0.6, True), (0.7, 0.6, False), "failed")) == 0.5


def test_claims_of_searches_hold_or_name_the_search():
    s = search((0.3, 0.6, True), (0.5, 0.6, True))
    claims.check_searches([s], epochs=4)
    with pytest.raises(AssertionError, match=r"rs on toys with seed 0 overspent: 4\.0 epochs"):
        claims.check_searches([s], epochs=3)
    s.problem.split = "test"
    with pytest.raises(AssertionError, match="saw the test split"):
        claims.check_searches([s], epochs=4)

    class Wrong(AnySearch):
        incumbent = s.history.trials[0]

    wrong = Wrong(**vars(replace(s, problem=Split([PRECISION]))))
    with pytest.raises(AssertionError, match="1 trials are better than its incumbent"):
        claims.check_searches([wrong], epochs=4)


def test_the_space_has_ranges_defaults_and_the_values_of_configurations():
    space = GrowingConvNets(data="mnist5k", per_class=30).space
    found = tables.space_table(space, {"seed_0": {"learning_rate_init": 0.02}, "reported": {"n_conv_layers": 4}})
    rows = found.set_index("hyperparameter")
    assert rows.loc["learning_rate_init", ["lower", "upper", "log", "default", "seed_0"]].tolist() == [
        *(0.0001, 0.05, True, 0.01, 0.02)
    ]
    assert rows.reported["n_conv_layers"] == 4 and np.isnan(rows.reported["learning_rate_init"])
