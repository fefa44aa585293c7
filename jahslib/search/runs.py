"""Execution of a study's searches, sequentially or in parallel, with progress."""

import logging
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Problem
from jahslib.core.trials import History, Trial, as_proposed
from jahslib.errors import UserError
from jahslib.search import logfiles, triallog
from jahslib.search.loop import Budget
from jahslib.search.search import fingerprint, search
from jahslib.search.shared import LOST, submit
from jahslib.search.watch import Watch, best, duration
from jahslib.search.workers import SimulatedWorkers, pool

log = logging.getLogger(__name__)

BAR_EVERY, LINE_EVERY = 1.0, 30.0  # seconds
MIN_TRIALS = 3  # before a time left is estimated


@dataclass(frozen=True)
class Run:
    """A search that is ready to run: the arguments of `search`, and the context of its result.

    Args:
        label, task: the method's name in tables and figures, and which of a study's tasks it is on.
        judged: the problem by whose constraints its trials are compared, where the search itself ignores one.
        tested: the problem of its incumbent's final trainings.
        simulated: workers on a simulated clock (`SimulatedWorkers`), 0 for none.
    """

    problem: Problem
    optimizer: Optimizer
    budget: Budget
    log: Path
    seed: int
    method: str
    study: str
    profile: str
    label: str = ""
    task: str = ""
    judged: Problem | None = None
    tested: Problem | None = None
    simulated: int = 0

    def check(self, *, fresh: bool = False) -> None:
        """Raise `UserError` if the trial log is of another search; writes nothing."""
        wanted = fingerprint(self.problem, self.optimizer, self.seed)  # always: it loads the problem's data
        if logfiles.exists(self.log) and not fresh:
            triallog.refuse_other_search(self.log, wanted)

    def __call__(self, *, fresh: bool = False, executor: Executor | None = None, workers: int = 1) -> History:
        if self.simulated:  # what is to go on is restarted, as its clock is lost
            fresh = fresh or not (logfiles.exists(self.log) and is_done(self, triallog.read(self.log)))
            executor, workers = SimulatedWorkers(), self.simulated
        labels = {name: getattr(self, name) for name in ("seed", "study", "method", "profile")}
        how = {"executor": executor, "workers": workers, "fresh": fresh}
        return search(self.problem, self.optimizer, self.budget, self.log, **labels, **how)

    def search(self, history: History) -> "AnySearch":
        """Join this run and its history. Raises `UserError` if no trial was finished at the highest fidelity."""
        problem = self.judged or self.problem
        if problem.incumbent(history) is None:
            said = f"no full training within {sum(t.epochs for t in history):g} epochs"
            mend = "give the search a larger budget"
            if not history.trained:
                mend += ", or looser constraints on what is known before training"
            raise UserError(f"{self.log.stem}: {said}; {mend}")
        names = {"task": self.task, "label": self.label or self.method, "name": self.log.stem}
        return AnySearch(self.method, self.seed, history, problem, tested=self.tested, **names)


AnyProblem = TypeVar("AnyProblem", bound=Problem)


@dataclass(frozen=True)
class AnySearch(Generic[AnyProblem]):
    """A finished search of a comparison; see `Run`.

    Args:
        problem: with the study's constraints, also where the search ignored one.
        name: of its trial log, without the suffix.
        tests: the incumbent's final trainings, on the test split.
        confirmed: the incumbent by the means of further trainings, where there were some; see `Study.confirm`.
    """

    method: str
    seed: int
    history: History
    problem: AnyProblem
    task: str = ""
    label: str = ""
    name: str = ""
    tested: AnyProblem | None = None
    tests: Sequence[Trial] = ()
    confirmed: Trial | None = None

    @property
    def incumbent(self) -> Trial:
        """The best trial, which is feasible if any is; or the confirmed one."""
        found = self.confirmed or self.problem.incumbent(self.history)
        assert found is not None, f"{self.method} with seed {self.seed} finished no trial"
        return found

    @property
    def full(self) -> list[Trial]:
        """Trials that may be the incumbent, as they were proposed; see `Problem.judged`."""
        return self.problem.judged(as_proposed(self.history))

    @property
    def epochs(self) -> float:
        """Epochs charged."""
        return sum(t.epochs for t in self.history)

    def feasible(self, trial: Trial) -> bool:
        """Tell whether a trial keeps all constraints."""
        return self.problem.violation(trial) == 0


def read_search(log: Path, problem: Problem, *, label: str = "", task: str = "") -> AnySearch:
    """Read a finished search from its log alone, of a tool that is not installed, say. `UserError` for others."""
    logged = triallog.read(log)
    if logged.end is None:
        raise UserError(f"trial log {log}: the search is not finished; run it to its end")
    history, by_id = History(), {trial.id: trial for trial in logged.trials}
    for trial in logged.trials:
        for number in range(len(history.suggestions), trial.asked):
            history.recall(by_id[number].suggestion() if number in by_id else None, trial)
        history.finish(trial)
    method, seed = logged.header["method"], logged.header["seed"]
    return AnySearch(method, seed, history, problem, task=task, label=label or method, name=log.stem)


def run_all(
    runs: Iterable[Run], *, workers: int = 1, scheduler: str | None = None, fresh: bool = False
) -> dict[str, History]:
    """Run or resume searches; returns their histories by log name.

    Several searches run side by side, each proposing and training in one worker: its decisions then depend on nothing
    but its seed. A single search distributes its trials. Finished ones are only read, without a worker or messages.
    """
    runs = list(runs)
    with _progress(runs, fresh) as finished:
        histories = {run.log.stem: run() for run in runs if run.log in finished}
        waiting = [run for run in runs if run.log not in finished]
        if waiting:
            with pool(workers, scheduler) as executor:
                if len(runs) == 1:
                    return {runs[0].log.stem: runs[0](fresh=fresh, executor=executor, workers=workers)}
                histories |= _side_by_side(waiting, executor, workers, fresh)
        return {run.log.stem: histories[run.log.stem] for run in runs}


def _side_by_side(waiting: list[Run], executor: Executor, workers: int, fresh: bool) -> dict[str, History]:
    histories: dict[str, History] = {}
    running: dict[Future, Run] = {}
    began, again = time.time(), set()
    while waiting or running:
        while waiting and len(running) < workers:
            run = waiting.pop(0)
            running[submit(executor, logfiles.checkpoints(run.log), run, fresh=fresh)] = run
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in [future for future in running if future in done]:  # as they began
            run = running.pop(future)
            if future.cancelled():
                raise UserError(LOST)
            if isinstance(future.exception(), BrokenProcessPool):  # killed, possibly by chance: try once more
                if run.log in again:
                    raise UserError(
                        f"{run.log.stem}: two workers in turn were killed in it, for want of memory perhaps; "
                        "mend that and run again to resume"
                    )
                again.add(run.log)
                begun = run.log.exists() and run.log.stat().st_mtime >= began
                running[submit(executor, logfiles.checkpoints(run.log), run, fresh=fresh and not begun)] = run
                continue
            histories[run.log.stem] = future.result()
            log.info("%s: %s", run.log.stem, run.problem.verdict(histories[run.log.stem]))
    return histories


class _Pace:
    """Time of the last headless line: at most one per LINE_EVERY seconds in a process."""

    last = -math.inf


@contextmanager
def _progress(runs: list[Run], fresh: bool) -> Iterator[set[Path]]:
    """Show a bar in a notebook, occasional log lines in a headless run; yields the logs that are finished already."""
    headless = "JAHSLIB_RUN" in os.environ
    begun, since = time.monotonic(), time.time() if fresh else 0.0
    watches = [Watch(run.log, since, run.problem.objective, tuple(run.problem.constraints)).look() for run in runs]
    before = sum(w.trials for w in watches), sum(w.epochs for w in watches)
    total = sum(map(size, runs))
    most = total if math.isfinite(total) else None
    bar = tqdm(total=most, initial=before[1], unit="epoch", disable=headless)  # its rate is that of this call
    finished = threading.Event()

    def look() -> None:
        for watch in watches:
            watch.look()
        if headless:
            _Pace.last = time.monotonic()
            log.info("%s", _line(runs, watches, before, time.monotonic() - begun))
        else:
            bar.n = sum(w.epochs for w in watches)
            said = filter(None, [f"{sum(w.trials for w in watches)} trials", best(watches)])
            bar.set_postfix_str(", ".join(said), refresh=False)
            bar.refresh()

    def pause() -> float:
        return max(0.0, max(begun, _Pace.last) + LINE_EVERY - time.monotonic()) if headless else BAR_EVERY

    def watch_on() -> None:
        while not finished.wait(pause()):
            look()

    thread = threading.Thread(target=watch_on, daemon=True)
    thread.start()
    try:
        yield set() if fresh else {run.log for run, watch in zip(runs, watches, strict=True) if is_done(run, watch)}
    finally:
        finished.set()
        thread.join()
        if not headless or time.monotonic() - _Pace.last >= LINE_EVERY:
            look()
        bar.close()


def _line(runs: list[Run], watches: list[Watch], before: tuple[int, float], seconds: float) -> str:
    """Format a headless progress line; `before`: trials and epochs that had been spent `seconds` ago."""
    trials, epochs = sum(w.trials for w in watches), sum(w.epochs for w in watches)
    failed = sum(w.statuses["failed"] for w in watches)
    open_ = [(run, watch) for run, watch in zip(runs, watches, strict=True) if not is_done(run, watch)]
    total, found = sum(map(size, runs)), best(watches)
    parts = [
        f"{len(runs) - len(open_)} of {len(runs)} searches done" if len(runs) > 1 else "",
        f"{trials} trials" + (f" ({failed} failed)" if failed else ""),
        f"best {found}" if found else "",
        f"{epochs:.0f} of at most {total:.0f} epochs" if math.isfinite(total) else f"{epochs:.0f} epochs",
    ]
    left = sum(max(0.0, size(run) - watch.epochs) for run, watch in open_)
    limit = sum(run.budget.seconds or math.inf for run, _ in open_)
    # The first few trials do not determine the rate, as unfinished ones do not count.
    if open_ and trials - before[0] >= MIN_TRIALS and epochs > before[1]:
        left_s = min(left / (epochs - before[1]) * seconds, limit)
        parts.append(f"about {duration(left_s)} left" if math.isfinite(left_s) else "")
    return ", ".join(filter(None, parts))


def is_done(run: Run, log: Watch | triallog.LoggedSearch) -> bool:
    """Tell whether the log ends with this budget exhausted, or the optimizer."""
    return log.end is not None and (log.end["reason"] == "optimizer" or log.end["budget"] == vars(run.budget))


def size(run: Run) -> float:
    """Compute the most epochs a run may spend; infinite where only a time limit is set."""
    if run.budget.epochs is not None:
        return run.budget.epochs
    if run.budget.trials is None:
        return math.inf
    return run.budget.trials * run.problem.epochs((run.problem.fidelity.high,))
