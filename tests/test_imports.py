"""Who may know of whom: studies of everything, problems of models and data, optimizers of spaces alone."""

import ast
from pathlib import Path

import pytest

import jahslib

ROOT = Path(jahslib.__file__).parent
ABOVE = {"studies", "report", "paper", "runner", "plots", "comparison"}  # what nothing below may know of
FORBIDDEN = {
    "spaces": ABOVE | {"search", "optimizers", "problems", "models", "training", "data", "grammars"},
    "grammars": ABOVE | {"search", "optimizers", "problems", "models", "training", "data"},
    "optimizers": ABOVE | {"search", "problems", "models", "training", "data"},
    "loop": ABOVE | {"optimizers", "problems", "models", "training", "data", "grammars", "search"},
    "search": ABOVE | {"optimizers", "problems", "models", "training", "data", "grammars"},
    "problems": ABOVE | {"search", "optimizers"},
    "models": ABOVE | {"search", "optimizers", "problems", "training", "data"},
    "training": ABOVE | {"search", "optimizers", "problems", "models", "data", "grammars"},
    "data": ABOVE | {"search", "optimizers", "problems", "models", "training", "grammars"},
    "experiments": {"runner", "paper", "plots", "comparison", "report"},
    "analysis": {"experiments", "runner", "paper", "plots", "comparison", "report"},
    "plots": {"studies", "report", "search", "optimizers", "problems", "models", "training", "data"},
    "report": {"studies", "paper", "runner", "search", "optimizers", "problems", "models", "training", "data"},
}


def imported(file: Path) -> set[str]:
    """Modules and packages of jahslib that a file imports, anywhere in it, by the first part of their names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("jahslib.")}
    return found


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_go_with_the_arrows(part):
    files = [*(ROOT / part).rglob("*.py"), *ROOT.glob(f"{part}.py")]
    assert files
    against = {str(f.relative_to(ROOT)): sorted(imported(f) & FORBIDDEN[part]) for f in files}
    assert {name: wrong for name, wrong in against.items() if wrong} == {}


def test_an_import_of_any_form_is_seen(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "from jahslib.search import search; from jahslib.spaces import configurations as spaces\nimport jahslib.data.registry, os\n\n"
        "def f():\n    from jahslib.problems.grammar_networks import NB201\n"
    )
    assert imported(file) == {"search", "spaces", "data", "problems"}
