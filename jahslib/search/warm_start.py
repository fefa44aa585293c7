"""Warm start: a search that begins with the trials of another one on the same problem.

Its log begins with copies of them, charged nothing: it can be resumed, replayed and read like any other.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jahslib.core.problem import Problem
from jahslib.core.problem import numbers as numbers_of
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.search import triallog

COPY = "copy of an earlier search"  # marks a copy in a trial's `worker`


def trials_of(path: Path | str, problem: Problem) -> list[Trial]:
    """Read a log's trials, for `search(..., warm_start=...)`. Raises `UserError` if it is of another problem."""
    logged = triallog.read(path)
    described = triallog.as_logged(problem.describe())
    triallog.refuse_difference(Path(path), logged.fingerprint["problem"], described, "another problem")
    return logged.trials


def renumbered(trials: Iterable[Trial], problem: Problem) -> list[Trial]:
    """Copy trials for a log's beginning: renumbered in completion order, charged nothing, parents included.

    Those of several searches may follow one another.

    Raises:
        UserError: something else than trials, one that continues a trial which is not among them, or one that a search
            of this problem could not have made.
    """
    numbers: dict[int, int] = {}
    copies = []
    for trial in [trials] if isinstance(trials, str | Path | None) else trials:
        if not isinstance(trial, Trial):
            raise UserError(f"warm start: {trial!r} is no trial; read a log's by `trials_of(log, problem)`")
        if trial.parent is not None and trial.parent not in numbers:
            raise UserError(f"warm start: trial {trial.id} continues trial {trial.parent}, which is not among them")
        number = numbers[trial.id] = len(copies)  # numbers are taken twice where two searches are joined
        parent = None if trial.parent is None else numbers[trial.parent]
        spared = {"epochs": 0.0, "seconds": 0.0, "elapsed": 0.0, "asked": number + 1, "worker": COPY}
        try:
            spared["configuration"] = triallog.as_logged(trial.configuration)
            spared["metrics"] = {n: v for n, v in numbers_of(trial.metrics, "it").items() if math.isfinite(v)}
            copies.append(replace(trial, id=number, parent=parent, bracket=None, rung=None, **spared))
            _refuse_unfit(copies[-1], problem)
        except (UserError, TypeError) as error:
            raise UserError(f"warm start: trial {trial.id}: {error}; leave it out, or search its problem") from error
    return copies


def _refuse_unfit(trial: Trial, problem: Problem) -> None:
    problem.check_configuration(trial.configuration)
    problem.refuse_undeclared(trial)
    if trial.fidelity > (high := problem.fidelity.high):
        raise UserError(f"its {problem.fidelity.name} {trial.fidelity:g} are beyond the problem's {high:g}")


def described(copies: list[Trial]) -> dict[str, Any]:
    """Return what distinguishes warm starts in the fingerprint; empty without one."""
    if not copies:
        return {}
    facts = json.dumps([[t.configuration, t.fidelity, t.status, t.metrics] for t in copies], sort_keys=True)
    return {"warm_start": hashlib.sha256(facts.encode()).hexdigest()[:16]}


def is_copy(trial: Trial) -> bool:
    """Tell whether a log's trial was copied from an earlier search."""
    return trial.worker == COPY
