"""Running a study's searches: one after another or side by side, with a progress line."""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

from jahslib.problem import Problem
from jahslib.search import Budget, Optimizer, search
from jahslib.trials import History
from jahslib.workers import pool

log = logging.getLogger(__name__)


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


def run_all(
    runs: Iterable[Run], *, workers: int = 1, scheduler: str | None = None, fresh: bool = False
) -> dict[str, History]:
    """Run or resume searches; returns their histories by log name.

    With several searches and several workers, whole searches go side by side, each proposing and training in its own
    worker: its decisions then depend on nothing but its seed. A single search spreads its trials over the workers.
    """
    runs = list(runs)
    with pool(workers, scheduler) as executor:
        if len(runs) == 1:
            return {runs[0].log.stem: runs[0](fresh=fresh, executor=executor, workers=workers)}
        histories, waiting, running = {}, list(runs), {}
        started = time.monotonic()
        while waiting or running:
            while waiting and len(running) < workers:
                run = waiting.pop(0)
                future: Future = executor.submit(run, fresh=fresh)
                running[future] = run
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                run = running.pop(future)
                histories[run.log.stem] = future.result()
                log.info(
                    "%d of %d searches done, %.0f s: %s: %s",
                    len(histories),
                    len(runs),
                    time.monotonic() - started,
                    run.log.stem,
                    run.problem.verdict(histories[run.log.stem]),
                )
        return {run.log.stem: histories[run.log.stem] for run in runs}
