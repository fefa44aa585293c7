"""A search goes on from any log; whether its decisions are repeated here is told on demand."""

import json
import math
from functools import partial
from types import SimpleNamespace

import pytest

from jahslib.__main__ import main
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, search, triallog
from jahslib.search.replay import Replay, replay
from jahslib.search.warm_start import trials_of
from tests.conftest import Toy, decisions


def nudged(path, id):
    """Rewrite a log as another machine might have made it: one rate differs in its sixth digit."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        record = json.loads(line)
        if record.get("id") == id:
            record["configuration"]["rate"] *= 1 + 1e-6
            lines[number] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("make", [RandomSearch, lambda p, s: Evolution(p, s, pop_size=4, hyperband=True)])
def test_a_log_of_another_machine_is_extended_as_it_is_and_the_difference_is_told(make, tmp_path):
    toy, path = Toy(), tmp_path / "log.jsonl"
    search(toy, make(toy, 0), Budget(trials=12), path, seed=0)
    assert str(replay(make(toy, 0), path)) == "all 12 decisions repeated"
    nudged(path, 5)
    before = path.read_bytes()
    history = search(toy, make(toy, 0), Budget(trials=20), path, seed=0)
    assert len(history) == 20 and path.read_bytes().startswith(before)
    assert len({(str(t.configuration), t.fidelity) for t in history}) == 20, "something was trained twice"

    report = replay(make(toy, 0), path)
    assert report.trial == 5 and report.differences.keys() == {"rate"}
    assert report.differences["rate"][2] == pytest.approx(1e-6, rel=1e-3)
    assert "trial 5 is the first" in str(report) and "1e-06 apart" in str(report)


@pytest.mark.parametrize("what", [RandomSearch, partial(RandomSearch, Toy(), 0), Toy(), None])
def test_what_is_no_optimizer_is_named(what, tmp_path):
    search(Toy(), RandomSearch, Budget(trials=1), tmp_path / "log.jsonl", seed=0)
    with pytest.raises(UserError, match=r"^replay: .* is no optimizer; give one: .*$"):
        replay(what, tmp_path / "log.jsonl")


@pytest.mark.parametrize("path", [None, 5, b"log.jsonl"])
def test_a_log_is_named_by_a_path(path):
    for read in (partial(replay, RandomSearch(Toy(), 0)), partial(trials_of, problem=Toy()), triallog.read):
        with pytest.raises(UserError, match=r"^trial log: .*; give the path of a file"):
            read(path)


def test_long_values_are_shown_where_they_differ():
    term = "(C " + "(OPS zero) " * 300
    (line,) = str(Replay(9, 8, {"architecture": (f"{term}(OPS id))", f"{term}(OPS pool))", math.nan)})).splitlines()
    assert len(line) < 300 and "(OPS id)" in line and "(OPS pool)" in line


def test_a_log_that_was_extended_elsewhere_is_resumed_to_the_same_search(tmp_path):
    """Once it holds another machine's decisions, they are as much a fact as its own."""
    toy, path = Toy(), tmp_path / "log.jsonl"
    make = lambda: Evolution(toy, 0, pop_size=4, num_children=3)  # noqa: E731
    search(toy, make(), Budget(trials=9), path, seed=0)
    nudged(path, 6)
    whole = search(toy, make(), Budget(trials=20), path, seed=0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:13]))
    assert decisions(search(toy, make(), Budget(trials=20), path, seed=0)) == decisions(whole)


def test_a_study_without_logs_is_not_passed_as_repeated(monkeypatch, capsys):
    monkeypatch.setattr("jahslib.cli.replay.experiment", lambda *_: SimpleNamespace(study=SimpleNamespace(planned=[])))
    assert main(["replay", "03_grammar_search", "--profile", "smoke"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "03_grammar_search" in err


@pytest.mark.parametrize(("known", "mend"), [(["03_grammar_search"], "03_grammar_search"), ([], "copy of the project")])
def test_an_unknown_notebook_is_one_line_with_a_mend(known, mend, monkeypatch, capsys):
    monkeypatch.setattr("jahslib.cli.replay.notebooks", lambda: known)
    assert main(["replay", "3"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "'3'" in err and mend in err


@pytest.mark.parametrize("given", ["a=[", "abc"])
def test_a_parameter_that_is_none_is_one_line(given, capsys):
    assert main(["replay", "03_grammar_search", "--with", given]) == 2
    assert (
        capsys.readouterr().err
        == f"jahslib replay: --with: {given!r} is not of the form NAME=VALUE, the value in YAML\n"
    )
