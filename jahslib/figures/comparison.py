"""Figures that compare methods: standings, critical differences, costs, learning curves."""

from collections.abc import Iterable, Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from jahslib.analysis.statistics import Ranking
from jahslib.figures.panels import COLOURS, DASHES, WIDTH, grid, legend_above, mean_and_band


def standings_chart(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Draw methods (rows, the best on average first, by their names in `labels`) by families of tasks (columns).

    A cell's text is the mean score, its colour the place by mean rank (dark is first). A star is at the leader and at
    each method that is not told from it; none where a family has too few blocks to tell. `table` has the columns
    family, method, score_mean, rank_mean, n, verdict.
    """
    ranks = table.pivot(index="method", columns="family", values="rank_mean")
    places = (ranks.rank(axis=0) - 1) / (ranks.notna().sum() - 1).clip(lower=1)
    order = places.mean(axis=1).sort_values(kind="stable").index
    families = list(dict.fromkeys(table.family))
    places = places.loc[order, families]
    scores, verdicts = (
        table.pivot(index="method", columns="family", values=c).loc[order, families] for c in ("score_mean", "verdict")
    )
    unsure = set(table.family[table.verdict == "cannot tell"])
    starred = verdicts.isin(["leads", "not told apart"]) & ~verdicts.columns.isin(unsure)
    words = scores.map("{:.3f}".format).where(places.notna(), "") + starred.map({True: " *", False: ""}.get)
    figure, axis = plt.subplots(figsize=(WIDTH, 0.18 * len(order) + 0.9))
    shades = {"cmap": "Blues_r", "vmin": -0.15, "vmax": 1.6, "linewidths": 1, "cbar": False}
    sns.heatmap(places, annot=words, fmt="", annot_kws={"fontsize": "small"}, ax=axis, **shades)
    blocks = table.groupby("family").n.max()
    axis.set_xticklabels([f"{family.replace('_', chr(10))}\n(n = {blocks[family]})" for family in families], rotation=0)
    axis.set_yticklabels([labels[m] for m in order], rotation=0)
    axis.set(xlabel="", ylabel="")
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    figure.tight_layout()
    return figure


def critical_differences(panels: Mapping[str, Ranking], labels: Mapping[str, str]) -> Figure:
    """Draw a critical-difference diagram for each panel (title -> ranking), of methods by their names in `labels`.

    Methods stand at their mean ranks over n blocks, of which 1 is best; a bar joins those that Nemenyi's test does not
    tell apart at 5 %. Without panels the figure says that there is nothing to rank.
    """
    import scikit_posthocs

    if not panels:
        figure, axis = plt.subplots(figsize=(0.65 * WIDTH, 0.6))
        axis.set_axis_off()
        axis.text(0.5, 0.5, "no ranking of fewer than three methods or two searches each", ha="center", va="center")
        return figure
    colours = dict(zip(labels.values(), cycle(COLOURS), strict=False))
    heights = [0.9 + 0.17 * len(r.ranks) for r in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(0.65 * WIDTH, sum(heights)), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axis, (title, found) in zip(axes[:, 0], panels.items(), strict=True):
        named = found.nemenyi.rename(index=labels, columns=labels)
        # Sets of names decide the order of equal ranks and of a bar's points, and with it string hashing would.
        apart = found.ranks.rename(labels).round(2) + 1e-9 * np.arange(len(found.ranks))
        look = {"label_fmt_left": "{label} ({rank:.2f})", "label_fmt_right": "({rank:.2f}) {label}"}
        look["color_palette"] = {name: colours[name] for name in named.index}
        drawn = scikit_posthocs.critical_difference_diagram(apart, named, alpha=0.05, ax=axis, **look)
        for (bar,) in drawn["crossbars"]:
            bar.set_xdata(sorted(bar.get_xdata()))
        for text in axis.texts:
            text.set_color("black")  # some of the colours are too light for letters
        axis.set_title(f"{title} (n = {found.blocks})", loc="left")
    figure.tight_layout()
    return figure


def costs(table: pd.DataFrame, parts: Mapping[str, str], labels: Mapping[str, str], *, panel: str = "") -> Figure:
    """Draw each method's mean cost in seconds as a bar of parts (column -> legend), one panel per value of `panel`."""
    panels = list(dict.fromkeys(table[panel])) if panel else [""]
    most = table.groupby(panel or (lambda _: 0)).method.nunique().max()
    figure, axes = grid(len(panels), min(3, len(panels)), 0.3 * most + 0.75, 0.35)
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
    legend_above(figure, axes.flat)
    return figure


def learning_curves(table: pd.DataFrame, metrics: Mapping[str, str], labels: Mapping[str, str]) -> Figure:
    """Draw models' scores (column -> axis label) against training-set size, mean and 95 % band over splits.

    `table` has the columns source (a row each), model, n_train (architectures learnt from), split and the scores.
    """
    sources = list(dict.fromkeys(table.source))
    figure, axes = grid(len(sources) * len(metrics), len(metrics), 2.3, 0.4)
    for row, source in zip(axes, sources, strict=True):
        for axis, metric in zip(row, metrics, strict=True):
            for colour, dashes, (model, label) in zip(COLOURS, DASHES, labels.items(), strict=False):
                own = table[(table.source == source) & (table.model == model)]
                if len(own):
                    values = own.pivot(index="split", columns="n_train", values=metric)
                    look = {"color": colour, "linestyle": dashes, "label": label, "marker": "o", "markersize": 3}
                    mean_and_band(axis, values.columns.to_numpy(), values.to_numpy(), **look)
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator(_apart(table[table.source == source].n_train)))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(ScalarFormatter())
            if metric == "nll" and axis.get_ylim()[1] > 5:  # one fit that is too sure of itself is worth hundreds
                axis.set_yscale("symlog", linthresh=1)
            axis.set_xlabel("architectures learnt from")
            axis.set_ylabel(metrics[metric])
        row[0].set_title(source, loc="left")
    legend_above(figure, axes.flat)
    return figure


def _apart(sizes: Iterable[int]) -> list[int]:
    """Choose sizes whose labels do not touch on a logarithmic axis."""
    chosen: list[int] = []
    for n in sorted(set(sizes)):
        if not chosen or n >= 1.6 * chosen[-1]:
            chosen.append(n)
    return chosen
