"""Evaluation of one job, in the executor's process."""

import errno
import math
import os
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from jahslib.core.problem import Job, Outcome, Problem, numbers, scalar
from jahslib.errors import EvaluationError, NotNegative, UserError, bounded

# Errors of disk, mount, permissions or system limits, not of the configuration.
UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
    *(errno.ENOTDIR, errno.EISDIR),
    *(errno.EIO, errno.EREMOTEIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE),
}
_TORN_BY_TORCH = ("unexpected pos", "PytorchStreamWriter")  # `torch.save` on a full disk gives no reason


@dataclass
class Evaluated:
    """The result of a job, successful or not."""

    status: str
    outcome: Outcome = field(default_factory=lambda: Outcome({}, 0.0))
    reason: str = ""
    seconds: float = 0.0
    started: float = 0.0
    worker: str = ""


def evaluate(problem: Problem, job: Job) -> Evaluated:
    """Evaluate a job in the executor's process; an exception gives a failed trial.

    `UserError` is passed on: the problem's own, an invalid outcome, or a fault of the system, such as a full disk.
    """
    started, clock = time.time(), time.perf_counter()
    status, reason = "ok", ""
    try:
        # One BLAS thread: the matrices are small, more threads compete with other workers' (training that
        # measures ranks took three times as long), and the order of sums must not depend on the number of cores.
        with _thread_pools().limit(limits=1, user_api="blas"):
            outcome = _checked(problem, problem.evaluate(job))
        bad = [f"{name} is {value}" for name, value in outcome.metrics.items() if not math.isfinite(value)]
        if bad:
            status, reason = "failed", bad[0]
            outcome.metrics = {k: v for k, v in outcome.metrics.items() if math.isfinite(v)}
        elif outcome.cut:
            status, reason = "cut", "time limit"
    except (UserError, KeyboardInterrupt):  # a missing data set, say: every further trial would fail the same way
        raise
    except BaseException as error:  # `sys.exit` in a training script must end only that trial
        if (cause := _of_the_system(error)) is not None:
            raise UserError(
                f"problem {problem.name}: {reason_of(cause)}; mend that and run again, the trial was not logged"
            ) from error
        status, reason = "failed", reason_of(error)
        outcome = Outcome({}, error.epochs if isinstance(error, EvaluationError) else 0.0)
    return Evaluated(status, outcome, reason, time.perf_counter() - clock, started, f"pid {os.getpid()}")


def _of_the_system(error: BaseException | None) -> BaseException | None:
    """Find the error in a chain that the system caused, not the configuration."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            return error
        if isinstance(error, RuntimeError) and any(text in str(error) for text in _TORN_BY_TORCH):
            return OSError(f"a file could not be written whole ({error})")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _checked(problem: Problem, outcome: Any) -> Outcome:
    """Convert the outcome's numbers to Python's types; `UserError` for anything but an Outcome of numbers."""
    place = f"problem {problem.name}: evaluate"
    if not isinstance(outcome, Outcome):
        raise UserError(f"{place} returned {type(outcome).__name__}; return an Outcome(metrics, epochs)")
    outcome.metrics = numbers(outcome.metrics, place)
    for part in ("curve", "outputs"):
        if not isinstance(held := getattr(outcome, part), dict):
            raise UserError(f"{place} returned {part}={held!r}; return a dictionary")
    for name, values in outcome.curve.items():
        if not (isinstance(values, list | tuple) or hasattr(values, "tolist")):
            raise UserError(f"{place} returned curve {name!r}={values!r}; return a list, with a value an epoch")
    outcome.epochs = bounded(f"{place} returned epochs", scalar(outcome.epochs), NotNegative)
    return outcome


@cache
def _thread_pools() -> ThreadpoolController:
    """Find the thread pools, once: that takes milliseconds, limiting them microseconds."""
    return ThreadpoolController()


def reason_of(error: BaseException) -> str:
    """Format an error's type and first line for the trial log, as text that can be encoded."""
    first_line = (str(error).strip().splitlines() or [""])[0]
    reason = f"{type(error).__name__}: {first_line}"[:300]
    return reason.encode(errors="backslashreplace").decode()  # lone surrogates, as from a foreign file name
