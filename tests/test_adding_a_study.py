"""docs/adding_a_study.md holds a whole study: it runs and gets into the paper as it stands there.

It also runs where the library is installed, in a folder that holds the notebook and nothing else of this project.
"""

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


def write_notebook(path, source):
    cells = []
    for cell in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        tag, source = cell.split("\n", 1)
        cells.append(new_code_cell(source.strip(), metadata={"tags": tag.split()}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the repository to which the guide's files and lines were added."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("jahslib", "paper"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / SECTION).write_text(FILES[SECTION])
    write_notebook(root / NOTEBOOK, FILES[NOTEBOOK])
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


# In a folder of one's own ---------------------------------------------------------------------------------------------

HEIGHT = re.search(r"^def height.*?\n\n\n", FILES[NOTEBOOK], re.DOTALL | re.MULTILINE)[0]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package alone, as a wheel installs it: no file of the project lies beside it."""
    site = tmp_path_factory.mktemp("site-packages")
    shutil.copytree(ROOT / "jahslib", site / "jahslib", ignore=shutil.ignore_patterns("__pycache__"))
    return site


@pytest.fixture
def folder(tmp_path):
    """A notebook, and a module beside it that it imports."""
    source = FILES[NOTEBOOK].replace(HEIGHT, "from valley import height\n\n").replace("90_valley", "valley")
    write_notebook(tmp_path / "notebooks" / "valley.ipynb", source)
    (tmp_path / "notebooks" / "valley.py").write_text(HEIGHT)
    return tmp_path


def run_there(installed, folder, *argv):
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAHSLIB_")}
    env |= {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "jahslib", "run", "--device", "cpu", *argv]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_a_notebook_is_enough(installed, folder):
    first = run_there(installed, folder)
    assert first.returncode == 0, first.stdout + first.stderr
    assert re.search(r"^valley +ok +[\d.]+ +40 ", first.stdout, re.MULTILINE)
    made = files(folder)
    results = "results/smoke/valley"
    assert {f"{results}/{name}" for name in ("records.json", "methods.csv", "executed/valley.ipynb")} <= made.keys()
    assert "figs/smoke/valley/anytime.png" in made
    assert {name.split("/")[0] for name in made} == {"notebooks", "results", "figs"}  # and no paper without its sources

    again = run_there(installed, folder / "notebooks", "--only", "valley")
    assert again.returncode == 0, again.stdout + again.stderr
    kept = [name for name in made if "/logs/" in name or name.endswith((".csv", ".png", ".svg"))]
    assert len(kept) > 8 and {name: files(folder)[name] for name in kept} == {name: made[name] for name in kept}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--only", "90"], "--only: unknown notebook '90'; choose from valley"),
        (["valley.ipynb"], "no notebook 'valley.ipynb'; give the path of an .ipynb file"),
        (
            ["-p", "trial=3"],
            "-p/--parameter: of the selected notebooks, parameter 'trial' is unknown; did you mean 'trials'?",
        ),
        (["notebooks/valley.ipynb", "-p", "trials=many"], "trials: 'many' (str); give"),
        (["notebooks/valley.ipynb", "notebooks/../copy/valley.ipynb"], "two notebooks are named valley.ipynb"),
        (["--python", "python3"], "unrecognized arguments: --python"),
    ],
)
def test_its_options_are_checked_in_the_same_way(argv, message, installed, folder):
    shutil.copytree(folder / "notebooks", folder / "copy")
    before = files(folder).keys()
    refused = run_there(installed, folder, *argv)
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.startswith(f"jahslib run: {message}") and refused.stderr.count("\n") == 1
    assert {name for name in files(folder) if "__pycache__" not in name} == before


def test_a_folder_without_notebooks_says_what_to_give(installed, tmp_path):
    refused = run_there(installed, tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"jahslib run: no notebook in {tmp_path / 'notebooks'}; put one there, or")


def test_a_notebook_outside_of_the_project_leaves_the_project_alone(tree, folder):
    before = files(tree).keys()
    done = run_there(tree, folder / "notebooks", "valley.ipynb", "-p", "trials=6", "--seeds", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "notebooks" / "results" / "smoke" / "valley" / "records.json").exists()
    assert {name for name in files(tree) if "__pycache__" not in name} == {n for n in before if "__pycache__" not in n}
    assert "paper" not in done.stdout
