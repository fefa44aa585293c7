"""Notebooks' experiments are read without running them."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jahslib.errors import UserError
from jahslib.experiments.notebook import cells, experiment, is_described, notebooks

PARAMETERS = 'profile = "smoke"\ndevice = "cpu"\nsize = None'
SETTINGS = """
from jahslib.experiments.settings import Settings
settings = Settings(globals(), {"smoke": {"size": 1}, "cpu": {"size": 2}}, size=int)
"""


@pytest.fixture
def write(tmp_path):
    def written(*experiment):
        made = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell("trained = 1 / 0")]
        made += [new_code_cell(source, metadata={"tags": ["experiment"]}) for source in experiment]
        nbformat.write(new_notebook(cells=made), tmp_path / "90_toy.ipynb")
        return tmp_path / "90_toy.ipynb"

    return written


def test_only_its_cells_are_executed_with_the_parameters_given(write):
    path = write(SETTINGS, "doubled = 2 * settings.size")
    assert is_described(path) and len(cells(path)) == 4
    assert experiment(path, {}).doubled == 2 and experiment(path, {"profile": "cpu"}).doubled == 4
    assert experiment(path, {"size": 7}).doubled == 14


def test_a_parameter_that_the_notebook_lacks_is_refused(write):
    with pytest.raises(UserError, match="parameter 'sise' is unknown; did you mean 'size'"):
        experiment(write(SETTINGS), {"sise": 3})


def test_a_cell_that_fails_is_named(write):
    with pytest.raises(UserError, match=r"90_toy: the cell 'nothing = settings\.sise' fails: AttributeError"):
        experiment(write(SETTINGS, "nothing = settings.sise"), {})


def test_what_is_no_notebook_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.ipynb: its cells cannot be read"):
        cells(tmp_path / "none.ipynb")


def test_the_project_has_eight():
    assert [name[:2] for name in notebooks()] == [f"{i:02}" for i in range(1, 9)]
