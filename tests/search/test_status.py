"""What is read of trial logs while they are written, and what is said of it."""

import fcntl
import json
import math
import os
import subprocess
import sys
import time
from typing import get_args

import pytest

from jahslib.__main__ import main
from jahslib.core.optimizer import Listed
from jahslib.core.problem import Constraint
from jahslib.core.trials import Status
from jahslib.optimizers.random_search import RandomSearch
from jahslib.paths import ROOT
from jahslib.search import Budget, search, triallog
from jahslib.search.status import status
from jahslib.search.watch import Watch, best, duration
from tests.conftest import Toy

SMALL = Constraint("size", "<=", 700)
TRAITS = (100, True), (100, False), (512, True)  # trains, fails, is too large


def run(path, problem, trials=6, seed=0, **labels):
    return search(problem, RandomSearch(problem, seed), Budget(trials=trials), path, seed=seed, **labels)


def folder(root, profile="smoke", notebook="01_toy"):
    return root / profile / notebook / "logs"


def without_end(path):
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if b'"kind": "end"' not in line))


class TestWatch:
    @pytest.mark.parametrize("constraints", [(), (SMALL,), (SMALL, Constraint("precision", ">=", 0.9))])
    def test_has_the_incumbent_of_the_problem_itself(self, constraints, tmp_path):
        problem = Toy(constraints, fail="raise")
        for seed in range(5):
            history = run(tmp_path / f"{seed}.jsonl", problem, seed=seed)
            watch = Watch(tmp_path / f"{seed}.jsonl")
            watch.look()
            found = problem.incumbent(history)
            feasible = found is not None and problem.violation(found) == 0
            assert watch.best == found.metrics["accuracy"] if feasible else math.isnan(watch.best)
            assert watch.statuses == {s: n for s in get_args(Status) if (n := sum(t.status == s for t in history))}
            assert watch.epochs == sum(t.epochs for t in history) and watch.last == history.trials[-1].finished
            assert watch.end is not None and watch.end["reason"] == "trials"

    def test_follows_a_log_line_by_line_and_reads_each_once(self, tmp_path, monkeypatch):
        run(tmp_path / "whole.jsonl", Toy())
        content = (tmp_path / "whole.jsonl").read_bytes()
        path, watch, read = tmp_path / "growing.jsonl", Watch(tmp_path / "growing.jsonl"), []
        monkeypatch.setattr(json, "loads", lambda line, loads=json.loads: read.append(1) or loads(line))
        watch.look()
        assert (watch.trials, watch.header, watch.trouble) == (0, {}, "")
        for size in range(0, len(content) + 1, 97):  # most looks see a torn last line
            path.write_bytes(content[:size])
            watch.look()
            assert len(read) == content[:size].count(b"\n") and watch.trouble == ""
        path.write_bytes(content)
        watch.look()
        watch.look()
        assert watch.trials == 6 and watch.end and len(read) == content.count(b"\n")

    def test_a_log_begun_afresh_is_read_from_its_beginning(self, tmp_path):
        path, watch = tmp_path / "a.jsonl", Watch(tmp_path / "a.jsonl")
        for trials in (2, 6, 1):  # grown beyond what was read, and shrunk
            search(Toy(), RandomSearch(Toy(), trials), Budget(trials=trials), path, seed=trials, fresh=True)
            watch.look()
            assert watch.trials == trials and watch.trouble == ""

    def test_another_log_of_the_same_size_is_read(self, tmp_path):
        path, watch = tmp_path / "a.jsonl", Watch(tmp_path / "a.jsonl")
        run(path, Toy(), trials=1)
        watch.look()
        epochs, content = watch.epochs, path.read_bytes()
        path.write_bytes(content.replace(b'"epochs": 9', b'"epochs": 8').replace(b"pid", b"PID"))
        os.utime(path, (0, 0))
        watch.look()
        assert (epochs, watch.epochs, watch.trials) == (9, 8, 1)

    def test_what_was_there_before_a_fresh_run_does_not_count(self, tmp_path):
        path = tmp_path / "a.jsonl"
        run(path, Toy())
        watch = Watch(path, since=time.time())
        watch.look()
        assert watch.trials == 0 and watch.end is None and math.isnan(watch.best)
        search(Toy(), RandomSearch(Toy(), 0), Budget(trials=3), path, seed=0, fresh=True)
        watch.look()
        assert watch.trials == 3 and watch.end is not None

    def test_a_search_that_went_on_has_not_ended(self, tmp_path):
        path = tmp_path / "a.jsonl"
        run(path, Toy(), trials=2)
        watch = Watch(path)
        watch.look()
        assert watch.end is not None
        run(path, Toy(), trials=4)
        without_end(path)
        watch.look()
        assert watch.end is None and watch.trials == 4


def test_bounds_are_the_headers(tmp_path):
    problem = Toy((Constraint("accuracy", "<=", 0.12345678),))
    run(tmp_path / "a.jsonl", problem, trials=1)
    watch = Watch(tmp_path / "a.jsonl")
    watch.look()
    assert watch.constraints == problem.constraints


class TestStatus:
    def test_one_row_a_profile_and_notebook(self, tmp_path):
        histories = [run(folder(tmp_path) / f"rs-seed{s}.jsonl", Toy((SMALL,)), seed=s) for s in range(3)]
        without_end(folder(tmp_path) / "rs-seed1.jsonl")
        problem = Toy((SMALL,), fail="raise")
        given = [{"layers": 2, "rate": 0.01, "kernel": 7, "width": width, "norm": norm} for width, norm in TRAITS]
        log = folder(tmp_path, "cpu", "02_other") / "a.jsonl"
        search(problem, Listed(problem, 0, given), Budget(trials=3), log, seed=0)
        table = status(tmp_path).set_index(["profile", "notebook"])
        assert list(table.index) == [("cpu", "02_other"), ("smoke", "01_toy")]
        row = table.loc[("smoke", "01_toy")]
        assert (row.searches, row.finished, row.under_way, row["run"]) == (3, 2, 0, False)
        assert row.trials == sum(map(len, histories)) == row.ok
        top = max(t.metrics["accuracy"] for h in histories for t in h if t.status == "ok")
        assert row.best == f"accuracy {top:.4g}"
        assert row.epochs == sum(t.epochs for h in histories for t in h) and 0 <= row.age < 60
        assert list(table.loc[("cpu", "02_other"), ["trials", "ok", "failed", "rejected", "cut"]]) == [3, 1, 1, 1, 0]

    def test_one_row_a_log(self, tmp_path):
        history = run(folder(tmp_path) / "a.jsonl", Toy())
        run(folder(tmp_path) / "b.jsonl", Toy((Constraint("precision", ">=", 2.0),)))
        without_end(folder(tmp_path) / "b.jsonl")
        (folder(tmp_path) / "c.jsonl").write_bytes(b'{"kind": "hea')  # just beginning
        (folder(tmp_path) / "notes.jsonl").write_bytes(b'{"something": "else"}\n')
        table = status(tmp_path, logs=True).set_index("log")
        assert dict(table.state) == {"a": "finished", "b": "stopped", "c": "stopped"}
        assert table.best["a"] == max(t.metrics["accuracy"] for t in history) and table.metric["a"] == "accuracy"
        assert math.isnan(table.best["b"]) and table.trials["b"] == 6
        assert table.trials["c"] == 0 and math.isnan(table.age["c"])

    def test_a_damaged_log_is_named_and_the_others_are_counted(self, tmp_path, caplog):
        for name in "ab":
            run(folder(tmp_path) / f"{name}.jsonl", Toy())
        lines = (folder(tmp_path) / "a.jsonl").read_bytes().splitlines(True)
        (folder(tmp_path) / "a.jsonl").write_bytes(b"".join([*lines[:3], b"{broken}\n", *lines[4:]]))
        table = status(tmp_path, logs=True).set_index("log")
        assert dict(table.state) == {"a": "damaged", "b": "finished"} and table.trials["a"] == 2
        assert "a.jsonl: line 4 is damaged" in caplog.text

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            (b'"format": 1', b'"format": 99', "has format 99"),
            (b'"status": "ok"', b'"status": "done"', "line 2 is damaged"),
            (b'"epochs": ', b'"epochs": -1, "was": ', "line 2 is damaged"),
            (b'"id": 1', b'"id": 0', "line 3 is damaged"),
        ],
    )
    def test_what_a_search_would_refuse_is_damaged_here_too(self, old, new, said, tmp_path, caplog):
        path = folder(tmp_path) / "a.jsonl"
        run(path, Toy())
        place = next(line for line in path.read_bytes().splitlines(True) if old in line)
        path.write_bytes(path.read_bytes().replace(place, place.replace(old, new, 1)))
        assert list(status(tmp_path, logs=True).state) == ["damaged"] and said in caplog.text

    def test_a_run_and_a_search_under_way_are_seen_without_their_locks(self, tmp_path):
        path = folder(tmp_path) / "a.jsonl"
        run(path, Toy())
        run(folder(tmp_path, "cpu") / "a.jsonl", Toy())
        with (tmp_path / "smoke" / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = triallog.TrialLog(path, triallog.read(path).header)
            table = status(tmp_path)
            assert dict(zip(table.profile, table["run"], strict=True)) == {"cpu": False, "smoke": True}
            assert list(table.under_way) == [0, 1] and list(table.finished) == [1, 0]
            held.close()
        assert list(status(tmp_path)["run"]) == [False, False]
        with (tmp_path / "smoke" / ".lock").open("w") as lock:  # a free lock left by a finished run, and not taken now
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_a_file_that_is_no_trial_log_is_passed_over_without_a_word(self, tmp_path, caplog):
        run(folder(tmp_path) / "a.jsonl", Toy())
        deepcave = folder(tmp_path) / "export" / "history.jsonl"  # one list a trial
        deepcave.parent.mkdir()
        deepcave.write_text('[0, [0.5], 9.0, 1.0, 2.0, 1, "", {}]\n[1, [0.5], 9.0, 1.0, 2.0, 1, "", {}]\n')
        (folder(tmp_path) / "a_folder.jsonl").mkdir()
        os.mkfifo(folder(tmp_path) / "pipe.jsonl")
        assert list(status(tmp_path, logs=True).state) == ["finished"] and caplog.text == ""
        (folder(tmp_path) / "b.jsonl").write_bytes(b'{"kind": "header", "fing\n')
        assert len(status(tmp_path, logs=True)) == 1 and "b.jsonl: line 1 is damaged" in caplog.text

    def test_any_folder_will_do(self, tmp_path):
        run(tmp_path / "mine.jsonl", Toy(), study="own study", profile="own")
        row = status(tmp_path).iloc[0]
        assert (row.profile, row.notebook, row.trials) == ("own", "own study", 6)

    def test_default_is_the_outputs_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        run(folder(tmp_path / "results") / "a.jsonl", Toy())
        assert list(status().notebook) == ["01_toy"]


class TestBest:
    def watches(self, tmp_path, *specs):
        found = []
        for number, (data, split, constraints, listed, value) in enumerate(specs):
            problem = Toy(constraints)
            problem.describe = lambda p=problem, d=data, s=split: Toy.describe(p) | {"data": d, "split": s}
            configuration = problem.space.get_default_configuration()
            optimizer = Listed(problem, 0, [dict(configuration)]) if listed else RandomSearch(problem, 0)
            path = tmp_path / f"{number}.jsonl"
            search(problem, optimizer, Budget(trials=1), path, seed=0)
            watch = Watch(path)
            watch.look()
            watch.best = value
            found.append(watch)
        return found

    def test_only_what_can_be_compared_is(self, tmp_path):
        watches = self.watches(
            tmp_path,
            ("digits", "validation", (), False, 0.5),
            ("digits", "validation", (), False, 0.7),
            ("digits", "validation", (SMALL,), False, 0.95),  # fewer searches have these constraints
            ("digits", "validation", (), True, 0.9),  # given, not found
            ("digits", "test", (), False, 0.8),
            ("mnist", "validation", (), False, math.nan),
        )
        assert best(watches) == "accuracy 0.7 (digits), none feasible (mnist)"
        assert best(watches[:2]) == "accuracy 0.7"
        assert best(watches[3:4]) == "accuracy 0.9"  # where nothing was searched
        assert best(watches[4:5]) == best([]) == best([Watch(tmp_path / "none.jsonl")]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (754, "13 min"), (9000, "2.5 h"), (172_800, "2 days")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_refusals_are_one_line(tmp_path, capsys):
    (tmp_path / "no_log.jsonl").write_text('{"kind": "unknown"}\n')
    for argv, message in (
        ([str(tmp_path / "none")], f"{tmp_path / 'none'}: no such folder; name one with trial logs, such as results/"),
        ([str(tmp_path)], f"{tmp_path}: no trial log in it; run ./run_all.sh, or name a folder that has some"),
        (["--log-files"], "unrecognized arguments: --log-files"),
    ):
        assert main(["status", *argv]) == 2
        printed = capsys.readouterr()
        assert printed.err == f"jahslib status: {message}\n" and printed.out == ""


def test_the_table_is_printed_in_any_locale(tmp_path):
    run(folder(tmp_path, notebook="01_größe") / "a.jsonl", Toy())
    env = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "jahslib", "status", str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"01_gr" in done.stdout and b"finished" in done.stdout


@pytest.mark.parametrize("logs", [[], ["--logs"]])
def test_command_line_prints_the_table(logs, tmp_path, capsys):
    run(folder(tmp_path) / "bohb-seed0.jsonl", Toy())
    assert main(["status", str(tmp_path), *logs]) == 0
    names, values = (line.split() for line in capsys.readouterr().out.splitlines())
    assert values[:2] == ["smoke", "01_toy"] and {"trials", "best", "epochs", "age"} <= set(names)
    assert ("bohb-seed0" in values, "finished" in values) == (bool(logs), bool(logs)) and "accuracy" in values
