"""Figures that several studies share. Each takes tidy data and returns a matplotlib figure; none reads a log."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from jahslib.analysis.statistics import band

# Okabe and Ito's colours, told apart by colour-blind readers; a line style each for print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), "-")
WIDTH = 7.2  # inches; the paper scales it to its column


def style() -> None:
    """Set the look of all figures; call once in a notebook's set-up cell."""
    look = {"figure.dpi": 100, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    small = {"font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9, "legend.fontsize": 9}
    sns.set_theme(context="paper", style="ticks", rc=look | small | {"xtick.labelsize": 8, "ytick.labelsize": 8})


def grid(n: int, across: int, height: float, extra: float = 0.0, *, width: float = WIDTH, **shared: Any) -> Any:
    """Make a figure of `n` panels, `across` in a row that is `height` inches high; returns it and its array of axes."""
    down = -(-n // across)
    figure, axes = plt.subplots(down, across, figsize=(width, height * down + extra), squeeze=False, **shared)
    for unused in axes.flat[n:]:
        unused.set_visible(False)
    return figure, axes


def mean_and_band(
    axis: Axes, x: np.ndarray, values: np.ndarray, *, step: Literal["post"] | None = None, **look: Any
) -> None:
    """Draw the mean of `seeds x points` with its 95 % bootstrap band, where there are several seeds."""
    drawn = {"linewidth": 1.8, "drawstyle": f"steps-{step}" if step else "default"} | look
    (line,) = axis.plot(x, values.mean(axis=0), **drawn)
    if len(values) > 1:
        ends = band(values, np.random.default_rng(0))
        axis.fill_between(x, *ends, step=step, color=line.get_color(), alpha=0.15, linewidth=0)


def traces(axis: Axes, table: pd.DataFrame, x: str, y: str, labels: Mapping[str, str]) -> None:
    """Draw means over seeds as step functions of `x`, with the mean's 95 % band where there are several.

    `table` has the columns method, seed, `x` and `y`. A curve begins where all its seeds have a value and ends with
    the last seed to end; those that ended before keep their last value.
    """
    for i, (method, label) in enumerate(labels.items()):
        colour, dashes = COLOURS[i % len(COLOURS)], DASHES[(i + i // len(COLOURS)) % len(DASHES)]
        own = table.loc[table.method == method].drop_duplicates(["seed", x], keep="last")
        curves = own.pivot(index=x, columns="seed", values=y).ffill().dropna()
        if not curves.empty:
            look = {"color": colour, "linestyle": dashes, "label": label}
            mean_and_band(axis, curves.index.to_numpy(), curves.to_numpy().T, step="post", **look)


def anytime(
    table: pd.DataFrame,
    metrics: Mapping[str, str],
    costs: Mapping[str, str],
    labels: Mapping[str, str],
    limits: Mapping[str, float] | None = None,
    *,
    log: bool = False,
) -> Figure:
    """Draw the incumbent's metrics (and tasks) in rows against costs in columns, mean and 95 % band over seeds.

    `table` has the columns method, seed, the metrics, the costs and, where there are several, task. With one metric and
    one cost the tasks stand side by side, three in a row. Keys of `metrics` and `costs` are columns, values their
    labels. `limits` draws a constraint's bound in the rows of its metric. With `log` metrics are on a scale that is
    logarithmic from .01 on, and linear below, where they may be negative.
    """
    tasks = list(dict.fromkeys(table.task)) if "task" in table else [""]
    shown = [(task, y, x) for task in tasks for y in metrics for x in costs]
    alone = len(metrics) == len(costs) == 1
    across = min(3, len(tasks)) if alone else len(costs)
    shared = {} if alone else {"sharex": "col" if len(tasks) == 1 else False, "sharey": "row"}
    width = WIDTH if len(costs) > 1 or len(tasks) > 1 else WIDTH / 2
    figure, axes = grid(len(shown), across, 2.5 if alone else 2.3, 0.4, width=width, **shared)
    for i, (axis, (task, y, x)) in enumerate(zip(axes.flat, shown, strict=False)):
        traces(axis, table[table.task == task] if task else table, x, y, labels)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=pd.api.types.is_integer_dtype(table[x])))
        if log:
            axis.set_yscale("symlog", linthresh=0.01, linscale=0.5)
            axis.yaxis.set_major_locator(ticker.SymmetricalLogLocator(base=10, linthresh=0.01, subs=(1, 2, 5)))
            if sum(axis.get_ylim()[0] <= tick <= axis.get_ylim()[1] for tick in axis.get_yticks()) < 2:  # a short range
                axis.yaxis.set_major_locator(ticker.MaxNLocator(4))
            axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.yaxis.set_minor_locator(ticker.NullLocator())
        if limits and y in limits:
            axis.axhline(limits[y], color="black", linewidth=0.8, linestyle=(0, (1, 1)))
            if i % across == across - 1:  # beside the panels, where no curve is
                axis.annotate("floor", (1.01, limits[y]), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        axis.set_ylabel(metrics[y] if i % across == 0 else "")
        axis.set_xlabel(costs[x] if alone or len(tasks) > 1 or i >= len(shown) - across else "")
        axis.set_title(task if len(tasks) > 1 and (alone or i % across == 0) else "", loc="left")
    legend_above(figure, axes.flat)
    return figure


def layer_panels(table: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """Draw one panel per column of `table`, one curve per layer over training steps, mean and 95 % band over trainings.

    `table` has the columns layer, training, step and those named by `panels` (-> axis label); "params" is drawn once.
    """
    layers = {name: name for name in sorted(table.layer.unique())}
    figure, axes = grid(len(panels), len(panels), 2.6)
    tidy = table.rename(columns={"layer": "method", "training": "seed"})
    network = next(iter(layers))
    for axis, (column, label) in zip(axes[0], panels.items(), strict=True):
        if column == "params":
            traces(axis, tidy[tidy.method == network], "step", column, {network: "network"})
            for drawn in (axis.lines[0], *axis.collections):
                drawn.set_color("black")
        else:
            traces(axis, tidy, "step", column, layers)
        axis.set_xlabel("optimizer step")
        axis.set_ylabel(label)
    legend_above(figure, axes.flat)
    return figure


def ellipses(table: pd.DataFrame, x: str, y: str, *, x_label: str, y_label: str, panel: str) -> Figure:
    """Draw `y` over `x` (logarithmic) with the one-sigma ellipse of each type's covariance in log10 `x`.

    `table` has the columns type, `x`, `y` and `panel`, whose values get a panel each.
    """
    names = list(dict.fromkeys(table.type))
    colours = dict(zip(names, sns.color_palette("viridis", len(names)), strict=True))
    panels = list(dict.fromkeys(table[panel]))
    figure, axes = grid(len(panels), len(panels), 3.4, sharex=True)
    for axis, shown in zip(axes[0], panels, strict=True):
        for i, name in enumerate(names):
            own = table[(table[panel] == shown) & (table.type == name)]
            if own.empty:
                continue
            points = np.column_stack([np.log10(own[x]), own[y]])
            marker = "osD^vP*Xh<>"[i % 11]
            axis.scatter(*points.T, s=14, color=colours[name], marker=marker, alpha=0.6, linewidths=0)
            axis.scatter(*points.mean(0), s=42, color=colours[name], marker=marker, edgecolors="black", label=name)
            if len(own) > 1:
                values, vectors = np.linalg.eigh(np.cov(points.T, ddof=0))
                turn = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
                wide, high = 2 * np.sqrt(np.clip(values[::-1], 0, None))
                look = {"facecolor": (*colours[name], 0.2), "edgecolor": colours[name]}
                axis.add_patch(Ellipse(points.mean(0), wide, high, angle=turn, **look))
        axis.xaxis.set_major_locator(ticker.MultipleLocator(1))
        axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, position: _short(10**value, position)))
        axis.set_title(shown)
        axis.set_xlabel(x_label)
    axes[0, 0].set_ylabel(y_label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(5, len(labels)))
    figure.tight_layout(rect=(0, 0.07 * -(-len(labels) // 5) + 0.02, 1, 1))
    return figure


def clouds(table: pd.DataFrame, columns: Mapping[str, str], y: str, y_label: str, labels: Mapping[str, str]) -> Figure:
    """Draw `y` against each of `columns` (logarithmic; column -> axis label), a colour and a marker per method."""
    figure, axes = grid(len(columns), len(columns), 3.0, sharey=True)
    for axis, (x, x_label) in zip(axes[0], columns.items(), strict=True):
        for i, (method, label) in enumerate(labels.items()):
            own = table[table.method == method]
            colour, marker = COLOURS[i % len(COLOURS)], "osD^vP*"[i % 7]
            axis.scatter(own[x], own[y], s=16, color=colour, marker=marker, alpha=0.6, linewidths=0, label=label)
        _log_axis(axis)
        axis.set_xlabel(x_label)
    axes[0, 0].set_ylabel(y_label)
    legend_above(figure, axes.flat)
    return figure


def boxes(table: pd.DataFrame, value: str, *, label: str, panel: str) -> Figure:
    """Draw box plots of `value` by type with every point, a panel for each value of the column `panel`."""
    panels = list(dict.fromkeys(table[panel]))
    figure, axes = grid(len(panels), len(panels), 2.6, sharey=True)
    names = list(dict.fromkeys(table.type))
    for axis, shown in zip(axes[0], panels, strict=True):
        own = table[table[panel] == shown]
        runs = [own[own.type == name][value].to_numpy() for name in names]
        rows = np.arange(len(names), 0, -1)
        look = {"widths": 0.6, "whis": (0, 100), "medianprops": {"color": "black"}}
        axis.boxplot(runs, positions=rows, orientation="horizontal", **look)
        for row, points in zip(rows, runs, strict=True):
            axis.scatter(points, row + np.linspace(-0.12, 0.12, len(points)), s=12, color=COLOURS[0], zorder=3)
        axis.set_yticks(rows, names)
        axis.set_title(shown)
        axis.set_xlabel(label)
    figure.tight_layout()
    return figure


def feasibility(
    table: pd.DataFrame, x: str, labels: Mapping[str, str], *, bound: float, x_label: str, log: bool = False
) -> Figure:
    """Draw top-3 accuracy against one constrained metric, one panel per method, coloured by which constraints hold.

    `table` has the columns method, top3, `x`, feasible, size_met; the constraint `bound` on `x` is a line.
    """
    methods = [m for m in labels if (table.method == m).any()]
    figure, axes = grid(len(methods), 3, 2.2, 0.4, sharex=True, sharey=True)
    kinds = (
        ("both constraints met", COLOURS[2], "o", lambda t: t.feasible),
        ("size limit only", COLOURS[4], "^", lambda t: ~t.feasible & t.size_met),
        ("size limit exceeded", COLOURS[5], "s", lambda t: ~t.size_met),
    )
    for axis, method in zip(axes.flat, methods, strict=False):
        own = table[table.method == method]
        for label, colour, marker, where in kinds:
            chosen = own[where(own)]
            axis.scatter(chosen[x], chosen.top3, s=14, c=colour, marker=marker, alpha=0.75, linewidths=0, label=label)
        axis.axvline(bound, color="black", linewidth=0.9, linestyle=(0, (1, 1)))
        axis.set_title(labels[method])
        axis.tick_params(labelbottom=True)
        if log:
            _log_axis(axis)
    figure.supxlabel(x_label, fontsize=9)
    figure.supylabel("validation top-3 accuracy", fontsize=9)
    handles, names = axes[0, 0].get_legend_handles_labels()
    shown = [i for i, (_, _, _, where) in enumerate(kinds) if where(table).any()]
    figure.legend([handles[i] for i in shown], [names[i] for i in shown], loc="upper center", ncols=3, markerscale=1.5)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    return figure


def rungs(table: pd.DataFrame, metric: str, label: str) -> Figure:
    """Draw Hyperband's brackets: each trained configuration's path over epochs, promoted ones in colour.

    `table` has the columns bracket (the plan's number, 0 the most exploratory), member, fidelity, final, `metric`.
    """
    brackets = sorted(table.bracket.unique())
    figure, axes = grid(len(brackets), len(brackets), 2.6, sharey=True)
    for axis, bracket in zip(axes[0], brackets, strict=True):
        own = table[table.bracket == bracket]
        fidelities = sorted(own.fidelity.unique())
        for _, member in own.groupby("member"):
            promoted = {"markersize": 4, "linewidth": 1.4, "color": COLOURS[0], "alpha": 0.85, "zorder": 2}
            stopped = {"markersize": 3, "linewidth": 0.8, "color": "#999999", "alpha": 0.6, "zorder": 1}
            look = promoted if member.final.any() else stopped
            axis.plot(member.fidelity, member[metric], marker="o", **look)
        axis.set_xscale("log", base=2)
        axis.set_xticks(fidelities, [str(f) for f in fidelities])
        axis.minorticks_off()
        axis.set_xlabel("epochs")
        axis.set_title(f"bracket {bracket + 1}")
        axis.margins(x=0.15)
        if len(fidelities) == 1:
            axis.set_xlim(fidelities[0] / 2, fidelities[0] * 2)
    axes[0, 0].set_ylabel(label)
    lines = [Line2D([], [], color=COLOURS[0], marker="o"), Line2D([], [], color="#999999", marker="o")]
    figure.legend(lines, ["reached the last rung", "stopped earlier"], loc="upper center", ncols=2)
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    return figure


def confusion(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw counts, `classes x classes`, of true (rows) against predicted (columns) classes of these names."""
    side = 0.24 * len(names) + 1.2
    figure, axis = plt.subplots(figsize=(side + 0.8, side))
    words = {"annot": np.where(matrix > 0, matrix.astype(str), ""), "fmt": "", "annot_kws": {"fontsize": 6}}
    bar = {"label": "test images", "shrink": 0.8, "ticks": ticker.MaxNLocator(integer=True)}
    labels = {"xticklabels": names, "yticklabels": names}
    sns.heatmap(matrix, ax=axis, cmap="cividis", square=True, cbar_kws=bar, **words, **labels)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.tick_params(labelsize=7, rotation=0)
    figure.tight_layout()
    return figure


def legend_above(figure: Figure, axes: Iterable[Axes]) -> None:
    """Draw one legend above all panels, each name once, in as many rows as its names need, and make room for it."""
    handles = {name: handle for axis in axes for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    rows = max(1, math.ceil((sum(map(len, handles)) + 6 * len(handles)) / (11 * figure.get_figwidth())))
    columns = -(-len(handles) // rows) or 1
    figure.legend(handles.values(), handles, loc="upper center", ncols=columns, bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout(rect=(0, 0, 1, 1 - (0.15 + 0.2 * rows) / figure.get_figheight()))


def _log_axis(axis: Axes) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0)))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(_short))


def _short(value: float, _position: int) -> str:
    return f"{value:g}" if value < 1e4 else f"{value:.0e}".replace("e+0", "e")
