"""docs/adding_a_study.md holds a whole study: it runs and gets into the paper as it stands there."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jahslib.paths import ROOT

GUIDE = (ROOT / "docs" / "adding_a_study.md").read_text()
FILES = dict(re.findall(r"^`([\w/.]+)`[^\n]*:\n\n```\w+\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE))
NOTEBOOK, SECTION = "notebooks/90_valley.ipynb", "paper/study_90.typ"
ENTRIES = {  # file -> the line before, and the beginning of the line that the guide adds
    "paper/main.typ": ("#let sections = (\n", '  "90"'),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the repository to which the guide's files and lines were added."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("jahslib", "paper"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "notebooks").mkdir()
    (root / SECTION).write_text(FILES[SECTION])
    cells = []
    for cell in re.split(r"^# %%", FILES[NOTEBOOK], flags=re.MULTILINE)[1:]:
        tag, source = cell.split("\n", 1)
        cells.append(new_code_cell(source.strip(), metadata={"tags": tag.split()}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), root / NOTEBOOK)
    for name, (before, beginning) in ENTRIES.items():
        (added,) = re.findall(rf"^{re.escape(beginning)}.*\n", GUIDE, re.MULTILINE)
        text = (root / name).read_text()
        assert text.count(before) == 1
        (root / name).write_text(text.replace(before, before + added))
    return root


def run(tree, out, *argv):
    env = os.environ | {"PYTHONPATH": str(tree), "JAHSLIB_RESULTS": str(out), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "jahslib", "run", "--device", "cpu", *argv]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_the_study_runs_and_gets_into_the_paper(tree, tmp_path):
    done = run(tree, tmp_path, "--only", "90")
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results" / "smoke" / "90_valley"
    records = json.loads((results / "records.json").read_text())["records"]
    quoted = set(re.findall(r'(?:study-value\(|"90", )"(\w+)"', FILES[SECTION]))
    assert quoted <= set(records)
    assert len(list((results / "logs").glob("*.jsonl"))) == 4
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")


def test_its_options_are_checked_before_anything_is_written(tree, tmp_path):
    refused = run(tree, tmp_path, "--only", "90", "-p", "methods=['ax']")
    assert refused.returncode == 2
    assert refused.stderr == "run_all.sh: methods: 'ax' is unknown; known: ea, rs\n"
    assert not list(tmp_path.iterdir())
