"""Methods compared on the same seeds: the difference with its interval and test, verdicts, and answers to claims."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from jahslib.analysis.statistics import interval

RESAMPLES = 10_000
LEVEL = 0.05
MARGIN = 0.01  # differences up to this count as none: one percentage point
FEWEST = 5  # pairs; an interval by resampling fewer is that of their extremes and covers too little

PAIR = ["n", "above", "difference", "low", "high", "p"]


def paired(differences: pd.Series) -> dict[str, Any]:
    """Describe the differences of two methods, one value per seed.

    Returns:
        `n`, how many of them are `above` 0, their mean (`difference`), its 95 % bootstrap interval (`low`, `high`), and
        the two-sided `p` of Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945); NaN where there are none.
    """
    values = differences.to_numpy(float)
    if not len(values):
        return dict.fromkeys(PAIR, math.nan) | {"n": 0}
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    ends = map(float, interval(values[drawn].mean(axis=1)))
    p = float(wilcoxon(values).pvalue) if values.any() else 1.0
    return dict(zip(PAIR, (len(values), int((values > 0).sum()), float(values.mean()), *ends, p), strict=True))


def holm(p: pd.Series) -> pd.Series:
    """Correct the p of one family of tests by Holm's method; a missing one stays missing and is no test."""
    known = p.dropna()
    return pd.Series(multipletests(known, method="holm")[1] if len(known) else [], known.index, float).reindex(p.index)


def paired_table(
    table: pd.DataFrame,
    own: Collection[str],
    measures: Collection[str],
    *,
    lowest: bool = False,
    unit: str = "seed",
    others: Collection[str] | None = None,
    by: Sequence[str] = ("task",),
) -> pd.DataFrame:
    """Compare each of the methods `own` with each other one (or with `others`), by task and measure.

    Holm's correction (`p_holm`) is over all rows; two are `told_apart` where it is below .05.

    Args:
        table: what was `measured`, one row per method and `unit`.
        lowest: less is better.
        by: the columns that tell tasks apart, as far as the table has them.

    Returns:
        Columns of `by`, measure, first, second, those of `paired`, p_holm, leader, told_apart.
    """
    rows, by = [], [name for name in by if name in table]
    for values in [part for _, part in table.groupby(by, sort=False)] if by else [table]:
        methods = list(dict.fromkeys(values.method))
        rivals = [m for m in methods if m not in own] if others is None else [m for m in methods if m in others]
        for first, second in ((a, b) for a in methods if a in own for b in rivals):
            for measure in measures:
                found = paired(_differences(values, measure, first, second, unit))
                leader = second if (found["difference"] > 0) == lowest else first
                task = {name: values[name].iloc[0] for name in by}
                names = {"measure": measure, "first": first, "second": second}
                rows += [{**task, **names, **found, "leader": leader}] if found["n"] else []
    found = pd.DataFrame(rows, columns=[*by, "measure", "first", "second", *PAIR, "leader"])
    found.insert(len(found.columns) - 1, "p_holm", holm(found.p))
    found["told_apart"] = found.p_holm < LEVEL
    return found


def verdict(table: pd.DataFrame, measure: str, *, lowest: bool = False) -> list[dict[str, Any]]:
    """Say for each task which method leads: first by the number of seeds that have a value, then by their mean.

    Returns:
        Records of the `leader`, those `behind` it in order, whom of them the test tells from it (`told_apart`, see
        `paired_table`), and every method's mean and `n`.
    """
    records = []
    for task, values in table.groupby("task", sort=False) if "task" in table else [("", table)]:
        of = {str(m): own.dropna().to_list() for m, own in values.groupby("method", sort=False)[measure]}
        mean = {m: float(np.mean(own)) if own else None for m, own in of.items()}
        order = sorted(of, key=lambda m: (-len(of[m]), (mean[m] or 0.0) * (1 if lowest else -1)))
        against = paired_table(values, order[:1], [measure], lowest=lowest)
        told = {row.second for row in against.itertuples() if row.told_apart and row.leader == order[0]}
        record = {"leader": order[0], "behind": order[1:], "told_apart": [m for m in order if m in told]}
        record["methods"] = [{"method": m, "n": len(of[m]), "mean": mean[m]} for m in order]
        records.append(({"task": task} if task else {}) | record)
    return records


def answer(low: float, high: float, n: int, *, margin: float = MARGIN, claimed: str = "ahead") -> str:
    """Answer a claim by the 95 % interval of our difference, oriented so that the claimed one is positive.

    Args:
        n: independent units that the interval rests on; fewer than `FEWEST` cannot tell.
        margin: differences up to it count as equal.
        claimed: "ahead", or "equal" of a claim that there is no difference.
    """
    if n < FEWEST:
        return "cannot tell"
    if -margin <= low and high <= margin:
        return "reproduced" if claimed == "equal" else "equal within the margin"
    if claimed == "equal":
        return "contradicted" if low > margin or high < -margin else "cannot tell"
    return "reproduced" if low > 0 else "contradicted" if high < 0 else "cannot tell"


def claim(
    text: str,
    table: pd.DataFrame,
    measure: str,
    first: str,
    second: str | float,
    *,
    reported: float | None = None,
    margin: float = MARGIN,
    claimed: str = "ahead",
    unit: str = "seed",
) -> dict[str, Any]:
    """Answer the claim that the method `first` is above `second` (or a number) in a measure, or equal to it.

    Returns:
        A table's row: the claim, the reported difference, ours on the same seeds (see `paired`), margin and answer.
    """
    found = paired(_differences(table, measure, first, second, unit))
    said = answer(found["low"], found["high"], found["n"], margin=margin, claimed=claimed)
    return {"claim": text, "reported": reported, **found, "margin": margin, "answer": said}


def claims_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Collect a study's claims, with Holm's correction over all of them (`p_holm`)."""
    table = pd.DataFrame(rows, columns=["claim", "reported", *PAIR, "margin", "answer"])
    table.insert(table.columns.get_loc("margin"), "p_holm", holm(table.p))
    return table


def _differences(table: pd.DataFrame, measure: str, first: str, second: str | float, unit: str) -> pd.Series:
    """Subtract the second method's values from the first's, over the units that both have; a method has no pair."""
    if first == second:  # the ends of a sweep of one point, say
        return pd.Series(dtype=float)
    named = [name for name in (first, second) if isinstance(name, str)]
    values = table.pivot(index=unit, columns="method", values=measure).reindex(columns=named)
    other = values[second] if isinstance(second, str) else second
    return pd.Series(values[first] - other).dropna()
