"""The search function of all methods and studies.

It asks the optimizer, hands jobs to an executor, writes each finished trial to the log and only then tells the
optimizer. The same search started again takes what is logged as it is and continues from there.
"""

import inspect
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from jahslib.core.optimizer import Optimizer, Seed
from jahslib.core.problem import Problem, refuse_incomplete
from jahslib.core.trials import History, Trial
from jahslib.errors import Count, UserError, bounded
from jahslib.search import logfiles, provenance, triallog
from jahslib.search.loop import Budget, Loop
from jahslib.search.repeats import repeating
from jahslib.search.triallog import TrialLog
from jahslib.search.warm_start import described, renumbered
from jahslib.search.workers import InProcess

log = logging.getLogger(__name__)

__all__ = ["Budget", "fingerprint", "search"]

LONGEST_NAME = 255  # bytes, of a file or folder on Linux


def search(
    problem: Problem,
    optimizer: Optimizer | Callable[[Problem, int], Optimizer],
    budget: Budget,
    log_path: Path | str,
    *,
    seed: int,
    study: str = "",
    method: str = "",
    profile: str = "",
    executor: Executor | None = None,
    workers: int = 1,
    fresh: bool = False,
    warm_start: Iterable[Trial] = (),
    on_trial: Callable[[Trial, History], None] | None = None,
) -> History:
    """Run or resume one search and return its history.

    The log is authoritative: the optimizer is told what it holds and continues from there, on any machine.

    Args:
        optimizer: one that was made for this problem, or what makes one from problem and seed: an optimizer's class,
            or a `functools.partial` of it with its settings.
        log_path: the trial log; checkpoints are in a folder beside it while the search is unfinished.
        seed: seeds the training of every trial, and the optimizer where it is made here.
        executor: any `concurrent.futures.Executor`; default is this process, which trains one at a time.
        workers: number of trials that may be pending at once; at least 1.
        warm_start: trials of another search on the same problem (`jahslib.search.warm_start.trials_of` reads them from
            its log), or of several. They begin this log, are told to the optimizer, may be the incumbent, and are
            charged nothing.
        on_trial: called after a trial is safely logged.

    Raises:
        UserError: an invalid problem, budget, seed, number of workers or outcome; an optimizer for another space; the
            log belongs to another search or is in use; 50 trials in a row failed; a trial without the metrics that the
            problem names, or beyond `best`.
        LogWriteError: the log could not be extended; it is intact and the search can be resumed.
    """
    # imported here: ConfigSpace takes seconds, which `import jahslib.search` should not
    from jahslib.spaces import configurations as spaces

    refuse_incomplete(problem)
    spaces.refuse_unloggable(problem.space)
    if not isinstance(budget, Budget):
        kinds = "Budget(trials=...), Budget(epochs=...) or Budget(seconds=...)"
        raise UserError(f"search: budget={budget!r}; give {kinds}")
    workers = bounded("search: workers", workers, Count)
    for name, label in {"study": study, "method": method, "profile": profile}.items():
        if not isinstance(label, str):
            raise UserError(f"search: {name}={label!r}; give a text, or leave it out")
    if not isinstance(log_path, str | os.PathLike):
        raise UserError(f"search: log_path={log_path!r}; give the path of a file, such as 'mine.jsonl'")
    if not (executor is None or hasattr(executor, "submit")):
        raise UserError(f"search: executor={executor!r}; give one: `with pool(4) as executor:`, or leave it out")
    if not (on_trial is None or callable(on_trial)):
        raise UserError(f"search: on_trial={on_trial!r}; give a function of a trial and the history, or leave it out")
    seed = bounded("search: seed", seed, Seed)
    if isinstance(optimizer, type) or not hasattr(optimizer, "ask"):
        optimizer = _made(optimizer, problem, seed)
    _refuse_stranger(optimizer, problem)
    for configuration in getattr(optimizer, "configurations", ()):  # those of `Listed`
        problem.check_configuration(configuration)
    earlier = renumbered(warm_start, problem)
    labels = {"study": study, "method": method, "seed": seed}
    if executor is None and workers > 1:
        log.warning("search: workers=%d take turns in this process; give an executor, such as `pool`'s", workers)
    executor = executor or InProcess()
    threads = getattr(executor, "threads", None)
    header = {**labels, "profile": profile, **provenance.environment(problem.device, threads)}
    header["fingerprint"] = fingerprint(problem, optimizer, seed) | described(earlier)
    path = logfiles.named(log_path).absolute()
    checkpoints = logfiles.checkpoints(path)
    if len(os.fsencode(checkpoints.name)) > LONGEST_NAME:
        raise UserError(f"trial log {path}: its name is too long for its checkpoints' folder; give a shorter one")
    trial_log = TrialLog(path, header, fresh=fresh)
    run = Loop(problem, repeating(optimizer, problem), budget, trial_log, checkpoints, seed, labels, on_trial)
    try:
        run.begin_with(earlier)
        if not run.already_complete():
            run.replay()
        if not run.end:  # else the log goes on beyond this budget, or ends with it
            trial_log.make_extendable()  # before hours of training rather than after them
            run.live(executor, workers)
            trial_log.close({"reason": run.end, "elapsed": run.elapsed(), "budget": vars(budget)})
            run.leave_no_checkpoints()
    finally:
        trial_log.close()
    return run.history


def _made(optimizer: Any, problem: Problem, seed: int) -> Optimizer:
    """Call what makes an optimizer. Raises `UserError` for what is none, or takes other arguments than it is given."""
    made: Any = optimizer
    if callable(optimizer):
        try:
            inspect.signature(optimizer).bind(problem, seed)
        except (TypeError, ValueError) as error:  # before the call, whose own errors are other ones
            name = getattr(optimizer, "func", optimizer)
            said = f"optimizer {getattr(name, '__name__', name)}: {error.__cause__ or error}"
            raise UserError(f"search: {said}; give what takes a problem and a seed, and settings it has") from error
        made = optimizer(problem, seed)
    if not hasattr(made, "ask"):
        mend = "give one, or its class: search(problem, RandomSearch, ...)"
        raise UserError(f"search: {optimizer!r} is no optimizer; {mend}")
    return made


def _refuse_stranger(optimizer: Optimizer, problem: Problem) -> None:
    """Raise `UserError` for an optimizer that was made for a problem of another space or other fidelities."""
    own = getattr(optimizer, "problem", None)
    if isinstance(own, Problem) and own is not problem and _searched(own) != _searched(problem):
        made = f"was made for {own.name}, whose space or fidelities are not those of {problem.name}"
        raise UserError(f"search: optimizer {type(optimizer).__name__} {made}; make it for the problem to search")


def _searched(problem: Problem) -> tuple:
    return problem.space.to_serialized_dict(), problem.fidelity


def fingerprint(problem: Problem, optimizer: Optimizer, seed: int) -> dict[str, Any]:
    """Describe what two searches must share for one to resume the other. `UserError` if JSON cannot hold it."""
    made = {"problem": problem.describe(), "optimizer": optimizer.describe(), "seed": seed}
    try:
        triallog.dumped(made)
    except TypeError as error:
        raise UserError(
            f"search: problem {problem.name} or {type(optimizer).__name__}: `describe` returned what JSON cannot hold "
            f"({error}); return numbers, texts, lists and dictionaries"
        ) from error
    return made
