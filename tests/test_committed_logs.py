"""Every committed search can be extended on this machine, whichever machine made its log.

Here one log a study and method; `python -m tests.test_committed_logs` does it with all of them and says how long each
took. Nothing is trained: the two trials that are added get the metrics of the log's last one.
"""

import copy
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jahslib.core.optimizer import Listed
from jahslib.core.problem import Outcome
from jahslib.core.trials import key
from jahslib.errors import UserError
from jahslib.experiments.notebook import experiment
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.search import Budget, logfiles, search, triallog
from jahslib.search.runs import Run

SEARCHED = ["01_growing_bohb", "02_growing_thresholds", "03_grammar_search", "05_darts_bohb", "06_ax_bo"]
SEARCHED += ["07_constrained_EA", "08_head_to_head"]


def untrained(problem, metrics):
    """The same problem, but for an `evaluate` that trains nothing."""

    def evaluate(self, job):
        return Outcome(dict(metrics), self.epochs(job.stages))

    stub = copy.copy(problem)
    stub.__class__ = type(type(problem).__name__, (type(problem),), {"evaluate": evaluate})
    return stub


def extend(run: Run, folder: Path, workers: int) -> tuple[int, int]:
    """Resume a copy of a run's log for two more trials; returns how many there were and were added."""
    logged = triallog.read(run.log).trials
    target = folder / f"{run.log.stem}-{workers}.jsonl"
    target.write_bytes(logfiles.content(run.log))
    last = [t for t in logged if t.status == "ok"][-1]
    stub = untrained(run.problem, last.metrics)
    optimizer = copy.deepcopy(run.optimizer)
    optimizer.problem = stub
    trained = sum(t.status != "rejected" for t in logged)
    with ThreadPoolExecutor(workers) as executor:
        budget = Budget(trials=trained + 2)
        history = search(stub, optimizer, budget, target, seed=run.seed, executor=executor, workers=workers)
    assert [t.id for t in history.trials[: len(logged)]] == [t.id for t in logged], "the log was not taken as it is"
    added = [t for t in history.trials[len(logged) :] if t.status != "rejected"]
    before = {(key(t.configuration), t.fidelity) for t in logged}
    if not isinstance(run.optimizer, PublishedEvolution):  # whose way it is to train again
        assert not before & {(key(t.configuration), t.fidelity) for t in added}, "trained again"
    target.unlink()
    return len(logged), len(added)


def runs(notebook: str) -> list[Run]:
    """The study's searches that are committed; skips where their data are not at hand."""
    try:
        found = sorted(experiment(notebook, {"profile": "cpu"}).study.planned, key=lambda run: run.log.name)
        found = [run for run in found if logfiles.exists(run.log)]
        for run in found:
            run.check()
    except UserError as error:
        pytest.skip(str(error))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("notebook", SEARCHED)
def test_one_log_of_each_method_is_extended_by_two_trials_with_two_workers(notebook, tmp_path):
    first = {(run.problem.name, run.method): run for run in reversed(runs(notebook))}
    for run in first.values():
        wanted = 0 if isinstance(run.optimizer, Listed) else 2
        assert extend(run, tmp_path, 2)[1] == wanted, run.log.name


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        for notebook in sys.argv[1:] or SEARCHED:
            for run in runs(notebook):
                since = time.perf_counter()
                told = [extend(run, Path(root), workers) for workers in (1, 2)]
                print(f"{notebook} {run.log.stem}: {told} {time.perf_counter() - since:.1f} s", flush=True)
