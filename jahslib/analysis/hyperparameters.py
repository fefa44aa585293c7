"""Tables of searches for training hyperparameters, one row or group a data set."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jahslib.problems.tuned_network import TunedNetwork
from jahslib.search.runs import AnySearch

Search = AnySearch[TunedNetwork]


def best(searches: Sequence[Search]) -> Search:
    """Return the search with the best incumbent."""
    return min(searches, key=lambda s: s.problem.rank(s.incumbent))


def diverged(search: Search) -> int:
    """Count the trials that failed, or ended with a loss clearly above that of guessing, ln(classes)."""
    guessing = 1.05 * np.log(search.problem.classes)
    return sum(t.status == "failed" or t.curve.get("train_loss", [0.0])[-1] > guessing for t in search.history)


def stopping_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Tell what early stopping saved in each search: configurations, those stopped, epochs with and without it."""
    rows = []
    for s in searches:
        continued = {t.parent for t in s.history}
        ends = [t for t in s.history if t.id not in continued]
        stopped = sum(t.status == "ok" and not t.final for t in ends)
        row = {"task": s.task, "seed": s.seed, "configurations": len(ends), "stopped": stopped}
        row |= {"epochs": s.epochs, "epochs_unstopped": len(ends) * s.problem.max_epochs}
        rows.append(row | {"val_top1": s.incumbent.metrics["top1"]})
    return pd.DataFrame(rows)
