import json
import lzma
import re
import shutil

import pandas as pd
import pytest

from jahslib.__main__ import main
from jahslib.core.problem import Fidelity
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.reporting import trials_table
from jahslib.search import Budget, logfiles, search, triallog
from tests.conftest import PRECISION, SIZE, Toy


def record(results, log, seed=0, method="rs", hyperband=False, **toy):
    problem = Toy([SIZE, PRECISION], **toy)
    optimizer = RandomSearch(problem, seed)
    if hyperband:
        optimizer = Evolution(problem, seed, pop_size=4, hyperband=True)
    path = results / log
    return search(problem, optimizer, Budget(trials=24 if hyperband else 6), path, seed=seed, method=method)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "results"
    record(folder, "cpu/02_b/logs/rs-seed0.jsonl", fail="raise")
    record(folder, "cpu/01_a/logs/rs-seed1.jsonl", seed=1, method="none")
    record(folder, "paper/01_a/logs/ea-seed0.jsonl", hyperband=True, method="ea")
    record(folder, "smoke/01_a/logs/rs-seed0.jsonl")
    (folder / "cpu/01_a/logs/rs-seed1.ax.json").write_text("{}")
    assert logfiles.compress(folder / "cpu/02_b/logs/rs-seed0.jsonl")
    return folder


def test_a_fidelity_need_not_be_whole(tmp_path):
    problem = Toy()
    problem.fidelity = Fidelity(0.5, 1.5, "part of the images")
    search(problem, RandomSearch, Budget(trials=2), tmp_path / "cpu/01_a/logs/rs-seed0.jsonl", seed=0)
    written = trials_table.write(trials_table.table(tmp_path), tmp_path / "trials.csv.xz")
    assert set(trials_table.load(written).fidelity) == {1.5}


def test_a_row_a_trial(results):
    table = trials_table.table(results)
    logs = table[["profile", "study", "log"]].drop_duplicates().to_numpy().tolist()
    assert logs == [["cpu", "01_a", "rs-seed1"], ["cpu", "02_b", "rs-seed0"], ["paper", "01_a", "ea-seed0"]]
    for profile, study, log in logs:
        rows = table[(table.profile == profile) & (table.study == study) & (table.log == log)]
        recorded = triallog.read(results / profile / study / "logs" / f"{log}.jsonl")
        for trial, row in zip(recorded.trials, rows.to_dict("records"), strict=True):
            assert json.loads(row["configuration"]) == trial.configuration
            metrics = {name: value for name, value in row.items() if name.startswith("metric_") and not pd.isna(value)}
            assert metrics == {f"metric_{name}": value for name, value in trial.metrics.items()}
            for name in ("fidelity", "status", "reason", "epochs", "final"):
                assert row[name] == getattr(trial, name)
            for name in ("parent", "bracket", "rung"):
                assert (None if pd.isna(row[name]) else row[name]) == getattr(trial, name)
            assert (row["trial"], row["seed"], row["problem"]) == (trial.id, recorded.header["seed"], "toy")
            assert row["elapsed"] == pytest.approx(trial.elapsed, abs=5e-4)
    assert set(table.status) == {"ok", "failed"}
    assert (table.parent.notna()).any()
    assert not {"curve", "outputs"} & set(table)


def test_what_is_written_is_read_back(results, tmp_path):
    table = trials_table.table(results)
    file = trials_table.write(table, tmp_path / "new/trials.csv.xz")
    pd.testing.assert_frame_equal(trials_table.load(file), table)  # "none" and numbers to the last bit among it
    assert set(trials_table.load(file).method) == {"rs", "none", "ea"}


def test_same_logs_same_bytes_wherever_they_lie(results, tmp_path):
    first = trials_table.write(trials_table.table(results), tmp_path / "a.csv.xz")
    moved = shutil.copytree(results, tmp_path / "elsewhere")
    second = trials_table.write(trials_table.table(moved), tmp_path / "b.csv.xz")
    assert first.read_bytes() == second.read_bytes()


def test_relative_folder(results, monkeypatch):
    monkeypatch.chdir(results)
    assert len(trials_table.table(trials_table.Path("."))) == len(trials_table.table(results))


def test_the_repository_is_the_default(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(shutil.copytree(results.parent, tmp_path / "run")))
    assert main(["table"]) == 0
    assert "36 trials of 3 logs" in capsys.readouterr().out
    assert len(trials_table.load(tmp_path / "run/results/trials.csv.xz")) == 36


def test_refusals_write_nothing(results, tmp_path, capsys):
    out = tmp_path / "out.csv.xz"
    (tmp_path / "empty").mkdir()
    for folder, said in ((tmp_path / "nowhere", "no folder"), (tmp_path / "empty", "no trials in")):
        assert main(["table", str(folder), "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
    damaged = shutil.copytree(results, tmp_path / "damaged")
    with (damaged / "cpu/01_a/logs/rs-seed1.jsonl").open("r+") as file:
        file.write("[")
    with pytest.raises(UserError, match=r"rs-seed1.*damaged"):
        trials_table.table(damaged)
    assert not out.exists()


def test_load_names_what_is_wrong(results, tmp_path):
    with pytest.raises(UserError, match="no file"):
        trials_table.load(tmp_path / "none.csv.xz")
    file = tmp_path / "plain.csv.xz"
    file.write_text("profile\n")
    with pytest.raises(UserError, match="damaged"):
        trials_table.load(file)
    file.write_bytes(lzma.compress(b"profile,study\ncpu,a\n"))
    with pytest.raises(UserError, match="no column 'log'"):
        trials_table.load(file)


def test_committed_logs_name_a_commit():
    """A plus after it says that the tree had changes beside it, as the paper's limitations do."""
    found = [logfiles.found(trials_table.paths.ROOT, f"results/{profile}/*/logs/*") for profile in ("cpu", "paper")]
    commits = {json.loads(logfiles.opened(log).readline())["commit"] for logs in found for log in logs}
    assert commits and all(re.fullmatch("[0-9a-f]{12}[+]?", commit) for commit in commits)


def test_the_committed_table_is_that_of_the_committed_logs():
    """If it is not: `python -m jahslib table` writes it anew."""
    results = trials_table.paths.ROOT / "results"
    table = trials_table.table(results)
    pd.testing.assert_frame_equal(trials_table.load(results / trials_table.FILE), table)
    assert set(table.split) == {"", "validation", "test"}
    assert set(table[table.data == ""].problem) <= {"own cost"}


def test_documented_columns():
    text = (trials_table.paths.ROOT / "docs/data.md").read_text()
    assert [name for name in trials_table.COLUMNS if f"`{name}`" not in text] == []
