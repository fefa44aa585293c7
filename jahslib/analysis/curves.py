"""The course of searches: the incumbent against what was spent."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jahslib.analysis.tables import course
from jahslib.search.runs import AnySearch


def curves(searches: Sequence[AnySearch], metrics: Sequence[str]) -> pd.DataFrame:
    """Trace each search's incumbent, one row per trial from the first full one: metrics, feasible, what was spent."""
    rows = [
        {"task": s.task, "method": s.method, "seed": s.seed}
        | {"trials": at.trials, "epochs": at.epochs, "minutes": at.minutes}
        | {metric: at.incumbent.metrics.get(metric) for metric in metrics}
        | {"feasible": s.feasible(at.incumbent)}
        for s in searches
        for at in course(s)
    ]
    return pd.DataFrame(rows)


SPENT = ("trials", "epochs", "minutes")


def changes(course: pd.DataFrame, spent: Sequence[str] = SPENT) -> pd.DataFrame:
    """Keep the rows of a table of courses at which more than what was `spent` changes, and each search's last one.

    A search's rows follow one another; `task`, as far as there is one, `method` and `seed` tell it from the next.
    """
    held = course.drop(columns=[*spent], errors="ignore")
    search = held[held.columns.intersection(["task", "method", "seed"])]
    return course.loc[_differs(held, held.shift()) | _differs(search, search.shift(-1))]


def _differs(rows: pd.DataFrame, others: pd.DataFrame) -> pd.Series:
    return ((rows != others) & ~(rows.isna() & others.isna())).any(axis=1)


def mean_course(search: AnySearch) -> float:
    """Average the incumbent's cost over all trials of a search; failed ones count as the worst."""
    costs = [search.problem.cost(t) for t in search.history]
    return float(np.minimum.accumulate(costs).mean())
