"""The comparison of methods: one row a method, over its seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.tables import mean_epochs, mean_of, model_share, ranked
from jahslib.analysis.text import pm
from jahslib.search.runs import AnySearch


def by_method(searches: Sequence[AnySearch]) -> dict[str, list[AnySearch]]:
    """The searches of each method, in the order of their first."""
    return {m: [s for s in searches if s.method == m] for m in dict.fromkeys(s.method for s in searches)}


def by_task(searches: Sequence[AnySearch]) -> dict[str, dict[str, list[AnySearch]]]:
    """The searches of each task by their method, in the order of their first."""
    return {
        task: by_method([s for s in searches if s.task == task]) for task in dict.fromkeys(s.task for s in searches)
    }


def test_means(searches: Sequence[AnySearch], metric: str) -> list[float]:
    """A metric of each search's final trainings, averaged within the search."""
    return [mean_of(s.tests, metric) for s in searches]


def costs(searches: Sequence[AnySearch]) -> dict[str, Any]:
    """What the searches of one method took: epochs charged and minutes of one (with proposing, in `minutes_search`),
    and the epochs of all their final trainings."""
    return {
        "epochs_search": mean_epochs(searches),
        "minutes_training": round(float(np.mean([sum(t.seconds for t in s.history) / 60 for s in searches])), 1),
        "minutes_search": round(float(np.mean([s.history.trials[-1].elapsed / 60 for s in searches])), 1),
        "epochs_final": sum(round(t.epochs) for s in searches for t in s.tests),
    }


def methods_table(searches: Sequence[AnySearch], reported: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The comparison: each cell is over the seeds of a method (test values first averaged within a seed).

    Args:
        reported: the original's `accuracy`, `accuracy_sd` and `params_thousands` by method.
    """
    rows = []
    for method, own in by_method(searches).items():
        original = reported.get(method, {})
        trained = [[t for t in s.history if t.status == "ok"] for s in own]
        rows.append(
            {
                "method": own[0].label,
                "n": len(own),
                "val_top1": pm([s.incumbent.metrics["top1"] for s in own]),
                "test_top1": pm(test_means(own, "top1")),
                "params": pm(test_means(own, "params"), 0),
                "configurations": pm([len({str(t.configuration) for t in trials}) for trials in trained], 0),
                "from_model": model_share(own),
                "rejected": round(float(np.mean([sum(t.status == "rejected" for t in s.history) for s in own]))),
                **costs(own),
                "reported_test_top1": original.get("accuracy"),
                "reported_sd": original.get("accuracy_sd"),
                "reported_params": None if not original else 1000 * original["params_thousands"],
            }
        )
    return pd.DataFrame(rows)


def ordering(searches: Sequence[AnySearch], metric: str) -> str:
    """Methods by the mean of a metric over all final trainings of their incumbents, the highest first."""
    groups = by_method(searches)
    mean = {m: float(np.mean([t.metrics[metric] for s in own for t in s.tests])) for m, own in groups.items()}
    return ranked(mean, {m: own[0].label for m, own in groups.items()})
