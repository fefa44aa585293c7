"""The table of methods."""

from jahslib.analysis.methods import by_method, methods_table, ordering
from tests.analysis.conftest import final, search


def test_methods_stand_beside_the_reported_values():
    searches = [
        search([(1, 0.9, 10), (3, 0.5, 10), (3, 0.7, 10)], tests=[final(0.8), final(0.6)]),
        search([(3, 0.6, 10)], seed=1, tests=[final(0.9), final(0.9)]),
        search([(3, 0.6, 10)], method="rs", label="RS", tests=[final(0.5)]),
    ]
    reported = {"bohb": {"accuracy": 0.914, "accuracy_sd": 0.001, "params_thousands": 29.9}}
    first, second = methods_table(searches, reported).itertuples()
    assert (first.method, second.method, first.n, second.n) == ("BOHB growing", "RS", 2, 1)
    assert first.val_top1 == "0.650 ± 0.071"  # the lower fidelity does not count
    assert first.test_top1 == "0.800 ± 0.141" and first.epochs_final == 12
    assert first.reported_test_top1 == 0.914 and first.reported_params == 29_900
    assert second.reported_test_top1 != second.reported_test_top1  # none: NaN
    assert ordering(searches, "top1") == "BOHB growing (0.800), RS (0.500)"
    assert list(by_method(searches)) == ["bohb", "rs"]
