"""The table of methods."""

import numpy as np
import pandas as pd
import pytest

from jahslib.analysis.methods import (
    COSTS,
    by_method,
    incumbent,
    measured,
    methods_table,
    on_test,
    summary,
    training_noise,
    with_reported,
)
from tests.analysis.conftest import final, search

MEASURES = {"val_top1": incumbent("top1"), "test_top1": on_test("top1", 100), **COSTS}


@pytest.fixture
def searches():
    return [
        search([(1, 0.9, 10), (3, 0.5, 10), (3, 0.7, 10)], tests=[final(0.8), final(0.6)]),
        search([(3, 0.6, 10)], seed=1, tests=[final(0.9), final(0.9)]),
        search([(3, 0.6, 10)], method="rs", label="RS", tests=[final(0.5)]),
    ]


def test_every_search_has_a_row_of_its_measures(searches):
    table = measured(searches, MEASURES)
    assert list(table.columns[:4]) == ["method", "seed", "val_top1", "test_top1"]  # there is one task
    assert table.val_top1.tolist() == [0.7, 0.6, 0.6]  # the lower fidelity does not count
    assert table.test_top1.tolist() == pytest.approx([70, 90, 50])
    assert table.epochs_search.tolist() == [7, 3, 3] and table.epochs_final.tolist() == [6, 6, 3]
    assert table.from_model.isna().all()  # the logs do not tell
    assert measured([], MEASURES).empty and list(by_method(searches)) == ["bohb", "rs"]


def test_methods_stand_as_numbers_beside_the_reported_values(searches):
    reported = {"BOHB growing": {"test_top1_mean": 91.4}}
    first, second = methods_table(measured(searches, MEASURES), reported).itertuples()
    assert (first.method, first.n, second.method, second.n) == ("BOHB growing", 2, "RS", 1)
    assert first.test_top1_mean == pytest.approx(80) and first.test_top1_sd == pytest.approx(np.std([70, 90], ddof=1))
    assert second.test_top1_mean == pytest.approx(50) and np.isnan(second.test_top1_sd)
    assert first.reported_test_top1_mean == 91.4 and np.isnan(second.reported_test_top1_mean)


def test_the_noise_of_a_training_is_pooled_over_incumbents_that_were_trained_again(searches):
    (row,) = training_noise(searches, ["top1"]).itertuples()
    assert (row.metric, row.incumbents, row.trainings) == ("top1", 2, 2)
    assert row.sd == pytest.approx(np.sqrt((0.2**2 / 2 + 0) / 2))
    assert training_noise(searches[2:], ["top1"]).empty  # a single training tells nothing


def test_a_summary_keeps_the_order_of_groups_and_counts_units():
    table = pd.DataFrame({"task": list("bbaa"), "split": [0, 1, 0, 1], "tau": [0.1, 0.3, 0.5, np.nan]})
    found = summary(table, ["task"], "split")
    assert list(found) == ["task", "n", "tau_mean", "tau_sd"] and found.task.tolist() == ["b", "a"]
    assert found.tau_mean.tolist() == pytest.approx([0.2, 0.5]) and found.n.tolist() == [2, 2]
    assert list(summary(table.iloc[:0], ["task"], "split")) == ["task", "n", "tau_mean", "tau_sd"]


def test_what_is_reported_is_found_by_one_or_more_columns():
    table = pd.DataFrame({"floor": [0.3, 0.4], "size": [10, 20]})
    found = with_reported(table, {(0.4, 20): {"params": 7}}, ["floor", "size"])
    assert np.isnan(found.reported_params[0]) and found.reported_params[1] == 7
