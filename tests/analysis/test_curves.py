"""The incumbent over what a search has spent."""

from jahslib.analysis.tables import incumbent_curves
from tests.analysis.conftest import search


def test_curves_follow_the_incumbent():
    curve = incumbent_curves([search([(1, 0.9, 10), (3, 0.5, 10), (3, 0.4, 10), (3, 0.7, 10)])], "top1")
    assert curve.top1.tolist() == [0.5, 0.5, 0.7] and curve.epochs.tolist() == [4, 7, 10]
    assert curve.minutes.tolist() == [2, 3, 4]
