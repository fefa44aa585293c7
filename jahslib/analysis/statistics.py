"""Statistics of comparisons: bootstrap intervals, one-sided tests, rankings over blocks, McNemar's test.

Bootstrap: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993; percentile intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, ttest_ind

from jahslib.errors import UserError

LEVEL = 0.95


def interval(means: np.ndarray) -> np.ndarray:
    """Take the 95 % percentile interval of resampled means, `resamples x ...` -> `2 x ...`."""
    return np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def one_sided(values: Sequence[float], baseline: Sequence[float]) -> tuple[float, float]:
    """Test whether the mean of `values` is above the baseline's: p of a one-sample z-test, and of Welch's t-test.

    The z-test takes the baseline's mean for known; Welch's (Biometrika 34, 1947), the safer one, does not.
    """
    from statsmodels.stats.weightstats import ztest

    z_p = ztest(values, value=float(np.mean(baseline)), alternative="larger")[1]
    welch = ttest_ind(values, baseline, equal_var=False, alternative="greater")
    return float(z_p), float(welch.pvalue)  # type: ignore[union-attr]


def band(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap the mean curve's 95 % interval, `seeds x points` -> two of `points`; whole curves are resampled."""
    rows = rng.integers(len(values), size=(2000, len(values)))
    counts = np.stack([(rows == i).sum(axis=1) for i in range(len(values))], axis=1)
    low, high = interval(counts @ values / len(values))
    return low, high


@dataclass(frozen=True)
class Ranking:
    """Methods compared over blocks: mean ranks (1 is best), p of Friedman's test, and of Nemenyi's for each pair."""

    blocks: int
    ranks: pd.Series
    friedman: float
    nemenyi: pd.DataFrame


def ranking(costs: pd.DataFrame) -> Ranking:
    """Rank methods (columns, at least three) within each block (row, at least two) by a cost; equal ones share a rank.

    J. Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006. His blocks are data sets;
    with several seeds of one as blocks the p values speak of these data sets alone.
    """
    import scikit_posthocs

    blocks, methods = costs.shape
    if methods < 3 or blocks < 2:
        raise UserError(f"ranking: {methods} methods on {blocks} blocks; give at least three methods and two blocks")
    within = costs.rank(axis=1)  # also of infinite costs, which are those of searches that found nothing feasible
    if (within.nunique(axis=1) == 1).all():  # Friedman's statistic would be 0 / 0
        return Ranking(blocks, within.mean(), 1.0, pd.DataFrame(1.0, index=costs.columns, columns=costs.columns))
    friedman = float(friedmanchisquare(*within.to_numpy().T).pvalue)
    nemenyi = scikit_posthocs.posthoc_nemenyi_friedman(within.to_numpy())
    named = nemenyi.set_axis(costs.columns, axis=0).set_axis(costs.columns, axis=1)
    return Ranking(blocks, within.mean(), friedman, named)


def mcnemar_table(
    labels: np.ndarray, predictions: Mapping[str, Sequence[int]], reported: Mapping[str, float]
) -> pd.DataFrame:
    """Test the first classifier against each other one, by McNemar on top-1 correctness over the same test images.

    Statistic (|b - c| - 1)^2 / (b + c), with continuity correction, b and c the images that only one of the two
    classifies rightly; chi-squared with one degree of freedom (3.841 at 5 %). `labels` are the images' true classes,
    `predictions` those by a classifier's name, `reported` statistics by pair, such as "EA-HB vs RS".
    """
    from statsmodels.stats.contingency_tables import mcnemar

    (first, a), *others = ((name, np.asarray(found) == labels) for name, found in predictions.items())
    rows = []
    for name, b in others:
        pair = f"{first} vs {name}"
        counts = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
        alone = int(counts[0][1]), int(counts[1][0])
        result = mcnemar(counts, exact=False, correction=True) if any(alone) else None  # else 0 / 0
        statistic, p = (result.statistic, result.pvalue) if result else (0.0, 1.0)
        row = {"pair": pair, "only_first_right": alone[0], "only_second_right": alone[1], "statistic": statistic}
        rows.append(row | {"p": p, "significant": bool(p < 0.05), "reported_statistic": reported.get(pair)})
    return pd.DataFrame(rows)
