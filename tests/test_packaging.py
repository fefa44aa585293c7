"""What is published agrees with itself: version, files of the wheel, command, hooks of a commit."""

import re
import subprocess
import tomllib
from importlib import metadata
from pkgutil import resolve_name

import pytest
import yaml

import jahslib
from jahslib.paths import ROOT

CONFIGURED = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = CONFIGURED["project"]


def test_the_version_is_written_once_and_cited():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]
    assert jahslib.__version__ == metadata.version("jahslib")
    assert PROJECT["version"] in (ROOT / "CHANGELOG.md").read_text()
    assert not [file for file in (ROOT / "jahslib").rglob("*.py") if re.search(r"__version__\s*=", file.read_text())]


def test_every_file_beside_the_modules_is_in_the_wheel():
    shipped = CONFIGURED["tool"]["setuptools"]["package-data"]
    listed = {f"{package.replace('.', '/')}/{name}" for package, names in shipped.items() for name in names}
    there = {str(file.relative_to(ROOT)) for file in (ROOT / "jahslib").rglob("*") if file.is_file()}
    assert {name for name in there if not name.endswith((".py", ".pyc"))} == listed
    assert "jahslib/py.typed" in listed


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_tracked_files_have_less_than_30_MB_and_none_more_than_4():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    sizes = {name: (ROOT / name).stat().st_size for name in listed.split("\0") if (ROOT / name).is_file()}
    assert sum(sizes.values()) < 30e6 and not {name for name, size in sizes.items() if size > 4e6}


def test_there_is_one_command():
    assert {name: callable(resolve_name(target)) for name, target in PROJECT["scripts"].items()} == {"jahslib": True}


@pytest.mark.parametrize("step", ["ruff check", "ruff format", "pyright"])
def test_a_commit_is_held_to_what_the_tests_are(step):
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = {hook["name"]: hook for repo in config["repos"] for hook in repo["hooks"] if repo["repo"] == "local"}
    assert len(config["repos"]) == 1  # nothing is downloaded
    assert f'step "{step}"' in (ROOT / "run_tests.sh").read_text()
    assert hooks[step]["entry"].startswith(f".venv/bin/python -m {step}")
    assert hooks[step]["language"] == "system"
