"""The campaign's list, and that it goes on where it was killed; its searches are those that the notebooks read."""

import logging
import os
import time
from pathlib import Path

import pytest

from benchmarks.campaign import entries, running
from benchmarks.campaign.__main__ import main as command
from benchmarks.campaign.running import Entry
from jahslib.data import places
from jahslib.experiments.notebook import experiment
from jahslib.search import triallog
from tests.conftest import decisions, forked

DATA = all(
    places.find(files)
    for files in (
        [f"{folder}/train-images-idx3-ubyte.gz" for folder in ("fashion-mnist", "fashion_mnist")],
        ["micro17flower", "micro17flower.tar.gz"],
    )
)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    return tmp_path


def thresholds(**given):
    return experiment("02_growing_thresholds", {"device": "cpu"} | given)


def smoke_entries():
    """Two points of study 02's sweep, its growing network and what that grew to: seconds each."""
    of = thresholds(profile="smoke", test_runs=3, max_epochs=1)
    grown = of.tests["BOHB growing", 0]

    def of_what_grew():
        trials = running.finished(grown)
        return next(iter(of.of_what_grew(trials).values())) if trials else None

    runs = [of.sweep["q = 0.8", 0], of.sweep["baseline", 0], grown]
    return [*(Entry(run.log.stem, 0.01, lambda run=run: run) for run in runs), Entry("grown", 0.01, of_what_grew)]


def run_there(results: Path) -> None:
    os.environ["JAHSLIB_RESULTS"] = str(results)
    running.run_on(smoke_entries())


def logs(results: Path) -> dict[str, list]:
    return {path.name: decisions(triallog.read(path).trials) for path in sorted(results.rglob("*.jsonl"))}


def _trials(results: Path) -> int:
    return sum(path.read_bytes().count(b'{"kind": "trial"') for path in results.rglob("*.jsonl"))


@pytest.mark.skipif(not DATA, reason="needs Fashion-MNIST and micro17flower at hand, whose digests the searches state")
class TestList:
    def test_names_differ_and_every_search_has_a_log_of_its_own(self, results):
        listed = entries.campaign()
        made = [run for entry in listed if (run := entry.make()) is not None]
        assert len({entry.name for entry in listed}) == len(listed) == len(made) + 1
        assert len({run.log for run in made}) == len(made)
        assert all(0 < entry.hours < 5 for entry in listed) and 20 < sum(entry.hours for entry in listed) < 40
        assert all(run.problem.device == "cpu" and run.log.is_relative_to(results) for run in made)
        assert not list(results.iterdir())

    def test_the_sweep_comes_first_with_the_points_in_question_ahead(self, results):
        names = [entry.name for entry in entries.campaign()]
        assert names[:4] == ["02 q0.8-seed0", "02 baseline-seed0", "02 q0.9-seed0", "02 q1-seed0"]
        assert names[10:14] == ["02 baseline-seed1", "02 q0.8-seed1", "02 baseline-seed2", "02 q0.8-seed2"]
        assert [name[:2] for name in names] == ["02"] * 18 + ["07"] * 6 + ["01"] * 2

    def test_a_notebook_in_the_same_profile_reads_the_same_logs(self, results):
        made = {run.log: run for entry in entries.campaign() if (run := entry.make()) is not None}
        of = thresholds(profile="paper")
        notebooks = [*of.sweep.values(), *of.tests.values()]
        assert len(notebooks) == 13
        for run in notebooks:
            ours = made[run.log]
            assert (ours.optimizer.describe(), ours.budget, ours.seed) == (run.optimizer.describe(), run.budget, 0)
            assert {k: v for k, v in vars(ours.problem).items() if k != "space"} == {
                k: v for k, v in vars(run.problem).items() if k != "space"
            }

    def test_published_configurations_are_trained_as_published_whatever_the_profile(self, results):
        runs = [entry.make() for entry in entries.published()]
        params = [run.problem.known(run.optimizer.configurations[0])["params"] for run in runs]
        assert params == [871_034, 1_012_899, 1_897_658, 2_021_579, 2_251_076, 12_322_877]
        for run in runs:
            assert len(run.optimizer.configurations) == run.budget.trials == 5
            assert (run.problem.split, run.problem.max_epochs, run.problem.optimizer) == ("test", 50, "adamw")
            given = {"profile": "paper", "device": "cpu", "retrain": {_name(run): 5}}
            (same,) = experiment("07_constrained_EA", given).retrainings.values()
            assert same.problem.describe() == run.problem.describe()
            assert same.optimizer.describe() == run.optimizer.describe()

    def test_reported_networks_are_trained_on_all_images(self, results):
        runs = [entry.make() for entry in entries.reported_networks()]
        tests = thresholds(profile="paper").tests
        others = [tests["baseline", 0], tests["BOHB growing", 0]]
        for run, other in zip(runs, others, strict=True):
            assert run.study == "01_growing_bohb" and run.problem.per_class is None
            assert run.optimizer.configurations == other.optimizer.configurations
            assert run.seed != other.seed


def _name(run):
    return run.log.stem.removeprefix("retrained-").replace("_", " ")


@pytest.mark.slow
def test_a_killed_campaign_goes_on_to_what_an_unbroken_one_finds(tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = forked(run_there, killed)
    while _trials(killed) < 3 and process.is_alive():  # in the third search, which has three trials
        time.sleep(0.01)
    process.kill()
    process.join()
    before = {path: path.read_bytes() for path in killed.rglob("*.jsonl")}
    assert _trials(killed) >= 3
    for folder in (whole, killed):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(folder))
        assert running.run_on(smoke_entries()) == 0
    assert logs(killed) == logs(whole) and sorted(map(len, logs(whole).values())) == [1, 1, 3, 3]
    for path, content in before.items():
        assert path.read_bytes().startswith(content[: content.rfind(b"\n") + 1]), "a finished trial was trained again"


class TestRunningOn:
    def test_what_is_done_is_not_run_again_and_the_list_says_so(self, results, monkeypatch, capsys):
        listed = smoke_entries()[:2]
        running.show(listed)
        assert "0 of 2 done; 0.0 hours spent" in capsys.readouterr().out
        assert running.run_on(listed) == 0
        monkeypatch.setattr("jahslib.search.runs.search", None)
        assert running.run_on(listed) == 0
        running.show(listed)
        assert "2 of 2 done" in capsys.readouterr().out

    def test_a_part_of_a_search_tells_the_rate_of_the_rest(self, results):
        entry = smoke_entries()[2]
        run = entry.make()
        assert running.state(entry).left == entry.hours
        assert running.run_on([entry]) == 0
        lines = run.log.read_bytes().splitlines(keepends=True)
        run.log.write_bytes(b"".join(lines[:2]))
        found = running.state(entry)
        assert found.progress == "1 of 3 trials" and found.left == pytest.approx(2 * found.spent)
        assert not running.finished(run)

    def test_a_log_killed_at_its_birth_is_begun_anew(self, results):
        entry = smoke_entries()[0]
        log = entry.make().log
        log.parent.mkdir(parents=True)
        log.write_bytes(b'{"kind": "hea')
        assert running.state(entry).progress == "not begun" and running.run_on([entry]) == 0
        assert running.state(entry).finished

    def test_what_cannot_be_run_is_left_out_and_the_rest_goes_on(self, results, caplog):
        q, baseline, grown, of_what_grew = smoke_entries()
        log = q.make().log
        other = smoke_entries()[1].make()
        assert running.run_on([baseline]) == 0
        log.write_bytes(other.log.read_bytes())  # another search's
        with caplog.at_level(logging.ERROR):
            assert running.run_on([q, of_what_grew, baseline, grown]) == 2
        assert "made by another search" in caplog.text and "rests on a search" in caplog.text
        assert len(running.finished(grown.make())) == 3


class TestCommand:
    def test_lists_one_study(self, results, capsys):
        assert command(["--list", "--only", "07"]) == 0
        said = capsys.readouterr().out
        assert said.count("retrained-published") == 6 and "0 of 6 done" in said

    def test_a_wrong_option_is_one_line(self, capsys):
        assert command(["--only", "03"]) == 2
        assert capsys.readouterr().err.startswith("campaign: --only: invalid choice: '03'")
