"""Workers on a simulated clock, so that hours of tabulated training times pass in seconds."""

import heapq
from collections.abc import Collection
from concurrent.futures import Executor, Future
from typing import Any

from jahslib.core.problem import Job


class SimulatedWorkers(Executor):
    """An executor that evaluates jobs at once and delivers results by a simulated clock.

    A trial's `started` and `seconds` are those of the clock, which begins at 0; the optimizer's own time passes on the
    real one. The problem must have `training_seconds(job)`. An interrupted search must be restarted: its clock is lost.
    """

    threads = 1

    def __init__(self):
        self._clock = 0.0
        self._running: list[tuple[float, int, Future]] = []  # by their end, and then in the order of submission
        self._submitted = 0

    def submit(self, fn, problem: Any, job: Job, /) -> Future:  # type: ignore[override]  # what the loop submits
        evaluated = fn(problem, job)
        evaluated.started, evaluated.worker = self._clock, "simulated"
        evaluated.seconds = problem.training_seconds(job)
        future: Future = Future()
        future.set_result(evaluated)
        heapq.heappush(self._running, (self._clock + evaluated.seconds, self._submitted, future))
        self._submitted += 1
        return future

    def first_completed(self, futures: Collection[Future]) -> set[Future]:
        """Advance the clock to the end of the next job; returns the jobs that end then."""
        free = {future for future in futures if all(future is not running for *_, running in self._running)}
        if free:  # a configuration that was rejected without a training
            return free
        self._clock = self._running[0][0]
        ended = set()
        while self._running and self._running[0][0] <= self._clock:
            ended.add(heapq.heappop(self._running)[2])
        return ended
