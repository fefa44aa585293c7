"""Running a study's searches, one after another or side by side, with progress."""

import logging
import os
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from jahslib import spaces, triallog
from jahslib.errors import UserError
from jahslib.optimizers.random_search import Listed
from jahslib.problem import Configuration, Problem
from jahslib.search import Budget, Optimizer, fingerprint, search
from jahslib.trials import History, Trial
from jahslib.workers import pool

log = logging.getLogger(__name__)

BAR_EVERY, LINE_EVERY = 1.0, 30.0  # seconds


@dataclass(frozen=True)
class Run:
    """A search that is ready to be run: the arguments of `jahslib.search.search`."""

    problem: Problem
    optimizer: Optimizer
    budget: Budget
    log: Path
    seed: int
    method: str
    study: str
    profile: str

    def check(self, *, fresh: bool = False) -> None:
        """Refuse a trial log of another search; writes nothing. Describing the problem loads its data."""
        wanted = fingerprint(self.problem, self.optimizer, self.seed)
        if self.log.exists() and not fresh:
            triallog.refuse_other_search(self.log, wanted)

    def __call__(self, *, fresh: bool = False, executor=None, workers: int = 1) -> History:
        return search(
            self.problem,
            self.optimizer,
            self.budget,
            self.log,
            seed=self.seed,
            study=self.study,
            method=self.method,
            profile=self.profile,
            executor=executor,
            workers=workers,
            fresh=fresh,
        )


def trainings(
    problem: Problem,
    configurations: list[Configuration],
    log: Path,
    *,
    seed: int,
    method: str,
    study: str,
    profile: str,
) -> Run:
    """A run that trains each of the configurations in turn, from initial weights of its own, at the full fidelity."""
    budget = Budget(trials=len(configurations))
    return Run(problem, Listed(problem, seed, configurations), budget, log, seed, method, study, profile)


AnyProblem = TypeVar("AnyProblem", bound=Problem)
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class AnySearch(Generic[AnyProblem]):
    """A finished search of a comparison. `problem` has the study's constraints, also where the search ignored one."""

    method: str
    seed: int
    history: History
    problem: AnyProblem

    @property
    def incumbent(self) -> Trial:
        found = self.problem.incumbent(self.history)
        assert found is not None, f"{self.method} with seed {self.seed} finished no trial"
        return found

    @property
    def full(self) -> list[Trial]:
        """Trials that may be the incumbent, in completion order."""
        return [t for t in self.history if t.status == "ok" and t.final]

    def feasible(self, trial: Trial) -> bool:
        return self.problem.violation(trial) == 0


def retraining(
    found: AnySearch, problem: Problem, count: int, logs: Path, *, name: str = "", study: str, profile: str
) -> Run:
    """A search's incumbent trained `count` times, on a problem that measures it on the test split.

    A larger budget may bring another incumbent, so the log's name carries the configuration's digest.
    `name`: that of the search in the log's name, where its method and seed are not enough.
    """
    c = found.incumbent.configuration
    log = logs / f"test-{name or f'{found.method}-seed{found.seed}'}-{spaces.digest(c)}.jsonl"
    return trainings(problem, [c] * count, log, seed=found.seed, method=found.method, study=study, profile=profile)


def run_all(
    runs: Iterable[Run], *, workers: int = 1, scheduler: str | None = None, fresh: bool = False
) -> dict[str, History]:
    """Run or resume searches; returns their histories by log name.

    With several searches and several workers, whole searches go side by side, each proposing and training in its own
    worker: its decisions then depend on nothing but its seed. A single search spreads its trials over the workers.
    """
    runs = list(runs)
    with pool(workers, scheduler) as executor, _progress(runs, fresh):
        if len(runs) == 1:
            return {runs[0].log.stem: runs[0](fresh=fresh, executor=executor, workers=workers)}
        histories: dict[str, History] = {}
        waiting, running = list(runs), {}
        while waiting or running:
            while waiting and len(running) < workers:
                run = waiting.pop(0)
                future: Future = executor.submit(run, fresh=fresh)
                running[future] = run
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                run = running.pop(future)
                histories[run.log.stem] = future.result()
                log.info("%s: %s", run.log.stem, run.problem.verdict(histories[run.log.stem]))
        return {run.log.stem: histories[run.log.stem] for run in runs}


def run_trials(
    runs: Mapping[Key, Run], *, workers: int = 1, scheduler: str | None = None, fresh: bool = False
) -> dict[Key, list[Trial]]:
    """As `run_all`; returns the trials that succeeded, by the runs' keys."""
    if not runs:
        return {}
    histories = run_all(runs.values(), workers=workers, scheduler=scheduler, fresh=fresh)
    return {key: [t for t in histories[run.log.stem] if t.status == "ok"] for key, run in runs.items()}


@contextmanager
def _progress(runs: list[Run], fresh: bool) -> Iterator[None]:
    """Watch the trial logs grow: a bar for a person at a notebook, a line now and then for a headless run."""
    headless = "JAHSLIB_RUN" in os.environ
    since = time.time()
    total = sum(_size(run) for run in runs)
    bar = tqdm(total=total, unit="epoch", disable=headless)
    finished = threading.Event()

    def look() -> None:
        trials = [t for run in runs for t in _trials(run, since if fresh else 0.0)]
        bar.n = sum(t.epochs for t in trials)
        bar.set_postfix_str(f"{len(trials)} trials")
        bar.refresh()
        if headless:
            log.info("%d trials, %.0f of at most %.0f epochs, %.0f s", len(trials), bar.n, total, time.time() - since)

    def watch() -> None:
        while not finished.wait(LINE_EVERY if headless else BAR_EVERY):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        look()
        bar.close()


def _size(run: Run) -> float:
    """Epochs a run may spend at most, for the bar's length."""
    if run.budget.epochs is not None:
        return run.budget.epochs
    return (run.budget.trials or 0) * run.problem.epochs((run.problem.fidelity.high,))


def _trials(run: Run, since: float):
    try:
        return [t for t in triallog.read(run.log).trials if t.finished >= since]
    except UserError:  # not begun
        return []
