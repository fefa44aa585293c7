"""The incumbent over what a search has spent."""

from jahslib.analysis.curves import curves
from tests.analysis.conftest import search


def test_curves_follow_the_incumbent_trial_by_trial_from_the_first_full_one():
    course = curves([search([(1, 0.9, 10), (3, 0.5, 10), (3, 0.4, 10), (1, 0.9, 10), (3, 0.7, 10)])], ["top1"])
    assert course.top1.tolist() == [0.5, 0.5, 0.5, 0.7] and course.epochs.tolist() == [4, 7, 8, 11]
    assert course.trials.tolist() == [2, 3, 4, 5] and course.minutes.tolist() == [2, 3, 4, 5]
    assert course.feasible.all()
