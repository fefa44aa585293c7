"""Methods compared over seeds: paired bootstrap, anytime curves with confidence bands, the cost of choosing.

Bootstrap: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993; percentile intervals. Seeds are
resampled, and with them whatever two methods share on a seed (split, initial weights), which is what makes it paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import wilcoxon

from jahslib.errors import UserError
from jahslib.plots import COLOURS, DASHES, WIDTH, steps

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Mean of `first - second` over `n` pairs, its confidence interval, and the share of resamples not above zero."""

    n: int
    mean: float
    low: float
    high: float
    not_above: float


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> Difference:
    """Compare two methods on the same seeds.

    Raises:
        UserError: not the same number of values, or none.
    """
    if len(first) != len(second) or not len(first):
        raise UserError(f"paired bootstrap: {len(first)} and {len(second)} values are no pairs; give one each a seed")
    differences = np.asarray(first, float) - np.asarray(second, float)
    means = differences[rng.integers(len(differences), size=(resamples, len(differences)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(len(differences), float(differences.mean()), float(low), float(high), float((means <= 0).mean()))


def signed_rank(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945) on the same seeds; 1 where all pairs are
    equal."""
    differences = np.asarray(first, float) - np.asarray(second, float)
    return float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0


def band(values: np.ndarray, rng: np.random.Generator, *, resamples: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the mean over seeds, `seeds x points` -> two of `points`; whole curves are resampled."""
    rows = rng.integers(len(values), size=(resamples, len(values)))
    counts = np.stack([(rows == i).sum(axis=1) for i in range(len(values))], axis=1)
    means = counts @ values / len(values)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def anytime(
    table: pd.DataFrame, y: str, y_label: str, columns: Mapping[str, str], labels: Mapping[str, str], *, panel: str
) -> Figure:
    """The incumbent's `y` against each cost of `columns` (column -> axis label), mean and 95 % band over seeds.

    `table` has the columns method, seed, `y`, the costs and `panel`, whose values get a row each.
    """
    rng = np.random.default_rng(0)
    panels = list(dict.fromkeys(table[panel]))
    size = (WIDTH, 2.5 * len(panels) + 0.4)
    figure, axes = plt.subplots(len(panels), len(columns), figsize=size, squeeze=False, sharey="row")
    for row, shown in zip(axes, panels, strict=True):
        for axis, (x, x_label) in zip(row, columns.items(), strict=True):
            for colour, dashes, (method, label) in zip(COLOURS, DASHES, labels.items(), strict=False):
                own = table[(table[panel] == shown) & (table.method == method)]
                if len(own):
                    _curve(axis, own, x, y, rng, color=colour, linestyle=dashes, label=label)
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=pd.api.types.is_integer_dtype(table[x])))
            axis.set_xlabel(x_label)
        row[0].set_ylabel(y_label)
        row[0].set_title(shown if len(panels) > 1 else "", loc="left")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=len(names))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / size[1]))
    return figure


def _curve(axis, own: pd.DataFrame, x: str, y: str, rng: np.random.Generator, **look) -> None:
    """A curve begins where all its seeds have a value and ends with the first seed to end."""
    curves = [(seed[x].to_numpy(), seed[y].to_numpy()) for _, seed in own.groupby("seed")]
    start, end = max(c[0][0] for c in curves), min(c[0][-1] for c in curves)
    grid = np.unique(np.concatenate([c[0] for c in curves]))
    grid = grid[(grid >= start) & (grid <= end)]
    values = steps(curves, grid)
    axis.step(grid, values.mean(axis=0), where="post", linewidth=1.8, **look)
    if len(curves) > 1:
        low, high = band(values, rng)
        axis.fill_between(grid, low, high, step="post", color=look["color"], alpha=0.15, linewidth=0)


def costs(table: pd.DataFrame, parts: Mapping[str, str], labels: Mapping[str, str]) -> Figure:
    """One bar a method, of the parts (column -> legend) of its mean cost in seconds."""
    shown = [m for m in labels if (table.method == m).any()]
    figure, axis = plt.subplots(figsize=(WIDTH, 0.3 * len(shown) + 1.1))
    left = np.zeros(len(shown))
    for colour, (column, legend) in zip(COLOURS, parts.items(), strict=False):
        values = np.array([table.loc[table.method == m, column].mean() for m in shown])
        axis.barh([labels[m] for m in shown], values, left=left, color=colour, height=0.6, label=legend)
        left += values
    axis.invert_yaxis()
    axis.set_xlabel("seconds a search")
    axis.legend(loc="upper center", ncols=len(parts), bbox_to_anchor=(0.5, 1.25))
    figure.tight_layout()
    return figure
