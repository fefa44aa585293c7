"""pyproject.toml, requirements.lock and environment.yml describe one environment, and set-up makes exactly that one."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from jahslib.cli import environment
from jahslib.errors import UserError
from jahslib.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
NAMED = [*PROJECT["dependencies"], *(requirement for extra in EXTRAS for requirement in extra)]
DIRECT = sorted({requirement for requirement in NAMED if not requirement.startswith("jahslib[")})
LOCK = (ROOT / "requirements.lock").read_text()
ENTRIES = [entry for entry in re.sub(r"(?m)^\s*#.*\n?", "", LOCK).replace("\\\n", "").splitlines() if entry.strip()]
PINS = [Requirement(entry.partition("--hash")[0]) for entry in ENTRIES]


@pytest.mark.parametrize("text", DIRECT)
def test_every_direct_dependency_is_pinned_as_it_asks(text):
    wanted = Requirement(text)
    pins = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
    assert pins
    for pin in pins:
        (version,) = (specifier.version for specifier in pin.specifier if specifier.operator == "==")
        assert wanted.specifier.contains(version)


def test_every_entry_of_the_lock_is_a_hashed_pin_from_no_named_index():
    assert len(ENTRIES) > 100
    for entry, pin in zip(ENTRIES, PINS, strict=True):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        assert [specifier.operator for specifier in pin.specifier] == ["=="], entry
        assert pin.url is None, entry
    assert not re.search(r"(?m)^\s*(-i|-f|-e|--(?!hash))|://", LOCK)


def test_conda_installs_the_same_lock_with_a_python_that_the_project_takes():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}
    assert conda[1:] == ["pip"]  # everything else comes from the lock
    name, _, version = conda[0].partition("=")
    assert name == "python"
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder, and the commands that set-up runs in it, recorded in place of being run."""
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("one")
    commands: list[str] = []

    def run(*command, check=True):
        line = " ".join(str(part) for part in command[1:])
        commands.append(line)
        if line.startswith("-m venv"):
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir()
            python.touch()

    monkeypatch.setattr(environment, "_run", run)
    return tmp_path, commands


def test_set_up_installs_the_lock_with_hashes_and_runs_once(project):
    root, commands = project
    assert environment.make(root) == root / ".venv" / "bin" / "python"
    assert [re.sub(r"/\S*/", "", line).split()[1:4] for line in commands] == [
        ["venv", ".venv"],
        ["pip", "install", "--quiet"],
        ["uv", "pip", "sync"],
        ["uv", "pip", "install"],
        ["ignore", "-m", "compileall"],
    ]
    assert commands[2].endswith(f"--require-hashes {root / 'requirements.lock'}")
    commands.clear()
    environment.make(root)
    assert commands == []


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_file_is_installed_into_the_same_environment(project, name):
    root, commands = project
    environment.make(root)
    commands.clear()
    (root / name).write_text("two")
    environment.make(root)
    assert [line.split()[3] for line in commands] == ["sync", "install", "compileall"]


def test_an_interrupted_set_up_is_done_again_from_nothing(project, monkeypatch):
    root, commands = project
    recorded = environment._run

    def fail(*command, check=True):
        recorded(*command)
        if "sync" in command:
            (root / ".venv" / "half-installed").mkdir()
            raise subprocess.CalledProcessError(1, "sync")

    monkeypatch.setattr(environment, "_run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        environment.make(root)
    monkeypatch.setattr(environment, "_run", recorded)
    commands.clear()
    environment.make(root)
    assert [line.split()[1] for line in commands] == ["venv", "pip", "uv", "uv", "ignore"]
    assert not (root / ".venv" / "half-installed").exists()


def test_an_environment_that_was_moved_is_made_again(project, tmp_path):
    root, commands = project
    environment.make(root)
    commands.clear()
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in list(root.iterdir()):
        if path != moved:
            path.rename(moved / path.name)
    (moved / ".venv" / "scripts-of-the-old-place").touch()
    assert environment.make(moved) == moved / ".venv" / "bin" / "python"
    assert [line.split()[1] for line in commands] == ["venv", "pip", "uv", "uv", "ignore"]
    assert not (moved / ".venv" / "scripts-of-the-old-place").exists()


def test_an_installed_package_has_nothing_to_set_up(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment.make, "__defaults__", (tmp_path,))
    assert environment.main() == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"set-up: {tmp_path} has no requirements.lock: this jahslib was installed")
    assert printed.err.count("\n") == 1 and printed.out == ""


def test_somebody_elses_environment_is_left_alone(project):
    root, commands = project
    (root / ".venv" / "lib").mkdir(parents=True)
    with pytest.raises(UserError, match="made by something else"):
        environment.make(root)
    assert commands == []
    assert (root / ".venv" / "lib").exists()


def test_a_link_to_another_copys_environment_is_left_alone(project, tmp_path):
    root, commands = project
    other = tmp_path / "another" / ".venv"
    (other / "lib").mkdir(parents=True)
    (other / "jahslib.stamp").write_text(f"0\n{other.parent}\n")
    (root / ".venv").symlink_to(other)
    with pytest.raises(UserError, match="made by something else"):
        environment.make(root)
    assert commands == []
    assert (other / "lib").exists()
