"""The committed notebooks: executed whole in smoke, in order, with no error and one `parameters` cell each."""

import ast
import re

import nbformat
import pytest

from jahslib.experiments.settings import assigned
from jahslib.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_every_cell_was_run_once_in_order(notebook):
    """nbval runs but never compares a cell without a count."""
    assert [c.execution_count for c in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))


def test_no_cell_failed_or_warned(notebook):
    for cell in code_cells(notebook):
        assert not [o for o in cell.outputs if o.output_type == "error"]
        assert not [o for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]


def test_parameters_are_the_smoke_profile(notebook):
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign)
    }
    assert values["profile"] == "smoke"
    assert {"device", "workers", "scheduler", "seeds", "fresh"} <= set(values)


def test_no_machine_path_or_volatile_output(notebook):
    text = nbformat.writes(notebook)
    assert not re.search(r"/(tmp|home|root)/|0x[0-9a-f]{8}|it/s", text)
    assert notebook.metadata.language_info.name == "python"


def test_methods_live_in_the_library(notebook):
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef)
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 10


def test_no_cell_gives_a_parameters_name_another_meaning(notebook):
    """`Settings` reads the names again where a reader runs its cell a second time."""
    if not any("experiment" in c.metadata.get("tags", []) for c in notebook.cells):
        pytest.skip("its module says what is run")
    parameters, *others = (assigned(c.source) for c in code_cells(notebook))
    assert not parameters & set().union(*others)
