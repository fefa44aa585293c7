"""Parts that the tables of several studies share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from jahslib.core.trials import History, Trial, as_proposed
from jahslib.search.runs import AnySearch


def mean_of(trials: Sequence[Trial], metric: str) -> float:
    """Average a metric over trials that all have it."""
    return float(np.mean([t.metrics[metric] for t in trials]))


def feasible_share(search: AnySearch) -> float:
    """Compute the share of a search's full evaluations that meet the study's constraints."""
    return float(np.mean([search.feasible(t) for t in search.full]))


@dataclass(frozen=True)
class Standing:
    """How a search stands after a trial: trials, epochs charged and minutes so far, and the incumbent by then."""

    trials: int
    epochs: float
    minutes: float
    incumbent: Trial


def course(search: AnySearch) -> Iterator[Standing]:
    """Yield a search's standing trial by trial, from the first on that can be the incumbent."""
    candidates = {trial.id: trial for trial in search.full}
    best, epochs = None, 0.0
    for number, trial in enumerate(search.history, start=1):
        epochs += trial.epochs
        if found := candidates.get(trial.id):
            best = min(filter(None, (best, found)), key=lambda t: (search.problem.rank(t), t.id))
        if best is not None:
            yield Standing(number, epochs, trial.elapsed / 60, best)


def evaluations_table(
    searches: Sequence[AnySearch], columns: Mapping[str, Callable[[AnySearch, Trial], Any]], *, failed: bool = False
) -> pd.DataFrame:
    """List the evaluations at the highest fidelity as they were proposed: one row each, with these columns.

    Before them stand task (where there are several), method and seed. `failed` lists also those that did, or rejected.
    """
    rows = [
        {"task": s.task, "method": s.method, "seed": s.seed} | {name: of(s, t) for name, of in columns.items()}
        for s in searches
        for t in ((t for t in as_proposed(s.history) if t.final) if failed else s.full)
    ]
    return without_lone_task(pd.DataFrame(rows, columns=["task", "method", "seed", *columns]))


def without_lone_task(table: pd.DataFrame) -> pd.DataFrame:
    """Drop the column `task` where no search names one."""
    return table if table.task.any() else table.drop(columns="task")


def space_table(space: ConfigurationSpace, values: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Describe a space: one row per numeric hyperparameter, with its value in each of the configurations `values`."""
    rows = []
    for parameter in (p for p in space.values() if hasattr(p, "lower")):
        row = {"hyperparameter": parameter.name, "lower": parameter.lower, "upper": parameter.upper}  # type: ignore[attr-defined]
        row |= {"log": getattr(parameter, "log", False), "default": parameter.default_value}
        rows.append(row | {name: own.get(parameter.name) for name, own in values.items()})
    return pd.DataFrame(rows).astype({name: float for name in ("default", *values)})


SAME_SESSION = 0.5  # seconds: the clocks agree to milliseconds, and to start a process takes longer


def choosing(history: History) -> list[float]:
    """Compute the seconds that each trial but the first of a session waited for its proposal, from the log's clocks.

    The first also waits for the optimizer's package to be imported and, where a search was resumed, for all that it
    had proposed before. Only a search that trains one trial at a time keeps choosing and training apart.
    """
    elapsed, finished = (np.diff([getattr(t, clock) for t in history]) for clock in ("elapsed", "finished"))
    waited = elapsed - [t.seconds for t in history.trials[1:]]
    # `elapsed` stands still between two sessions, `finished` does not.
    return waited[finished - elapsed < SAME_SESSION].clip(min=0.0).tolist()
