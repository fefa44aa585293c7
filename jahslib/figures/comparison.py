"""Figures that compare methods: anytime curves, critical differences, costs."""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

from jahslib.analysis.statistics import Ranking, band
from jahslib.figures.panels import COLOURS, DASHES, WIDTH, traces


def anytime(
    table: pd.DataFrame,
    y: str,
    y_label: str,
    columns: Mapping[str, str],
    labels: Mapping[str, str],
    *,
    panel: str,
    log: bool = False,
) -> Figure:
    """The incumbent's `y` against each cost of `columns` (column -> axis label), mean and 95 % band over seeds; with
    `log` on a scale that is logarithmic from .01 on, and linear below, where it may be negative.

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
        if log:
            axis.set_yscale("symlog", linthresh=0.01, linscale=0.5)
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


def critical_differences(panels: Mapping[str, Ranking], labels: Mapping[str, str], *, level: float = 0.05) -> Figure:
    """A diagram a panel (title -> ranking): methods at their mean ranks, a bar over those that Nemenyi's test does not
    tell apart at `level`. Without panels the figure says that there is nothing to rank."""
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


def learning_curves(table: pd.DataFrame, metrics: Mapping[str, str], labels: Mapping[str, str]) -> Figure:
    """Scores (column -> axis label) of models against the number of architectures learnt from, mean and 95 % band over
    splits.

    `table` has the columns source, model, n_train, split and the scores; a source gets a row.
    """
    rng = np.random.default_rng(0)
    sources = list(dict.fromkeys(table.source))
    size = (WIDTH, 2.3 * len(sources) + 0.4)
    figure, axes = plt.subplots(len(sources), len(metrics), figsize=size, squeeze=False)
    for row, source in zip(axes, sources, strict=True):
        for axis, metric in zip(row, metrics, strict=True):
            for colour, dashes, (model, label) in zip(COLOURS, DASHES, labels.items(), strict=False):
                own = table[(table.source == source) & (table.model == model)]
                if len(own):
                    _curve(axis, own, metric, rng, color=colour, linestyle=dashes, label=label)
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator(_apart(table[table.source == source].n_train)))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(ScalarFormatter())
            if metric == "nll":  # one fit that is too sure of itself is worth hundreds
                axis.set_yscale("symlog", linthresh=1)
            axis.set_xlabel("architectures learnt from")
            axis.set_ylabel(metrics[metric])
        row[0].set_title(source, loc="left")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=len(names))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / size[1]))
    return figure


def _apart(sizes: Iterable[int]) -> list[int]:
    """Sizes whose labels do not touch on a logarithmic axis."""
    chosen: list[int] = []
    for n in sorted(set(sizes)):
        if not chosen or n >= 1.6 * chosen[-1]:
            chosen.append(n)
    return chosen


def _curve(axis, own: pd.DataFrame, metric: str, rng: np.random.Generator, **look) -> None:
    values = own.pivot(index="split", columns="n_train", values=metric)
    sizes, rows = values.columns.to_numpy(), values.to_numpy()
    axis.plot(sizes, rows.mean(axis=0), marker="o", markersize=3, linewidth=1.6, **look)
    if len(rows) > 1:
        axis.fill_between(sizes, *band(rows, rng), color=look["color"], alpha=0.15, linewidth=0)
