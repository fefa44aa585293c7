"""The course of searches: the incumbent against what was spent."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jahslib.analysis.tables import course
from jahslib.search.runs import AnySearch


def curves(searches: Sequence[AnySearch], metrics: Sequence[str]) -> pd.DataFrame:
    """Trace each search's incumbent: one row a trial, from the first that succeeded at full fidelity.

    A row holds the incumbent's `metrics`, whether it is feasible, and the trials, epochs and minutes so far.
    """
    rows = [
        {"task": s.task, "method": s.method, "seed": s.seed}
        | {"trials": at.trials, "epochs": at.epochs, "minutes": at.minutes}
        | {metric: at.incumbent.metrics.get(metric) for metric in metrics}
        | {"feasible": s.feasible(at.incumbent)}
        for s in searches
        for at in course(s)
    ]
    return pd.DataFrame(rows)


def mean_course(search: AnySearch) -> float:
    """Average the incumbent's cost over all trials of a search; failed ones count as the worst."""
    costs = [search.problem.cost(t) for t in search.history]
    return float(np.minimum.accumulate(costs).mean())
