"""Look into a trial log in JupyterLab: each function is one call on a log, also of a search that still runs.

Where no person can choose with a widget, the figure of the first choice stands in its place.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jahslib.analysis import darts
from jahslib.analysis.trainings import traces_table
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.figures.darts import arch_weights
from jahslib.figures.panels import layer_panels
from jahslib.figures.term_drawing import draw
from jahslib.figures.widgets import chosen, interactive
from jahslib.reporting.exports import optuna_studies, to_optuna
from jahslib.search import triallog
from jahslib.spaces.grammars.grammar import Grammar

with extra("notebooks"):
    from matplotlib.figure import Figure

# Optuna's plots, by what the list of the widget calls them.
PLOTS = {
    "parallel coordinates": "parallel_coordinate",
    "importance of hyperparameters": "param_importances",
    "slices": "slice",
    "best value over trials": "optimization_history",
}


def hyperparameters(log: Path | str) -> Any:
    """Show a search's trainings over their hyperparameters, by one of Optuna's `PLOTS`. `UserError` without any."""
    _with(log, lambda trial: trial.status == "ok", "succeeded")
    folder = tempfile.TemporaryDirectory()
    (study,) = optuna_studies(to_optuna([log], folder.name)).values()
    import optuna

    plots = optuna.visualization if interactive() else optuna.visualization.matplotlib

    def plot(plot: str, kept: tempfile.TemporaryDirectory = folder) -> Any:  # the study reads its journal there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of its matplotlib plots
            drawn = getattr(plots, f"plot_{plot}")(study)
        if not hasattr(drawn, "figure"):
            return drawn
        drawn.figure.set_layout_engine("tight")  # names of hyperparameters would be cut off
        return drawn.figure

    return chosen(plot, plot=PLOTS)


def weights(log: Path | str) -> Any:
    """Show the architecture weights of a supernet's nodes over the epochs. Raises `UserError` if there are none."""
    searches = _with(log, lambda trial: trial.outputs.get("alphas"), "architecture weights, as those of DARTS have")

    return chosen(lambda trial: arch_weights(darts.trial_weights(trial).assign(seed=0), pooled=False), trial=searches)


def growth(log: Path | str) -> Any:
    """Show a growing network's widths over its steps, mean and 95 % band over folds. `UserError` without any."""
    what = "a trace of its growth, as study 02's and final trainings have"
    grown = _with(log, lambda trial: any("trace" in fold for fold in trial.outputs.get("folds", [])), what)
    return chosen(lambda trial: layer_panels(traces_table([trial]), {"width": "width of the layer"}), trial=grown)


def terms(log: Path | str) -> Any:
    """Show the graph of a trial's architecture, folded or in full. Raises `UserError` for logs without a grammar."""
    space = triallog.read(log).fingerprint["problem"]["space"]
    if not (isinstance(space, dict) and "grammar" in space):
        raise UserError(f"trial log {log}: its space is no grammar; give the log of a search over one")
    grammar = Grammar(space["grammar"], max_depth=space["max_depth"])
    found = _with(log, lambda trial: trial.configuration.get("architecture"), "an architecture")
    levels = {"in full": None} | {str(level): level for level in range(1, space["max_depth"])}

    def plot(trial: Trial, level: int | None) -> Figure:
        return draw(grammar, grammar.parse(trial.configuration["architecture"]), level)

    return chosen(plot, trial=found, level=levels)


def _with(log: Path | str, has: Callable[[Trial], Any], what: str) -> dict[str, Trial]:
    trials = triallog.read(log).trials
    found = {f"trial {trial.id}": trial for trial in trials if has(trial)}
    if not found:
        raise UserError(f"trial log {log}: no trial of {len(trials)} has {what}; give another log")
    return found
