"""The incumbent over what a search has spent."""

import pandas as pd

from jahslib.analysis.curves import changes, curves
from tests.analysis.conftest import search


def test_curves_follow_the_incumbent_trial_by_trial_from_the_first_full_one():
    course = curves([search([(1, 0.9, 10), (3, 0.5, 10), (3, 0.4, 10), (1, 0.9, 10), (3, 0.7, 10)])], ["top1"])
    assert course.top1.tolist() == [0.5, 0.5, 0.5, 0.7] and course.epochs.tolist() == [4, 7, 8, 11]
    assert course.trials.tolist() == [2, 3, 4, 5] and course.minutes.tolist() == [2, 3, 4, 5]
    assert course.feasible.all()


def test_changes_leave_a_course_as_it_was_drawn():
    """A step function through the kept rows is that through all rows."""
    trials = [(3, 0.5, 10), (3, 0.4, 10), (3, 0.4, 10), (3, 0.7, 10), (3, 0.6, 10), (3, 0.1, 10)]
    whole = curves([search(trials), search(trials[:1]), search(trials[1:3])], ["top1"])
    whole["seed"] = [0] * 6 + [1] + [2] * 2
    kept = changes(whole.assign(task=None))
    assert kept.groupby("seed").trials.apply(list).to_dict() == {0: [1, 4, 6], 1: [1], 2: [1, 2]}
    filled = whole.drop(columns="top1").merge(kept[["seed", "trials", "top1"]], how="left")
    assert filled.groupby("seed").top1.ffill().tolist() == whole.top1.tolist()
    assert changes(curves([], [])).empty


def test_changes_keep_the_last_row_of_a_method_on_each_task():
    whole = curves([search([(3, 0.5, 10)] * 3)], ["top1"])
    kept = changes(pd.concat([whole.assign(task=task) for task in "ab"], ignore_index=True))
    assert kept[["task", "trials"]].to_numpy().tolist() == [["a", 1], ["a", 3], ["b", 1], ["b", 3]]
