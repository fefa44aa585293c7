"""What a long run says of itself while its searches go on."""

import logging
import math
import multiprocessing
import os
import re
import signal
import time

import pytest

from jahslib.core.problem import Constraint
from jahslib.errors import UserError
from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, runs
from jahslib.search.runs import Run, run_all
from tests.conftest import Toy


@pytest.fixture
def headless(monkeypatch, caplog):
    monkeypatch.setenv("JAHSLIB_RUN", "1")
    monkeypatch.setattr(runs._Pace, "last", -math.inf)
    caplog.set_level(logging.INFO, "jahslib.search.runs")
    return lambda: [r.getMessage() for r in caplog.records if "trials" in r.getMessage()]


def a_run(folder, name="rs", problem=None, seed=0, **budget):
    problem = problem or Toy()
    log = folder / f"{name}-seed{seed}.jsonl"
    return Run(problem, RandomSearch(problem, seed), Budget(**budget), log, seed, name, "toy", "smoke")


def line(several, seconds=60.0, before=(0, 0.0)):
    watches = [runs.Watch(r.log, 0.0, r.problem.objective, tuple(r.problem.constraints)).look() for r in several]
    return runs._line(several, watches, before, seconds)


def test_lines_come_at_most_so_often_and_tell_of_all_searches(tmp_path, headless, monkeypatch):
    monkeypatch.setattr(runs, "LINE_EVERY", 0.2)
    several = [a_run(tmp_path, problem=Toy(delay=0.04), seed=s, trials=8) for s in range(2)]
    began = time.monotonic()
    histories = run_all(several)
    lines = headless()
    assert 2 <= len(lines) <= (time.monotonic() - began) / 0.2 + 1
    form = (
        r"[0-2] of 2 searches done, \d+ trials(, best accuracy 0\.\d+)?, \d+ of at most 144 epochs(, about \d+ s left)?"
    )
    assert all(re.fullmatch(form, text) for text in lines), lines
    top = max(t.metrics["accuracy"] for h in histories.values() for t in h)
    monkeypatch.setattr(runs._Pace, "last", -math.inf)
    run_all(several)
    assert headless()[-1] == f"2 of 2 searches done, 16 trials, best accuracy {top:.4g}, 144 of at most 144 epochs"


def test_short_calls_in_a_row_write_one_line(tmp_path, headless):
    for name in "abc":
        run_all([a_run(tmp_path, name, trials=2)])
    assert len(headless()) == 1
    assert headless()[0].startswith("2 trials, best accuracy") and headless()[0].endswith("18 of at most 18 epochs")


def test_a_person_gets_a_bar_and_no_lines(tmp_path, headless, monkeypatch, capfd):
    monkeypatch.delenv("JAHSLIB_RUN")
    run_all([a_run(tmp_path, trials=2)])
    assert headless() == []
    printed = capfd.readouterr().err
    assert "18.0/18 " in printed and "2 trials, accuracy 0." in printed


def test_a_bars_rate_is_that_of_what_is_trained_now(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("JAHSLIB_RUN", raising=False)
    run_all([a_run(tmp_path, trials=4)])
    capfd.readouterr()
    run_all([a_run(tmp_path, trials=4)])  # only read
    assert re.search(r"36\.0/36 .*\?epoch/s", capfd.readouterr().err)
    run_all([a_run(tmp_path, problem=Toy(delay=0.5), trials=5)])
    rate = re.search(r"45\.0/45 .* ([\d.]+)(epoch/s|s/epoch)", capfd.readouterr().err)
    assert rate and (float(rate[1]) < 18 or rate[2] == "s/epoch")  # nine epochs in at least half a second


class TestTimeLeft:
    def test_is_what_is_still_to_be_spent_at_the_rate_of_this_run(self, tmp_path):
        a_run(tmp_path, seed=0, trials=4)()
        a_run(tmp_path, seed=1, trials=2)()
        several = [a_run(tmp_path, seed=0, trials=4), a_run(tmp_path, seed=1, trials=12)]
        # 54 epochs in 600 s; the first search is finished, the second may spend 90 more
        assert line(several, 600.0).startswith("1 of 2 searches done, 6 trials,")
        assert line(several, 600.0).endswith("54 of at most 144 epochs, about 17 min left")
        # 2 trials of 9 epochs each had been read from the logs when the run began
        assert line(several, 600.0, before=(2, 18.0)).endswith("about 25 min left")

    def test_is_not_said_without_a_rate(self, tmp_path):
        a_run(tmp_path, trials=4)()
        several = [a_run(tmp_path, trials=12)]
        for before in ((4, 36.0), (2, 18.0)):  # nothing, or too little, was trained in this run
            assert "left" not in line(several, before=before)
        assert "left" in line(several)
        assert "left" not in line([a_run(tmp_path, trials=4)])  # finished

    def test_a_smaller_budgets_end_is_not_the_end_of_a_larger(self, tmp_path):
        a_run(tmp_path, epochs=45)()
        assert "left" not in line([a_run(tmp_path, epochs=45)])
        assert line([a_run(tmp_path, epochs=90)]).endswith("45 of at most 90 epochs, about 60 s left")

    def test_a_time_limit_bounds_it(self, tmp_path):
        a_run(tmp_path, trials=4)()
        assert line([a_run(tmp_path, trials=40, seconds=60.0)], 600.0).endswith("about 60 s left")
        text = line([a_run(tmp_path, seconds=60.0)], 600.0)
        assert text.endswith(", 36 epochs, about 60 s left")


def test_failures_and_the_lack_of_anything_feasible_are_said(tmp_path):
    run = a_run(tmp_path, problem=Toy((Constraint("precision", ">=", 2.0),), fail="raise"), trials=8)
    failed = sum(t.status == "failed" for t in run())
    assert line([run]).startswith(f"8 trials ({failed} failed), best accuracy none feasible, ") and failed


def test_what_is_finished_is_only_read_without_a_worker_and_without_a_word(tmp_path, headless, caplog, monkeypatch):
    first = run_all(a_run(tmp_path, seed=seed, trials=3) for seed in (0, 1))
    assert len([r for r in caplog.records if "best feasible" in r.getMessage()]) == 2
    caplog.clear()
    monkeypatch.setattr(runs, "pool", lambda *_: pytest.fail("a worker was started"))
    again = run_all((a_run(tmp_path, seed=seed, trials=3) for seed in (0, 1)), workers=2)
    assert {name: h.trials for name, h in again.items()} == {name: h.trials for name, h in first.items()}
    assert not [r for r in caplog.records if "best feasible" in r.getMessage()]


def test_only_what_is_left_of_several_is_run(tmp_path, headless, caplog):
    run_all([a_run(tmp_path, seed=1, trials=3)])
    caplog.clear()
    found = run_all([a_run(tmp_path, seed=seed, trials=3) for seed in (0, 1, 2)])
    assert list(found) == ["rs-seed0", "rs-seed1", "rs-seed2"] and all(len(h) == 3 for h in found.values())
    told = [r.getMessage().partition(":")[0] for r in caplog.records if "best feasible" in r.getMessage()]
    assert told == ["rs-seed0", "rs-seed2"]


class Fragile(Toy):
    """Kills the process that trains it, as often as is said, and only then does as Toy."""

    def __init__(self, notes, times):
        super().__init__()
        self.notes, self.times = notes, times

    def evaluate(self, job):
        with self.notes.open("a+") as file:
            file.seek(0)
            killed = file.read().count("killed")
            if killed < self.times:
                file.write("killed\n")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluate(job)


@pytest.mark.parametrize("times", [1, 2])
def test_a_search_whose_worker_was_killed_is_gone_on_with_once(times, tmp_path):
    searches = [a_run(tmp_path, seed=0, trials=2), a_run(tmp_path, "f", Fragile(tmp_path / "notes", times), trials=2)]
    if times == 1:
        assert [len(h) for h in run_all(searches, workers=2).values()] == [2, 2]
    else:
        with pytest.raises(UserError, match=r"f-seed0: two workers in turn were killed .* run again to resume"):
            run_all(searches, workers=2)


def test_an_error_leaves_no_other_search_at_work_unseen(tmp_path):
    wrong = a_run(tmp_path, "wrong", trials=2)
    wrong.log.write_text("notes\n")
    with pytest.raises(UserError, match="line 1 is damaged"):
        run_all([wrong, a_run(tmp_path, "long", Toy(delay=60.0), trials=50)], workers=2)
    ending = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < ending:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


def test_starting_over_does_not_count_what_was_there(tmp_path, headless, monkeypatch):
    run_all([a_run(tmp_path, trials=6)])
    monkeypatch.setattr(runs._Pace, "last", -math.inf)
    run_all([a_run(tmp_path, trials=6)], fresh=True)
    assert headless()[-1].startswith("6 trials,") and "54 of at most 54 epochs" in headless()[-1]


def test_a_search_is_read_from_its_log_though_a_trial_was_lost_in_flight(tmp_path):
    run = a_run(tmp_path, trials=5)
    run()
    lines = run.log.read_bytes().splitlines(keepends=True)
    run.log.write_bytes(b"".join(line for line in lines if b'"id": 2,' not in line))
    read = runs.read_search(run.log, run.problem)
    assert [t.id for t in read.history] == [0, 1, 3, 4] and read.incumbent in read.history.trials
