"""Which room may import which: arrows point down only, and no two modules import each other."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import jahslib

ROOT = Path(jahslib.__file__).parent

# room -> the rooms that it may import, beside `errors`, `extras` and `paths`; those above come later
MAY = {
    "core": (),
    "data": (),
    "training": (),
    "spaces": ("core",),
    "search": ("core", "spaces"),
    "surrogates": ("spaces",),
    "models": ("spaces",),
    "optimizers": ("core", "spaces", "surrogates"),
    "problems": ("core", "data", "training", "spaces", "search", "surrogates", "models"),
}
MAY["analysis"] = tuple(MAY)
MAY["experiments"] = tuple(room for room in MAY if room != "analysis")
MAY["figures"] = tuple(MAY)
MAY["reporting"] = tuple(MAY)
MAY["cli"] = tuple(MAY)
MAY["__main__"] = ("cli",)
ROOT_MODULES = {"__init__", "__main__", "errors", "extras", "paths"}


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in sorted(ROOT.rglob("*.py"))}


def imported(body: list[ast.stmt] | ast.Module, known: set[str], *, everywhere: bool) -> set[str]:
    """The modules of jahslib that code imports: when it is loaded, or `everywhere` also later and for types alone."""
    found = set()
    for node in ast.walk(body) if everywhere else at_load(body.body):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            while name.startswith("jahslib") and name not in known:
                name = name.rpartition(".")[0]
            if name.startswith("jahslib"):
                found.add(name)
    return found


def at_load(body: list[ast.stmt]):
    """Every statement that importing the module runs."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_load(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from at_load([n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)])
        else:
            yield node


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def test_every_module_is_in_a_room():
    assert {file.stem for file in ROOT.glob("*.py")} <= ROOT_MODULES
    assert {room(module) for module in MODULES} - {""} <= MAY.keys() | ROOT_MODULES


@pytest.mark.parametrize("name", MAY)
def test_arrows_point_down(name):
    wrong = {}
    for module, file in MODULES.items():
        if room(module) == name:
            others = imported(ast.parse(file.read_text(encoding="utf-8")), set(MODULES), everywhere=True)
            wrong[module] = sorted(
                m for m in others if room(m) not in {name, "errors", "extras", "paths", "", *MAY[name]}
            )
    assert {module: others for module, others in wrong.items() if others} == {}


def test_no_room_is_above_itself():
    graphlib.TopologicalSorter(MAY).prepare()


def test_no_circle_of_modules():
    graph = {
        m: imported(ast.parse(f.read_text(encoding="utf-8")), set(MODULES), everywhere=False) - {m}
        for m, f in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_an_import_of_any_form_is_seen():
    code = (
        "from jahslib import search, spaces\nimport jahslib.data, os\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from jahslib.core.problem import Problem\n"
        "def f():\n    from jahslib.problems.function import Function\n"
    )
    known = set(MODULES)
    at_once = {"jahslib.search", "jahslib.spaces", "jahslib.data"}
    assert imported(ast.parse(code), known, everywhere=False) == at_once
    later = {"jahslib.core.problem", "jahslib.problems.function"}
    assert imported(ast.parse(code), known, everywhere=True) == at_once | later


def test_a_circle_is_found():
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


def fresh(code: str) -> str:
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT.parent)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_jahslib_is_quick_and_needs_no_other_package():
    code = (
        "import sys, time\nbefore = set(sys.modules)\nsince = time.perf_counter()\nimport jahslib\n"
        "print(time.perf_counter() - since)\nprint(*{m.partition('.')[0] for m in set(sys.modules) - before})\n"
    )
    printed = [fresh(code).splitlines() for _ in range(3)]
    assert min(float(seconds) for seconds, _ in printed) < 0.05
    assert {name for _, names in printed for name in names.split()} <= {"jahslib"} | sys.stdlib_module_names


@pytest.mark.parametrize(
    "before",
    ["", "import jahslib.search.triallog", "from jahslib.search import search as s", "from jahslib import Budget"],
)
def test_search_is_the_function_whatever_was_imported_first(before):
    code = (
        f"{before}\nimport inspect\nfrom jahslib import search\nfrom jahslib.search import Budget, search as function\n"
        "import jahslib.search.triallog\n"
        "assert inspect.isfunction(function) and function.__name__ == 'search'\n"
        "assert callable(search) and inspect.signature(search) == inspect.signature(function)\n"
        "assert jahslib.search.triallog.TrialLog and jahslib.search.Budget is Budget\n"
        "try:\n    search(None, None, Budget(trials=1), 'x', seed=0)\nexcept ValueError as error:\n    print(error)\n"
    )
    assert "is no Problem" in fresh(code)


def test_the_public_names_are_those_of_their_rooms():
    assert set(jahslib.__all__) <= set(dir(jahslib))
    assert all(callable(getattr(jahslib, name)) for name in jahslib.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        jahslib.nothing  # noqa: B018
