"""Figures of study 05: architecture weights, operations' shares, trials over budgets, and cells as graphs."""

from collections.abc import Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import MaxNLocator

from jahslib.figures.panels import COLOURS, DASHES, WIDTH, grid, mean_and_band
from jahslib.models.darts.cell import BRANCHES, KERNELS, OPERATIONS, CellOperations

OPERATION_COLOURS = dict(zip(OPERATIONS, (COLOURS[1], "#888888", COLOURS[0], COLOURS[2], COLOURS[3]), strict=True))
# Node -> where it stands: columns by distance from the input, rows by branch.
PLACES = {2: (1.75, 3), 3: (1.75, 2), 4: (1.1, 1), 6: (2.4, 1), 5: (1.1, 0), 7: (2.4, 0)}
INPUT, OUTPUT = (0, 1.5), (3.5, 1.5)


def arch_weights(table: pd.DataFrame, *, pooled: bool = True) -> Figure:
    """Draw every node's architecture weights over the epochs, `pooled` (mean, 95 % band) or each seed by itself."""
    nodes = list(KERNELS)
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 4.2), sharex=True, sharey=True)
    for axis, node in zip(axes.flat, nodes, strict=True):
        own = table[table.node == node]
        for name in OPERATIONS:
            colour, dashes = _look(name)
            of_name = own[own.operation == name]
            if pooled:
                _over_epochs(axis, of_name, color=colour, linestyle=dashes)
                continue
            for _, seed in of_name.groupby("seed"):
                look = {"color": colour, "linestyle": dashes, "linewidth": 1.0, "alpha": 0.8}
                axis.plot(seed.epoch, seed.share, **look, **_mark(seed))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axis.set_title(f"node {node} ({KERNELS[node]} × {KERNELS[node]})")
        axis.axhline(1 / len(OPERATIONS), color="black", linewidth=0.6, linestyle=(0, (1, 2)))
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("architecture weight", fontsize=9)
    handles = [Line2D([], [], color=_look(n)[0], linestyle=_look(n)[1], label=n) for n in OPERATIONS]
    figure.legend(handles=handles, loc="upper center", ncols=len(handles), handlelength=2.6)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    return figure


def _over_epochs(axis: Axes, table: pd.DataFrame, **look) -> None:
    """Draw the mean share over seeds with its band, over the epochs that all seeds have."""
    by_epoch = table.pivot(index="epoch", columns="seed", values="share").dropna()
    mean_and_band(axis, by_epoch.index.to_numpy(), by_epoch.to_numpy().T, **look, **_mark(by_epoch))


def _mark(table: pd.DataFrame) -> dict:
    """Mark a search that was stopped after one epoch by a dot, as no line shows it."""
    return {"marker": "o", "markersize": 4} if len(table) == 1 else {}


def _look(operation: str) -> tuple:
    return OPERATION_COLOURS[operation], DASHES[OPERATIONS.index(operation)]


def operation_shares(panels: dict[str, pd.DataFrame], labels: dict[str, str], operations: Sequence[str]) -> Figure:
    """Draw shares of the architecture weights over the epochs, mean and 95 % band over seeds.

    Each of `operations` gets a row of panels, each data set (title -> table) a column. The tables have the columns
    method, seed, epoch, operation, share. All searches begin near the line at one fifth.
    """
    rows = len(operations)
    size = (WIDTH, 2.0 * rows + 0.6)
    figure, axes = plt.subplots(rows, len(panels), figsize=size, squeeze=False, sharex="col", sharey=True)
    for column, (title, table) in zip(axes.T, panels.items(), strict=True):
        for axis, name in zip(column, operations, strict=True):
            of_name = table[table.operation == name]
            for colour, dashes, (method, label) in zip(COLOURS, DASHES, labels.items(), strict=False):
                own = of_name[of_name.method == method]
                _over_epochs(axis, own, color=colour, linestyle=dashes, label=label)
                for _, seed in own.groupby("seed"):
                    axis.plot(seed.epoch, seed.share, color=colour, linestyle=dashes, linewidth=0.6, alpha=0.5)
            axis.axhline(1 / len(OPERATIONS), color="black", linewidth=0.6, linestyle=(0, (1, 2)))
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        column[0].set_title(title)
        column[-1].set_xlabel("epoch")
    for row, name in zip(axes, operations, strict=True):
        row[0].set_ylabel(f"share of {name}")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=len(names), handlelength=2.6)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / size[1]))
    return figure


def progress(table: pd.DataFrame, metric: str, label: str) -> Figure:
    """Draw scores over `epochs`, a line per configuration (`id`), a panel per seed: the original's bohb_progress."""
    seeds = sorted(table.seed.unique())
    figure, axes = grid(len(seeds), min(3, len(seeds)), 2.3, 0.3, sharex=True, sharey=True)
    for axis, seed in zip(axes.flat, seeds, strict=False):
        own = table[table.seed == seed]
        ids = list(dict.fromkeys(own.id))
        colours = sns.color_palette("viridis", len(ids))
        for colour, number in zip(colours, ids, strict=True):
            line = own.loc[own.id == number].sort_values(by="epochs")
            axis.plot(line.epochs, line[metric], marker="o", markersize=3.5, linewidth=1.0, color=colour, alpha=0.85)
        axis.set_title(f"seed {seed}")
        axis.set_xlabel("epochs trained")
        axis.set_xticks(sorted(table.epochs.unique()))
        axis.margins(x=0.12)
    for row in axes:
        row[0].set_ylabel(label)
    figure.tight_layout()
    return figure


def cells(drawn: Sequence[tuple[str, CellOperations]]) -> Figure:
    """Draw cells as graphs, each under its title: what feeds what, and every node's operation in its colour."""
    figure, axes = grid(len(drawn), min(3, len(drawn)), 2.3)
    for axis, (title, cell) in zip(axes.flat, drawn, strict=False):
        _draw(axis, cell)
        axis.set_title(title, fontsize=8)
    figure.tight_layout()
    return figure


def _draw(axis: Axes, cell: CellOperations) -> None:
    operations = dict(zip(KERNELS, cell, strict=True))
    for branch in BRANCHES:
        dead = operations[branch[-1]] == "zero"
        for start, end in pairwise([INPUT, *(PLACES[n] for n in branch), OUTPUT]):
            style = {"color": "#bbbbbb" if dead else "black", "linestyle": ":" if dead else "-", "linewidth": 0.8}
            # Twenty points from a node's centre are outside the widest of its boxes.
            apart = {"shrinkA": 10 if start == INPUT else 20, "shrinkB": 13 if end == OUTPUT else 20}
            axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=6, **apart, **style))
    for node, (x, y) in PLACES.items():
        name = operations[node]
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "linewidth": 1.4}
        box["edgecolor"] = OPERATION_COLOURS[name]
        text = name if name in ("identity", "zero") else f"{name}\n{KERNELS[node]} × {KERNELS[node]}"
        axis.text(x, y, text, ha="center", va="center", fontsize=6, bbox=box)
    for (x, y), text in ((INPUT, "in"), (OUTPUT, "sum")):
        box = {"boxstyle": "circle,pad=0.25", "facecolor": "#eeeeee", "edgecolor": "#777777", "linewidth": 0.8}
        axis.text(x, y, text, ha="center", va="center", fontsize=6, bbox=box)
    axis.set(xlim=(-0.3, 3.8), ylim=(-0.5, 3.5))
    axis.axis("off")
