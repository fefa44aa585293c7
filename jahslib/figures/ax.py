"""Figures of `jahslib.optimizers.ax.analyses`, and a surrogate that can be explored in JupyterLab."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from jahslib.core.problem import Problem
from jahslib.figures.panels import COLOURS, WIDTH
from jahslib.figures.widgets import explorable
from jahslib.optimizers.ax import analyses as ax_analyses
from jahslib.optimizers.ax.analyses import Analyses

if TYPE_CHECKING:
    from ax.api.client import Client

LEVELS = 12


def trials_over_time(table: pd.DataFrame, n_init: int, label: str) -> Figure:
    """Draw each trial's result in order (column top1, absent where it failed), and the best so far."""
    figure, axis = plt.subplots(figsize=(WIDTH, 2.4))
    order = np.arange(1, len(table) + 1)
    result = table.top1.to_numpy(float)
    for begins, ends, colour, name in (
        (0, n_init, COLOURS[4], "before the model"),
        (n_init, None, COLOURS[0], "by the model"),
    ):
        axis.plot(order[begins:ends], result[begins:ends], "o", color=colour, markersize=4, label=name)
    failed = np.isnan(result)
    if failed.any():
        low = axis.get_ylim()[0]
        axis.plot(order[failed], np.full(failed.sum(), low), "x", color="black", markersize=4, label="failed")
    best = np.fmax.accumulate(result)
    axis.step(order, best, where="post", color="black", linewidth=1, label="best so far")
    axis.set_xlabel("trial")
    axis.set_ylabel(label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure


def contours(analyses: Analyses, problem: Problem, label: str) -> Figure:
    """Draw the surrogate's mean and standard error (rows) for each pair of parameters, others at the best trial's.

    Dots are all trials, whatever their other values, the star is the best.
    """
    pairs, tried = analyses.contours, analyses.parallel_coordinates
    figure, axes = plt.subplots(2, len(pairs), figsize=(WIDTH, 4.6), squeeze=False, layout="constrained")
    for row, value in enumerate(("mean", "sem")):
        frames = [frame[value] for frame in pairs.values()]
        scale = Normalize(min(f.min() for f in frames), max(f.max() for f in frames))
        drawn = None
        for axis, ((x, y), frame) in zip(axes[row], pairs.items(), strict=True):
            drawn = _contour(axis, problem, frame, x, y, value, scale)
            edged = {"color": "black", "markeredgecolor": "white", "markeredgewidth": 0.6, "clip_on": False}
            axis.plot(tried[x], tried[y], "o", markersize=3.5, **edged)
            axis.plot(analyses.best[x], analyses.best[y], "*", markersize=10, **edged)
        shown = label if value == "mean" else "standard error"
        figure.colorbar(drawn, ax=axes[row].tolist(), label=shown, aspect=25, format="%.2f")
    return figure


def _contour(axis: Axes, problem: Problem, frame: pd.DataFrame, x: str, y: str, value: str, scale: Normalize) -> Any:
    table = frame.pivot_table(index=y, columns=x, values=value)
    low, high = scale.vmin or 0.0, scale.vmax or 0.0
    levels = np.linspace(low, high, LEVELS) if high > low else LEVELS
    drawn = axis.contourf(table.columns, table.index, table.to_numpy(), levels=levels, cmap="cividis", norm=scale)
    for name, side in ((x, axis.xaxis), (y, axis.yaxis)):
        _scale(side, problem, name)
    return drawn


def _space(problem: Problem) -> ConfigurationSpace:
    return cast(ConfigurationSpace, problem.space)  # which Ax's optimizer made sure of


def _scale(side: Axis, problem: Problem, name: str) -> None:
    if _space(problem)[name].log:
        side.axes.set(**{f"{side.axis_name}scale": "log"})
    else:
        side.set_major_locator(MaxNLocator(4))
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    side.set_label_text(name)


def slices(analyses: Analyses, problem: Problem, label: str) -> Figure:
    """Draw the surrogate's mean and 95 % band along each parameter, the others at the best trial's values."""
    figure, axes = plt.subplots(1, len(analyses.slices), figsize=(WIDTH, 2.4), squeeze=False, sharey=True)
    for axis, (x, frame) in zip(axes[0], analyses.slices.items(), strict=True):
        mean, half = frame["mean"], 1.96 * frame["sem"]
        axis.plot(frame[x], mean, color=COLOURS[0])
        axis.fill_between(frame[x], mean - half, mean + half, color=COLOURS[0], alpha=0.2, linewidth=0)
        axis.axvline(analyses.best[x], color="black", linewidth=0.8, linestyle=(0, (1, 1)))
        _scale(axis.xaxis, problem, x)
    axes[0, 0].set_ylabel(label)
    figure.tight_layout()
    return figure


def fit(analyses: Analyses, label: str) -> Figure:
    """Draw leave-one-out predictions against observations (left), and each parameter's total Sobol index (right)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.8))
    cv = analyses.cross_validation
    ends = [min(cv.observed.min(), cv.predicted.min()), max(cv.observed.max(), cv.predicted.max())]
    left.plot(ends, ends, color="black", linewidth=0.8, linestyle=(0, (1, 1)))
    left.errorbar(cv.observed, cv.predicted, cv.predicted_95_ci, fmt="o", markersize=3, linewidth=0.8, color=COLOURS[0])
    left.set_xlabel(f"{label}, observed")
    left.set_ylabel("predicted without it")
    shown = analyses.sensitivity.assign(size=analyses.sensitivity.sensitivity.abs()).sort_values("size")
    colours = np.where(shown.sensitivity < 0, COLOURS[1], COLOURS[0])
    right.barh(shown.parameter_name, shown["size"], color=colours, height=0.6)
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS[i]) for i in (0, 1)]
    right.legend(handles, ["raises it", "lowers it"], loc="lower right")
    right.set_xlabel("sensitivity (total order)")
    figure.tight_layout()
    return figure


def parallel_coordinates(analyses: Analyses, problem: Problem, label: str) -> Figure:
    """Draw one line per trial across its parameters and its result, coloured by the result; the best is drawn last."""
    table = analyses.parallel_coordinates.sort_values(analyses.metric)
    names = [*_space(problem), analyses.metric]
    units, lows, highs = zip(*(_scaled(table[name], problem, name) for name in names), strict=True)
    scale = Normalize(table[analyses.metric].min(), table[analyses.metric].max())
    figure, axis = plt.subplots(figsize=(WIDTH, 2.8))
    colours = plt.get_cmap("cividis")(scale(table[analyses.metric].to_numpy()))
    for row, colour in zip(np.column_stack(units), colours, strict=True):
        axis.plot(range(len(names)), row, color=colour, linewidth=1.3, alpha=0.85)
    for i in range(len(names)):
        axis.axvline(i, color="black", linewidth=0.6)
        for at, text, side, apart in ((0, lows[i], "top", -3), (1, highs[i], "bottom", 3)):
            axis.annotate(text, (i, at), (0, apart), textcoords="offset points", ha="center", va=side, size=7)
    axis.set_xticks(range(len(names)), [label if n == analyses.metric else n for n in names])
    axis.tick_params(axis="x", length=0, pad=14)
    axis.set_ylim(0, 1)
    axis.yaxis.set_visible(False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    figure.tight_layout()
    return figure


def _scaled(column: pd.Series, problem: Problem, name: str) -> tuple[np.ndarray, str, str]:
    """Scale values to 0 to 1, a parameter's on its own scale, and name these two ends."""
    hp = _space(problem)[name] if name in _space(problem) else None
    if hp is None:
        values, low, high = column.to_numpy(float), column.min(), column.max()
        ends = f"{low:.3f}", f"{high:.3f}"
    elif name in ax_analyses.numeric_parameters(problem):
        values, low, high = column.to_numpy(float), hp.lower, hp.upper
        ends = f"{low:g}", f"{high:g}"
        if hp.log:
            values, low, high = np.log(values), np.log(low), np.log(high)
    else:
        choices = list(getattr(hp, "choices", getattr(hp, "sequence", ())))
        values, low, high = np.array([choices.index(v) for v in column], float), 0, len(choices) - 1
        ends = str(choices[0]), str(choices[-1])
    return (values - low) / (high - low or 1), *ends


def surrogate(made: "Client", problem: Problem, x: str, y: str, others: Mapping[str, Any], label: str) -> Figure:
    """Draw the surrogate's mean and standard error over two parameters, the others held."""
    frame = ax_analyses.predicted(made, problem, (x, y), others)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.8), layout="constrained")
    for axis, value, shown in zip(axes, ("mean", "sem"), (label, "standard error"), strict=True):
        drawn = _contour(axis, problem, frame, x, y, value, Normalize(frame[value].min(), frame[value].max()))
        figure.colorbar(drawn, ax=axis, label=shown, format="%.3f")
    said = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in others.items() if k not in (x, y)}
    held = ", ".join(f"{k} = {v}" for k, v in said.items())
    figure.suptitle(held and f"at {held}", fontsize=9)
    return figure


def explore(made: "Client", problem: Problem, analyses: Analyses, label: str) -> Any:
    """Make a widget for choosing the two parameters drawn and the others' values, or draw the best trial's."""
    numeric = ax_analyses.numeric_parameters(problem)

    def draw(x: str, y: str, **others: Any) -> Figure | None:
        return surrogate(made, problem, x, y, analyses.best | others, label) if x != y else None

    return explorable(draw, {"x": numeric[0], "y": numeric[1]}, partial(_sliders, problem, analyses, numeric))


def _sliders(problem: Problem, analyses: Analyses, numeric: Sequence[str]) -> dict[str, Any]:
    import ipywidgets as widgets

    sliders: dict[str, Any] = {
        "x": widgets.Dropdown(options=numeric),
        "y": widgets.Dropdown(options=numeric, value=numeric[1]),
    }
    for name in numeric:
        hp = _space(problem)[name]
        options = {"description": name, "value": analyses.best[name], "readout_format": ".3g"}
        options["continuous_update"] = False
        if hp.log:
            ends = {"min": float(np.log10(hp.lower)), "max": float(np.log10(hp.upper))}
            sliders[name] = widgets.FloatLogSlider(base=10, **ends, **options)
        else:
            sliders[name] = widgets.FloatSlider(min=hp.lower, max=hp.upper, step=(hp.upper - hp.lower) / 100, **options)
    return sliders
