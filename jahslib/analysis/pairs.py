"""Methods compared on the same seeds, two at a time: differences as a table and in words."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.methods import by_task
from jahslib.analysis.statistics import paired_bootstrap, signed_rank
from jahslib.search.runs import AnySearch


def difference(first: Sequence[float], second: Sequence[float], *, digits: int) -> dict[str, Any]:
    """`first - second`, a value a seed: how many, their mean, its 95 % bootstrap interval (`low`, `high`), and the
    two-sided `p` of Wilcoxon's signed-rank test."""
    found = paired_bootstrap(first, second, np.random.default_rng(0))
    return {
        "n": found.n,
        "difference": round(found.mean, digits),
        "low": round(found.low, digits),
        "high": round(found.high, digits),
        "p": signed_rank(first, second),
    }


def paired_table(
    searches: Sequence[AnySearch], own: Collection[str], metrics: Mapping[str, Callable[[AnySearch], float]]
) -> pd.DataFrame:
    """The methods `own` minus each other one, on each task, in hundredths (percentage points of an error).

    Args:
        own: the methods that are judged.
        metrics: what is compared, of a search, by its name in the table.
    """
    rows = []
    for task, groups in by_task(searches).items():
        pairs = [
            (ours, theirs) for m, ours in groups.items() if m in own for o, theirs in groups.items() if o not in own
        ]
        for ours, theirs in pairs:
            seeds = sorted({s.seed for s in ours} & {s.seed for s in theirs})
            for metric, value in metrics.items():
                pair = [[100 * value(s) for seed in seeds for s in g if s.seed == seed] for g in (ours, theirs)]
                label = f"{ours[0].label} − {theirs[0].label}"
                rows.append({"data": task, "pair": label, "metric": metric, **difference(*pair, digits=3)})
    return pd.DataFrame(rows, columns=["data", "pair", "metric", "n", "difference", "low", "high", "p"])


def judged(table: pd.DataFrame, metrics: Collection[str]) -> pd.DataFrame:
    """`paired_table`'s rows of these metrics, of which less is better, with the `verdict` at .05 by Wilcoxon's test."""
    table = table.loc[table.metric.isin(list(metrics))]
    words = np.where(table.p >= 0.05, "not told apart", np.where(table.difference < 0, "ahead", "behind"))
    return table.assign(verdict=words)


def verdicts(table: pd.DataFrame, metrics: Mapping[str, str]) -> str:
    """In words, for each pair: on which tasks and metrics (name -> words) it is ahead, behind and not told apart. Of
    the verdict with most comparisons only their number and the p nearest to .05 are given."""
    parts = []
    for pair, rows in judged(table, metrics).groupby("pair", sort=False):
        said = []
        for word, own in sorted(rows.groupby("verdict"), key=lambda group: -len(group[1])):
            if not said and len(own) > 1:
                edge = f"p ≤ {own.p.max():.2g}" if word != "not told apart" else f"p ≥ {own.p.min():.2g}"
                said.append(f"{word} in {len(own)} of {len(rows)} comparisons ({edge})")
            else:
                said += [f"{word} in {r.data}, {metrics[str(r.metric)]} (p = {r.p:.2g})" for r in own.itertuples()]
        parts.append(f"{pair.replace('−', 'against')}: " + ", ".join(said))
    return "; ".join(parts)
