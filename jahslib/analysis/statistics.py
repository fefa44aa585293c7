"""Methods compared over seeds: paired bootstrap, anytime curves with confidence bands, the cost of choosing.

Bootstrap: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993; percentile intervals. Seeds are
resampled, and with them whatever two methods share on a seed (split, initial weights), which is what makes it paired.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import friedmanchisquare, wilcoxon

from jahslib.errors import UserError
from jahslib.figures.panels import COLOURS, WIDTH, traces

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

    `table` has the columns method, seed, `y`, the costs and `panel`, whose values get a row each; with a single cost
    they stand side by side, three in a row, each on its own scale.
    """
    rng = np.random.default_rng(0)
    panels = list(dict.fromkeys(table[panel]))
    shown = [(name, *column) for name in panels for column in columns.items()]
    across = len(columns) if len(columns) > 1 else min(3, len(panels))
    down = -(-len(shown) // across)
    size = (WIDTH, 2.5 * down + 0.4)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, sharey="row" if len(columns) > 1 else False)
    for i, (axis, (name, x, x_label)) in enumerate(zip(axes.flat, shown, strict=False)):
        traces(axis, table[table[panel] == name], x, y, labels, partial(band, rng=rng))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=pd.api.types.is_integer_dtype(table[x])))
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label if i % across == 0 else "")
        axis.set_title(name if len(panels) > 1 and i % len(columns) == 0 else "", loc="left")
    for unused in axes.flat[len(shown) :]:
        unused.set_visible(False)
    _legend(figure, axes.flat, labels.values(), size[1])
    return figure


def _legend(figure: Figure, axes: Iterable[Axes], names: Iterable[str], height: float) -> None:
    """Above all panels, each name once, and room made for it."""
    handles = {name: handle for axis in axes for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    shown = [name for name in names if name in handles]
    figure.legend([handles[name] for name in shown], shown, loc="upper center", ncols=len(shown))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / height))


@dataclass(frozen=True)
class Ranking:
    """Methods compared over blocks: mean ranks (1 is best), p of Friedman's test, and of Nemenyi's for each pair."""

    blocks: int
    ranks: pd.Series
    friedman: float
    nemenyi: pd.DataFrame


def ranking(costs: pd.DataFrame) -> Ranking:
    """Rank methods (columns, at least three) within each block (row) by a cost; equal costs share their mean rank.

    J. Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006. His blocks are data sets.
    With several seeds of a data set as blocks the p values speak of these data sets alone.

    Raises:
        UserError: fewer than three methods or two blocks.
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
    return Ranking(
        blocks, within.mean(), friedman, nemenyi.set_axis(costs.columns, axis=0).set_axis(costs.columns, axis=1)
    )


def critical_differences(panels: Mapping[str, Ranking], labels: Mapping[str, str], *, level: float = 0.05) -> Figure:
    """A diagram a panel (title -> ranking): methods at their mean ranks, a bar over those that Nemenyi's test does not
    tell apart at `level`. Without panels the figure says that there is nothing to rank."""
    import scikit_posthocs

    if not panels:
        figure, axis = plt.subplots(figsize=(0.65 * WIDTH, 0.6))
        axis.set_axis_off()
        axis.text(0.5, 0.5, "no ranking of fewer than three methods or two searches each", ha="center", va="center")
        return figure
    colours = dict(zip(labels.values(), COLOURS, strict=False))
    heights = [0.9 + 0.17 * len(r.ranks) for r in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(0.65 * WIDTH, sum(heights)), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axis, (title, found) in zip(axes[:, 0], panels.items(), strict=True):
        named = found.nemenyi.rename(index=labels, columns=labels)
        # Sets of names decide the order of equal ranks and of a bar's points, and with it string hashing would.
        apart = found.ranks.rename(labels).round(2) + 1e-9 * np.arange(len(found.ranks))
        drawn = scikit_posthocs.critical_difference_diagram(
            apart,
            named,
            alpha=level,
            ax=axis,
            label_fmt_left="{label} ({rank:.2f})",
            label_fmt_right="({rank:.2f}) {label}",
            color_palette={name: colours[name] for name in named.index},
        )
        for (bar,) in drawn["crossbars"]:
            bar.set_xdata(sorted(bar.get_xdata()))
        for text in axis.texts:
            text.set_color("black")  # some of the colours are too light for letters
        axis.set_title(f"{title}: mean rank of {found.blocks} blocks, 1 is best", loc="left")
    figure.tight_layout()
    return figure


def costs(table: pd.DataFrame, parts: Mapping[str, str], labels: Mapping[str, str], *, panel: str = "") -> Figure:
    """One bar a method, of the parts (column -> legend) of its mean cost in seconds.

    The values of the column `panel`, if one is named, get a panel each, three in a row, each on its own scale.
    """
    panels = list(dict.fromkeys(table[panel])) if panel else [""]
    across = min(3, len(panels))
    down, most = -(-len(panels) // across), table.groupby(panel or (lambda _: 0)).method.nunique().max()
    size = (WIDTH, (0.3 * most + 0.75) * down + 0.35)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False)
    for axis, name in zip(axes.flat, panels, strict=False):
        own = table[table[panel] == name] if panel else table
        shown = [m for m in labels if (own.method == m).any()]
        left = np.zeros(len(shown))
        for colour, (column, legend) in zip(COLOURS, parts.items(), strict=False):
            values = np.array([own.loc[own.method == m, column].mean() for m in shown])
            axis.barh([labels[m] for m in shown], values, left=left, color=colour, height=0.6, label=legend)
            left += values
        axis.invert_yaxis()
        axis.set_xlabel("seconds a search")
        axis.set_title(name, loc="left")
    for unused in axes.flat[len(panels) :]:
        unused.set_visible(False)
    _legend(figure, axes.flat, parts.values(), size[1])
    return figure
