"""The comparison of methods: measures of every search, and their means over seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.tables import choosing, mean_of, without_lone_task
from jahslib.core.trials import origins
from jahslib.search.runs import AnySearch

Measure = Callable[[AnySearch], float | None]  # None where a search does not tell


def by_method(searches: Sequence[AnySearch]) -> dict[str, list[AnySearch]]:
    """Group searches by method, in the order of each method's first."""
    return {m: [s for s in searches if s.method == m] for m in dict.fromkeys(s.method for s in searches)}


def incumbent(metric: str, scale: float = 1.0) -> Measure:
    """Measure a metric of the incumbent, as its search saw it."""
    return lambda s: scale * s.incumbent.metrics[metric]


def on_test(metric: str, scale: float = 1.0) -> Measure:
    """Measure a metric of the incumbent's final trainings, their mean."""
    return lambda s: scale * mean_of(s.tests, metric)


def configurations(s: AnySearch) -> int:
    """Count the different configurations that were trained, at any fidelity."""
    return len({str(t.configuration) for t in s.history if t.status != "rejected"})


def from_model(s: AnySearch) -> float | None:
    """Compute the share of configurations that a model proposed; None where the log does not tell their origin."""
    return origins(s.history).get("model", 0.0) if origins(s.history) else None


def seconds_a_proposal(s: AnySearch) -> float:
    """Average the seconds that a trial waited for its proposal (see `tables.choosing`); 0 where none can be told."""
    waits = choosing(s.history)
    return float(np.mean(waits)) if waits else 0.0


# What a search took; `minutes_search` includes proposing, `epochs_final` is what its final trainings took in addition.
COSTS: dict[str, Measure] = {
    "configurations": configurations,
    "from_model": from_model,
    "epochs_search": lambda s: s.epochs,
    "minutes_training": lambda s: sum(t.seconds for t in s.history) / 60,
    "minutes_search": lambda s: s.history.trials[-1].elapsed / 60,
    "seconds_choosing": lambda s: sum(choosing(s.history)),
    "seconds_a_proposal": seconds_a_proposal,
    "epochs_final": lambda s: sum(t.epochs for t in s.tests),
}


def measured(searches: Iterable[AnySearch], measures: Mapping[str, Measure]) -> pd.DataFrame:
    """Measure searches: one row each with its task (where there are several), label, seed and the `measures`."""
    rows = [
        {"task": s.task, "method": s.label, "seed": s.seed} | {name: of(s) for name, of in measures.items()}
        for s in searches
    ]
    table = pd.DataFrame(rows, columns=["task", "method", "seed", *measures])
    return without_lone_task(table.astype(dict.fromkeys(measures, float)))


def training_noise(searches: Iterable[AnySearch], metrics: Sequence[str]) -> pd.DataFrame:
    """Measure how far one test result lies from the next of the same configuration.

    Returns:
        One row a metric: `sd` of an incumbent's final trainings, whose variances are averaged over those `incumbents`
        that have several, at most so many `trainings` each; no row where none has.
    """
    repeated = [pd.DataFrame([t.metrics for t in s.tests])[list(metrics)] for s in searches if len(s.tests) > 1]
    sd = pd.DataFrame([tests.var() for tests in repeated]).mean().pow(0.5)
    noise = sd.rename_axis("metric").rename("sd").reset_index()
    return noise.assign(incumbents=len(repeated), trainings=max(map(len, repeated), default=0))


def summary(table: pd.DataFrame, by: Sequence[str], unit: str = "seed") -> pd.DataFrame:
    """Summarise a table over units: one row per group, in the order of its first.

    Returns:
        The columns `by`, `n` units, and of every other column `NAME_mean` and `NAME_sd`, the standard deviation of the
        sample (NaN of one unit).
    """
    groups = table.groupby(list(by), sort=False)
    found = groups.agg(n=(unit, "nunique"))
    for name in table.columns.difference([*by, unit], sort=False):
        found[f"{name}_mean"], found[f"{name}_sd"] = groups[name].mean(), groups[name].std(ddof=1)
    return found.reset_index()


def with_reported(
    table: pd.DataFrame, reported: Mapping[Any, Mapping[str, Any]], by: str | list[str] = "method"
) -> pd.DataFrame:
    """Set an original's values beside ours as columns `reported_NAME`, joined by the column or columns `by`."""
    keys = list(table[by] if isinstance(by, str) else table[by].itertuples(index=False, name=None))
    names = dict.fromkeys(name for row in reported.values() for name in row)
    return table.assign(**{f"reported_{name}": [reported.get(k, {}).get(name) for k in keys] for name in names})


def methods_table(table: pd.DataFrame, reported: Mapping[str, Mapping[str, Any]] | None = None) -> pd.DataFrame:
    """Summarise what was `measured`, one row per task and method over its seeds, beside what is reported of it."""
    return with_reported(summary(table, [name for name in ("task", "method") if name in table]), reported or {})
