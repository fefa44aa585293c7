"""Tables of growing networks."""

import pytest

from jahslib.analysis.growth import growth_table, shape
from tests.analysis.conftest import final, search


def test_growth_is_tidy():
    table = growth_table([search([(3, 0.5, 10)], tests=[final(0.8), final(0.7)])])
    assert len(table) == 2 * 3 * 2 and set(table.layer) == {"conv 0", "conv 1", "conv 2"}
    last = table[(table.step == 2) & (table.layer == "conv 1")]
    assert last.width.tolist() == [12, 12] and last.params.tolist() == [5000, 5000]
    assert growth_table([]).empty


@pytest.mark.parametrize(("n_conv", "shown"), [(2, "9-12/20"), (3, "9-12-20")])
def test_widths_with_fully_connected_layers(n_conv, shown):
    trial = final(0.5, (9, 12, 20))
    trial.outputs["folds"][0]["n_conv"] = n_conv
    assert shape([trial]) == shown
