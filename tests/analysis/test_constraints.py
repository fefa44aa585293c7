"""Tables of searches under constraints."""

from dataclasses import replace

import pandas as pd
import pytest

from jahslib.analysis import constraints
from jahslib.analysis.methods import with_reported
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.search.runs import AnySearch
from tests.analysis.conftest import backwards

PROBLEM = ConstrainedCNN(data="digits", max_epochs=4, max_model_size=2e4, min_precision=0.2)


def search(rows, method="ea_hb", label="EA-HB", seed=0, problem=PROBLEM, tests=()):
    """Of (top3, precision) full evaluations, each of four epochs."""
    history = History()
    for top3, precision in rows:
        suggestion = Suggestion({"batch_size": 200}, 4)
        id = history.ask(suggestion)
        metrics = {"top3": top3, "batchwise_precision": precision, "macro_precision": precision, "params": 10}
        history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, epochs=4, elapsed=id + 1.0, asked=id + 1))
    return AnySearch(method, seed, history, problem, label=label, name=f"{method}-seed{seed}", tests=tests)


def final(value):
    names = ("top3", "top3_without_leaked", "batchwise_precision", "macro_precision", "params")
    return Trial({}, 4, epochs=4, metrics=dict.fromkeys(names, value))


def test_precision_caps_are_the_originals():
    table = constraints.caps([4, 16, 64, 128, 160, 200, 240, 280, 290, 300, 340]).round(3)
    assert list(table.highest_batchwise_precision) == [
        *[0.059, 0.092, 0.225, 0.383, 0.446, 0.516, 0.585, 0.709, 0.779, 0.792, 1.0]
    ]


def test_the_population_follows_the_feasible_first_order():
    searches = [search([(0.9, 0.0), (0.5, 0.3), (0.7, 0.25), (0.6, 0.1)]), search([(0.5, 0.3)], "ea", "EA", 1)]
    table = constraints.populations(searches, size=2)
    course = table[table.method == "ea_hb"]
    assert list(course.best_acc) == [0.9, 0.5, 0.7, 0.7]
    assert list(course.avg_acc) == pytest.approx([0.9, 0.7, 0.6, 0.6])
    assert list(course.epochs) == [4, 8, 12, 16] and list(60 * course.minutes) == pytest.approx([1, 2, 3, 4])
    assert table.iloc[-1][["epochs", "method", "seed"]].tolist() == [4, "ea", 1]


def test_what_stands_by_step_does_not_hang_on_which_worker_was_first():
    rows = [(0.9, 0.0), (0.5, 0.3), (0.7, 0.25), (0.5, 0.3)]
    searches = [search(rows)]
    evolution = PublishedEvolution(PROBLEM, 0, pop_size=2, num_children=1)
    there, back = (constraints.steps_table(s[0], evolution) for s in (searches, backwards(searches)))
    assert there.step.tolist() == back.step.tolist() == [0, 1, 2] and back.best_acc.equals(there.best_acc)


def test_a_row_has_the_constraints_of_its_own_search_and_what_is_reported_for_them():
    limits = {(0.42, 2e7): 1897658, (0.31, 2e5): 2251076, (0.35, 2e5): None}
    searches = [
        search([(0.5, 0.3)], problem=replace(PROBLEM, min_precision=floor, max_model_size=size), tests=[final(0.5)])
        for floor, size in limits
    ]
    reported = {pair: {"params": params} for pair, params in reversed(limits.items()) if params}
    table = with_reported(constraints.constraints_table(searches), reported, ["min_precision", "max_size"])
    assert list(zip(table.min_precision, table.max_size, strict=True)) == list(limits)
    assert [None if pd.isna(value) else int(value) for value in table.reported_params] == list(limits.values())
    assert not table.feasible.any() and set(table.test_top3_mean) == {0.5} and set(table.n) == {1}


def test_every_training_of_a_configuration_has_a_row():
    table = constraints.trainings_table({"default": [final(0.5), final(0.7)]})
    assert table.training.tolist() == [0, 1] and table.test_top3.tolist() == [0.5, 0.7]
    assert list(constraints.trainings_table({}).columns[:2]) == ["configuration", "training"]


def test_the_courses_incumbent_is_of_its_own_problem_and_judged_by_the_limits():
    history = History()
    for top3, precision in ((0.9, 0.1), (0.8, 0.3)):
        suggestion = Suggestion({"n_channels_conv_1": 9, "n_channels_conv_0": 7, "learning_rate_init": 0.1}, 4)
        id = history.ask(suggestion)
        metrics = {"top3": top3, "batchwise_precision": precision, "params": 10}
        history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, epochs=4, asked=id + 1))
    found = AnySearch("course", 3, history, replace(PROBLEM, max_model_size=None, min_precision=None))
    (row,) = constraints.course_table([found], PROBLEM).itertuples()
    assert (row.seed, row.val_top3, row.feasible, row.epochs, row.widths) == (3, 0.9, False, 8, "7-9")
    assert row.configurations == 1 and constraints.course_table([], PROBLEM).empty
