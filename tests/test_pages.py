"""docs/pages.py turns executed notebooks into Markdown, and the pages in docs/studies/ say what the notebooks say."""

import importlib.util
import io
import json
import re
from base64 import b64encode
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from jahslib.errors import UserError
from jahslib.paths import ROOT, write

PAGES = sorted((ROOT / "docs" / "studies").glob("*.md"))

_spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_notebooks_prose_and_committed_figures(page):
    text = page.read_text("utf-8")
    for cell in nbformat.read(ROOT / "notebooks" / f"{page.stem}.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            *_, last = pages.prose(cell.source).split("\n", 1)
            assert last.strip() in text, "the prose was changed: run docs/pages.py again"
    figures = re.findall(r"!\[(.+?)\]\((.+?)\)", text)
    assert figures and all((page.parent / target).is_file() for _, target in figures)


def test_every_study_has_a_page():
    assert [page.stem for page in PAGES] == [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))]


CLAIM = "growing networks test better than those whose widths are fixed"
HTML = pd.DataFrame({"claim": [CLAIM], "n": [3], "p": [float("nan")]}).to_html()


def drawn(corner: tuple[int, int], scale: int = 1) -> bytes:
    """A white image with a black square."""
    image = Image.new("RGB", (60 * scale, 40 * scale), "white")
    image.paste("black", (5 * scale, 5 * scale, 9 * scale, 9 * scale))
    image.paste("gray", tuple(scale * c for c in (*corner, corner[0] + 20, corner[1] + 15)))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Path:
    """A study of a table and a figure, run and with its outputs committed."""
    monkeypatch.setattr(pages.paths, "ROOT", tmp_path)
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    cells = [
        new_markdown_cell("# 90 · Tiny\n\nHow large is $\\operatorname{a}(x)$?\n\n$$a\\, b$$"),
        new_code_cell("import math"),
        new_code_cell("claims"),
        new_code_cell('record.figure("one", figure, "The first")'),
    ]
    file, results = tmp_path / "notebooks" / "90_tiny.ipynb", tmp_path / "results" / "cpu" / "90_tiny"
    write(file, nbformat.writes(new_notebook(cells=cells)))
    cells[2].outputs = [new_output("execute_result", {"text/html": HTML})]
    cells[3].outputs = [new_output("display_data", {"image/png": b64encode(drawn((30, 20), 3)).decode()})]
    write(results / "executed" / "90_tiny.ipynb", nbformat.writes(new_notebook(cells=cells)))
    write(results / "claims.csv", f"claim,n\n{CLAIM},3\n")
    records = {name: {"kind": "figure", "about": f"The {name}"} for name in ("first", "second")}
    write(results / "records.json", json.dumps({"records": records}))
    write(tmp_path / "figs" / "cpu" / "90_tiny" / "first.png", drawn((30, 20)))
    write(tmp_path / "figs" / "cpu" / "90_tiny" / "second.png", drawn((15, 10)))
    return file


def test_a_page_has_equations_tables_and_the_figure_that_was_shown(notebook):
    page = pages.study(notebook, "cpu")
    assert page.startswith("# 90 · Tiny\n\n*The [notebook](../../notebooks/90_tiny.ipynb)")
    assert "$\\mathrm{a}(x)$" in page and "```math\na\\thinspace  b\n```" in page
    assert "import math" not in page
    assert f"| claim | n | p |\n| --- | --: | --: |\n| {CLAIM} | 3 | – |" in page  # pandas had cut the claim
    assert "![The first](../../figs/cpu/90_tiny/first.png)" in page and "second" not in page


def test_a_cell_changed_since_it_ran_is_refused(notebook):
    notebook.write_text(notebook.read_text().replace('"claims"', '"other"'))
    with pytest.raises(UserError, match="run it again"):
        pages.study(notebook, "cpu")


def test_a_figure_that_is_not_committed_is_refused(notebook):
    write(notebook.parent.parent / "figs" / "cpu" / "90_tiny" / "first.png", drawn((40, 2)))
    with pytest.raises(UserError, match="run it again"):
        pages.study(notebook, "cpu")


def test_levels_of_a_table_become_one_header_and_full_rows():
    table = pd.DataFrame({("here", "mean"): [1, 2], ("there", "mean"): [3, 4]})
    table.index = pd.MultiIndex.from_tuples([("x", 0), ("x", 1)], names=["of", "seed"])
    assert pages.table(table.to_html(), {}).splitlines() == [
        "| of | seed | here, mean | there, mean |",
        "| --- | --: | --: | --: |",
        "| x | 0 | 1 | 3 |",
        "| x | 1 | 2 | 4 |",
    ]
