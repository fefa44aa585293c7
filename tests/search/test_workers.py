import importlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from jahslib import paths
from jahslib.core.trials import History
from jahslib.errors import UserError
from jahslib.experiments.notebook import experiment
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.successive_halving import Hyperband
from jahslib.paths import ROOT
from jahslib.problems.function import Function
from jahslib.search import Budget, runs, search, triallog
from jahslib.search.runs import Run, run_all
from jahslib.search.shared import TOKEN
from jahslib.search.workers import InProcess, OnCluster, pool
from tests.conftest import PRECISION, SIZE, Toy, decisions, tiny_space
from tests.toys import blas_threads


def evolve(path, **options):
    problem = Toy([SIZE, PRECISION])
    optimizer = PublishedEvolution(problem, 0, pop_size=4, num_children=2, hyperband=True)  # its rungs wait
    return search(problem, optimizer, Budget(trials=12), path, seed=0, **options)


def test_one_worker_is_this_process():
    with pool(1) as executor:
        assert isinstance(executor, InProcess)


def test_in_process_errors_arrive_with_the_result():
    future = InProcess().submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        future.result()


@pytest.fixture(scope="module")
def dask():
    """The address of a scheduler on loopback with two workers."""
    distributed = pytest.importorskip("distributed")
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": False,
        "protocol": "tcp",
        "dashboard_address": None,
    }
    with distributed.LocalCluster(**options) as cluster:
        yield cluster.scheduler_address


def test_a_dask_cluster_gives_the_same_trials(tmp_path, dask):
    with pool(2, scheduler=dask) as executor:
        there = evolve(tmp_path / "dask.jsonl", executor=executor, workers=2)
    here = evolve(tmp_path / "here.jsonl")

    def known(history):
        return sorted((t.id, t.configuration, t.metrics) for t in history if t.bracket is None or t.bracket == 0)

    assert known(there) == known(here) and len(decisions(there)) == 12


def searches_of_study_07(place, monkeypatch, *methods):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(place))
    given = {"profile": "smoke", "device": "cpu", "methods": list(methods), "epoch_budget": 48}
    return experiment("07_constrained_EA", given).plan


def test_a_studys_searches_on_a_cluster_are_those_in_this_process(tmp_path, dask, monkeypatch):
    there = run_all(searches_of_study_07(tmp_path / "dask", monkeypatch, "ea_hb", "rs"), workers=2, scheduler=dask)
    here = run_all(searches_of_study_07(tmp_path / "here", monkeypatch, "ea_hb", "rs"))
    assert {name: decisions(h) for name, h in there.items()} == {name: decisions(h) for name, h in here.items()}


def test_a_search_spread_over_a_cluster_is_replayed_in_this_process(tmp_path, dask, monkeypatch):
    """What the log says of the order in which trials came back is enough to decide everything once more."""
    (run,) = searches_of_study_07(tmp_path, monkeypatch, "ea")
    (there,) = run_all([run], workers=2, scheduler=dask).values()
    (again,) = searches_of_study_07(tmp_path, monkeypatch, "ea")
    made, waiting = {t.id: t for t in there}, list(there)
    history = History()
    for id in range(len(made)):
        while waiting and waiting[0].asked <= id:
            history.finish(waiting.pop(0))
        suggestion = again.optimizer.ask(history)
        assert history.ask(suggestion) == id
        told = made[id]
        assert (suggestion.configuration, suggestion.fidelity, suggestion.parent) == (
            told.configuration,
            told.fidelity,
            told.parent,
        )


class OnlyHere:
    """What a worker cannot load, as a class of a module that it does not have."""

    def __reduce__(self):
        return importlib.import_module, ("only_here",)


def test_a_cluster_that_cannot_load_the_problem_is_told_of_at_once(tmp_path, dask):
    problem = Toy()
    problem.needs = OnlyHere()
    with pool(2, scheduler=dask) as executor, pytest.raises(UserError, match=r"cannot load .*only_here"):
        search(problem, RandomSearch(problem, 0), Budget(trials=2), tmp_path / "log.jsonl", seed=0, executor=executor)
    assert triallog.read(tmp_path / "log.jsonl").trials == []


class Elsewhere(Executor):
    """A worker on a machine of its own: another folder lies under the search's path there."""

    def __init__(self, folder, there):
        self.folder, self.there = folder, there

    def submit(self, fn, /, *args, **kwargs):
        aside = self.folder.with_name("aside")
        self.folder.rename(aside)
        shutil.copytree(self.there, self.folder)
        try:
            return InProcess().submit(fn, *args, **kwargs)
        finally:
            shutil.rmtree(self.folder)
            aside.rename(self.folder)


@pytest.mark.parametrize("used", [False, True], ids=["empty", "of an earlier search"])
def test_a_worker_that_does_not_see_the_searchs_folder_is_refused(tmp_path, used):
    """It would leave checkpoints on its own disk, and restore those that another search of this name has left there."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    if used:
        paths.write(there / "log.jsonl.checkpoints" / TOKEN, "host 1 1")
    executor, log = Elsewhere(here, there), here / "log.jsonl"
    with pytest.raises(UserError, match=rf"worker on .* does not see {log}.checkpoints"):
        search(Toy(), Hyperband, Budget(trials=12), log, seed=0, executor=executor, workers=2)
    assert triallog.read(log).trials == []


def test_a_search_without_checkpoints_needs_no_shared_folder(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    problem = Toy()
    executor = Elsewhere(here, there)
    history = search(problem, RandomSearch, Budget(trials=3), here / "log.jsonl", seed=0, executor=executor)
    assert len(history.trials) == 3 and [file.name for file in here.iterdir()] == ["log.jsonl"]


def test_whole_searches_are_not_given_to_workers_that_do_not_see_their_logs(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    runs_ = searches_of_study_07(here, monkeypatch, "ea_hb", "rs")
    monkeypatch.setattr(runs, "pool", lambda *_: nullcontext(Elsewhere(here, there)))
    with pytest.raises(UserError, match=rf"does not see {here}/.*ea_hb-seed0.jsonl.checkpoints"):
        run_all(runs_, workers=2)
    assert list(here.rglob("*.jsonl")) == []


def test_a_cluster_without_a_worker_is_told_of(monkeypatch):
    class Empty:
        scheduler = SimpleNamespace(address="tcp://here:1")

        def get_executor(self, retries):
            return None

        def wait_for_workers(self, count, timeout):
            raise TimeoutError

    with pytest.raises(UserError, match="tcp://here:1 has no worker; start"):
        OnCluster(Empty()).submit(abs, -1)


class Lost(Executor):
    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_a_lost_scheduler_ends_several_searches_in_one_line(tmp_path, toy, monkeypatch):
    monkeypatch.setattr(runs, "pool", lambda *_: nullcontext(Lost()))
    several = [
        Run(toy, RandomSearch(toy, seed), Budget(trials=2), tmp_path / f"{seed}.jsonl", seed, "rs", "toy", "smoke")
        for seed in (0, 1)
    ]
    with pytest.raises(UserError, match="lost its scheduler"):
        run_all(several, workers=2)


def test_a_lost_scheduler_ends_the_search_without_a_failed_trial(tmp_path, toy):
    with pytest.raises(UserError, match="lost its scheduler"):
        search(toy, RandomSearch, Budget(trials=2), tmp_path / "log.jsonl", seed=0, executor=Lost(), workers=2)
    assert triallog.read(tmp_path / "log.jsonl").trials == []


def test_an_absent_scheduler_is_named():
    with pytest.raises(UserError, match=r"nothing answers at .tcp://127\.0\.0\.1:1."):
        with pool(2, scheduler="tcp://127.0.0.1:1"):
            pass


def with_two_workers(toy, path):
    with pool(2) as executor:
        return search(toy, Evolution(toy, 0, pop_size=4), Budget(trials=6), path, seed=0, executor=executor, workers=2)


class TestWhatOtherProcessesCannotRun:
    def test_a_lambda_is_refused_before_any_trial(self, tmp_path):
        problem = Function("mine", tiny_space(), lambda c: 0.5, worst=1.0)
        with pytest.raises(UserError, match="cannot be sent to other processes"):
            with_two_workers(problem, tmp_path / "log.jsonl")
        assert triallog.read(tmp_path / "log.jsonl").trials == []

    def test_what_they_cannot_import_is_named(self, tmp_path):
        problem = Toy()
        problem.needs = OnlyHere()
        with pytest.raises(UserError, match=r"cannot load the problem \(ModuleNotFoundError: .*only_here"):
            with_two_workers(problem, tmp_path / "log.jsonl")
        assert triallog.read(tmp_path / "log.jsonl").trials == []

    @pytest.mark.parametrize(
        ("as_file", "said"), [(False, "cannot import what is defined in a notebook"), (True, '__name__ == "__main__"')]
    )
    def test_a_notebooks_class_and_a_script_without_guard_are_refused(self, as_file, said, tmp_path):
        script = f"""
from tests.conftest import Toy
from tests.search.test_workers import with_two_workers
class Mine(Toy):
    pass
with_two_workers(Mine(), {str(tmp_path / "log.jsonl")!r})
"""
        (tmp_path / "script.py").write_text(script)
        what = [str(tmp_path / "script.py")] if as_file else ["-c", script]  # which has no file, as a notebook
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *what], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
        )
        assert done.returncode == 1 and said in done.stderr.decode()
        assert triallog.read(tmp_path / "log.jsonl").trials == []


def test_a_worker_has_one_thread_of_each_library():
    with pool(2) as executor:
        threads = executor.submit(blas_threads).result()
    assert len(threads) >= 2 and set(threads) == {1}


def test_the_log_tells_the_threads_that_trained(tmp_path, toy):
    class Looking(Toy):
        def evaluate(self, job):
            trained_with.append(torch.get_num_threads())
            return super().evaluate(job)

    trained_with, looking = [], Looking()
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with_two_workers(toy, tmp_path / "workers.jsonl")
        search(looking, RandomSearch(looking, 0), Budget(trials=2), tmp_path / "here.jsonl", seed=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(torch_threads)
    devices = [triallog.read(tmp_path / f"{name}.jsonl").header["device"] for name in ("workers", "here")]
    assert devices == ["cpu (1 threads)"] * 2 and trained_with == [1, 1]


def test_an_evaluation_in_this_process_has_one_blas_thread(tmp_path):
    class Looking(Toy):
        def evaluate(self, job):
            seen.append({found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"})
            return super().evaluate(job)

    seen = []
    problem = Looking()
    with threadpool_limits(2, user_api="blas"):
        search(problem, Evolution(problem, 0, pop_size=4), Budget(trials=2), tmp_path / "log.jsonl", seed=0)
    assert seen == [{1}, {1}]


def test_workers_do_not_outlive_a_killed_search():
    script = """
import os, sys, time
from jahslib.search.workers import pool
if __name__ == "__main__":
    with pool(2) as executor:
        print(*[executor.submit(os.getpid).result() for _ in range(2)], flush=True)
        time.sleep(60)
"""
    search = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    pids = [int(pid) for pid in search.stdout.readline().split()]
    search.kill()
    search.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.05)
