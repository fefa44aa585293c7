"""Writing files whole or not at all."""

import os
import subprocess

import pytest

from jahslib import paths
from jahslib.search import provenance


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The library as a wheel lays it down, inside of somebody's git repository; the current folder is another one."""
    git = ["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    packages, work = tmp_path / "site-packages", tmp_path / "work"
    packages.mkdir()
    work.mkdir()
    for module in (paths, provenance):
        monkeypatch.setattr(module, "ROOT", packages)
    monkeypatch.setattr(paths.is_checkout, "__defaults__", (packages,))
    monkeypatch.delenv("JAHSLIB_RESULTS", raising=False)
    monkeypatch.chdir(work)
    provenance.commit.cache_clear()
    yield packages
    provenance.commit.cache_clear()


def test_an_installed_wheel_puts_results_into_the_current_folder(installed, tmp_path, monkeypatch):
    assert paths.results("smoke", "01") == tmp_path / "work" / "results" / "smoke" / "01"
    kernels = tmp_path / "work" / "notebooks"
    kernels.mkdir()
    monkeypatch.chdir(kernels)
    assert paths.outputs() == tmp_path / "work"
    (installed / "pyproject.toml").write_text('[project]\nname = "jahslib"\n')
    assert paths.outputs() == installed


def test_the_commit_is_never_that_of_a_repository_around_the_library(installed):
    assert provenance.commit() == ""
    (installed / "pyproject.toml").write_text('[project]\nname = "jahslib"\n')  # an unpacked archive of the project
    provenance.commit.cache_clear()
    assert provenance.commit() == ""


def test_the_commit_is_the_checkouts_whatever_git_is_told(monkeypatch, tmp_path):
    provenance.commit.cache_clear()
    expected = provenance.commit()
    provenance.commit.cache_clear()
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert provenance.commit() == expected


@pytest.mark.parametrize("content", ["größer", b"\x00\xff"])
def test_what_is_written_is_there_with_its_folders_and_nothing_else(tmp_path, content):
    file = tmp_path / "a" / "b.txt"
    paths.write(file, content)
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(file.parent.iterdir()) == [file]


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    file = tmp_path / "b.txt"
    paths.write(file, "old")

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        paths.write(file, "new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
