"""Tables of growing networks."""

import pytest

from jahslib.analysis.growth import again_table, evaluations_table, growth_table, shape, space_table, winners_table
from tests.analysis.conftest import final, search


def test_the_space_shows_found_and_reported_incumbents():
    reported = [{"hyperparameter": "conv_trigger_threshold", "incumbent": 0.104}]
    table = space_table([search([(3, 0.5, 10)]), search([(3, 0.5, 10)], seed=7)], reported).set_index("hyperparameter")
    assert table.loc["conv_trigger_threshold", ["seed_0", "seed_7", "reported"]].tolist() == ["0.2", "0.2", "0.104"]
    assert table.loc["learning_rate_init", "range"] == "[0.0001, 0.05], log"
    assert table.loc["fc_trigger_threshold", ["seed_0", "reported"]].tolist() == ["–", "–"]


def test_growth_is_tidy():
    table = growth_table([search([(3, 0.5, 10)], tests=[final(0.8), final(0.7)])])
    assert len(table) == 2 * 3 * 2 and set(table.layer) == {"conv 0", "conv 1", "conv 2"}
    last = table[(table.step == 2) & (table.layer == "conv 1")]
    assert last.width.tolist() == [12, 12] and last.params.tolist() == [5000, 5000]
    assert growth_table([]).empty


def test_a_winner_shows_what_it_became():
    row = winners_table([search([(1, 0.9, 10), (3, 0.5, 10)], tests=[final(0.8), final(0.6)])]).iloc[0]
    assert row.method == "BOHB growing" and row.val_top1 == 0.5 and row.test_top1 == "0.700 ± 0.141"
    assert row.widths == "9-12-14" and row.configurations == 1 and row.epochs == 4 and row.minutes == 2


def test_evaluations_are_the_full_ones():
    table = evaluations_table([search([(1, 0.9, 10), (3, 0.5, 20), (3, 0.6, 30)])])
    assert table.top1.tolist() == [0.5, 0.6] and table.params.tolist() == [20, 30]


@pytest.mark.parametrize(("n_conv", "shown"), [(2, "9-12/20"), (3, "9-12-20")])
def test_widths_with_fully_connected_layers(n_conv, shown):
    trial = final(0.5, (9, 12, 20))
    trial.outputs["folds"][0]["n_conv"] = n_conv
    assert shape([trial]) == shown


def test_what_was_evaluated_again_stands_beside_what_was_found():
    row = again_table([search([(1, 0.9, 10), (3, 0.5, 10)], tests=[final(0.4, params=20.0)])]).iloc[0]
    assert (row.val_top1, row.val_top1_again, row.params, row.params_again) == (0.5, 0.4, 10, 20)
