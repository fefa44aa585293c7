"""The evaluation of one job where the executor runs it."""

import math
import os
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from jahslib.errors import UserError
from jahslib.problem import Job, Outcome, Problem


@dataclass
class Evaluated:
    """What came of a job, whether it went well or not."""

    status: str
    outcome: Outcome = field(default_factory=lambda: Outcome({}, 0.0))
    reason: str = ""
    seconds: float = 0.0
    started: float = 0.0
    worker: str = ""


def evaluate(problem: Problem, job: Job) -> Evaluated:
    """Evaluate a job where the executor runs it; what goes wrong becomes a failed trial with its reason."""
    started, clock = time.time(), time.perf_counter()
    status, reason = "ok", ""
    try:
        # One BLAS thread: the matrices are small, other workers' threads are in the way of further ones (training that
        # watches ranks took three times as long), and sums must not be ordered by how many cores there are.
        with _thread_pools().limit(limits=1, user_api="blas"):
            outcome = problem.evaluate(job)
        outcome.metrics = {name: _plain(value) for name, value in outcome.metrics.items()}
        outcome.epochs = _plain(outcome.epochs)
        bad = [f"{name} is {value}" for name, value in outcome.metrics.items() if not math.isfinite(value)]
        if bad:
            status, reason = "failed", bad[0]
            outcome.metrics = {k: v for k, v in outcome.metrics.items() if math.isfinite(v)}
        elif outcome.cut:
            status, reason = "cut", "time limit"
    except UserError:  # a missing data set, say: every further trial would fail the same way
        raise
    except Exception as error:
        status, reason = "failed", reason_of(error)
        outcome = Outcome({}, getattr(error, "epochs", 0.0))
    return Evaluated(status, outcome, reason, time.perf_counter() - clock, started, f"pid {os.getpid()}")


@cache
def _thread_pools() -> ThreadpoolController:
    """Looking for them takes milliseconds, limiting those that were found microseconds."""
    return ThreadpoolController()


def _plain(number: Any) -> Any:
    """A number of NumPy's or torch's as Python's own."""
    return number.item() if hasattr(number, "item") else number


def reason_of(error: BaseException) -> str:
    """An error's kind and first line, as a trial log keeps it."""
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}"[:300]
