"""A search in Ax's own terms: its experiment rebuilt from a trial log, saved and analysed.

Any method's log will do. A saved JSON file is opened with plain Ax by `Client.load_from_json_file(path)`, a class
method; it holds experiment and generation strategy, but neither the client's seed nor an early-stopping strategy.

Ax draws its cards with plotly, whose export needs a browser; `jahslib.figures.ax` draws the same data with matplotlib.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from ConfigSpace.hyperparameters import UniformIntegerHyperparameter

from jahslib import paths
from jahslib.core.problem import Problem
from jahslib.core.trials import Configuration, History
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.optimizers.ax.optimizer import quiet_and_seeded
from jahslib.optimizers.ax.parameters import Box, configure, metric_names, outcomes
from jahslib.spaces.configurations import UNIFORM

if TYPE_CHECKING:
    from ax.api.client import Client

MOMENT, FORMAT = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\b"), "%Y-%m-%d %H:%M:%S.%f"

LEAST_TRIALS = 3  # fewer do not determine a surrogate


@dataclass(frozen=True)
class Analyses:
    """The data of Ax's cards; `best` is the trial with the best result.

    Contours and slices hold the other hyperparameters at `best`. Ax's own cards do so only where a trial counts as
    its best, and else hold them at the middle of the space, which of a learning rate on a log scale is far too large.

    Args:
        contours: (x, y) -> columns x, y, mean, sem.
        slices: x -> columns x, mean, sem.
        sensitivity: parameter_name, sensitivity (total-order Sobol index, with the sign of the mean gradient).
        cross_validation: observed, predicted, predicted_95_ci (half width), one row per trial, left out in turn.
        parallel_coordinates: one row per trial, with its parameters and the metric.
    """

    metric: str
    best: Configuration
    contours: dict[tuple[str, str], pd.DataFrame]
    slices: dict[str, pd.DataFrame]
    sensitivity: pd.DataFrame
    cross_validation: pd.DataFrame
    parallel_coordinates: pd.DataFrame


def client(
    problem: Problem, history: History, *, seed: int = 0, name: str = "search", database: Path | None = None
) -> "Client":
    """Build an Ax client that holds the search's trials and can continue with its model.

    Space (`Box`) and trials are told as to the Ax optimizer. A trial that was continued from stage to stage is one
    trial with a progression, stopped early where its last stage is not final.

    Args:
        database: an SQLite file that Ax writes everything to as well; an old one is replaced.

    Raises:
        MissingExtra: SQLAlchemy is not installed.
    """
    with quiet_and_seeded(seed):
        from ax.api.client import Client

        made = Client(storage_config=_storage(database), random_seed=seed)
        box = Box(problem.space)  # type: ignore[arg-type]
        configure(made, problem, box, name)
        made.configure_generation_strategy(initialization_budget=0, initialize_with_center=False)
        indices: dict[int, int] = {}
        for trial in history:
            root = history.lineage(trial.id)[0]
            if root not in indices:
                indices[root] = made.attach_trial(box.encode(trial.configuration))
            staged = not trial.final or trial.parent is not None
            told = {"raw_data": outcomes(problem, trial), "progression": trial.fidelity if staged else None}
            if trial.final or trial.status != "ok":
                made.complete_trial(indices.pop(root), **told)
            else:
                made.attach_data(indices[root], **told)
        for index in indices.values():
            made.mark_trial_early_stopped(index)
    return made


def save(made: "Client", file: Path) -> Path:
    """Write the experiment as Ax's JSON snapshot.

    Of the times at which it was assembled only the order is kept, as seconds since 1970: the same log gives the same
    file.
    """
    with quiet_and_seeded(0), tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / file.name
        made.save_to_json_file(str(written))
        text = written.read_text()
    moments = sorted(set(MOMENT.findall(text)))
    counted = {m: f"{datetime(1970, 1, 1) + timedelta(seconds=i):{FORMAT}}" for i, m in enumerate(moments)}
    paths.write(file, MOMENT.sub(lambda found: counted[found[0]], text))
    return file


def analyse(made: "Client", problem: Problem, *, seed: int = 0) -> Analyses:
    """Fit Ax's surrogate to the client's trials and compute its cards for the objective.

    Raises:
        UserError: fewer than three trials.
    """
    metric, numeric = metric_names(problem)[problem.objective.metric], numeric_parameters(problem)
    box = Box(problem.space)  # type: ignore[arg-type]
    with quiet_and_seeded(seed):
        from ax.analysis.plotly.cross_validation import CrossValidationPlot
        from ax.analysis.plotly.parallel_coordinates import ParallelCoordinatesPlot
        from ax.analysis.plotly.sensitivity import SensitivityAnalysisPlot

        if len(made.summarize()) < LEAST_TRIALS:
            raise UserError(f"Ax's analyses need at least {LEAST_TRIALS} trials; run a longer search")
        told, *_ = made.get_best_parameterization(use_model_predictions=False)
        best = box.values(dict(told))
        cards = {  # before the predictions, as computing a card fits the model
            "sensitivity": _frame(made, SensitivityAnalysisPlot(metric)),
            "cross_validation": _frame(made, CrossValidationPlot([metric], untransform=True)),
            "parallel_coordinates": _frame(made, ParallelCoordinatesPlot(metric)),
        }
        for name, parameter in box.parameters.items():
            sensitivity, table = cards["sensitivity"], cards["parallel_coordinates"]
            cards["sensitivity"] = sensitivity.replace({"parameter_name": {parameter.name: name}})
            if parameter.name in table:
                decoded = [parameter.decode(value) for value in table[parameter.name]]
                cards["parallel_coordinates"] = table.drop(columns=parameter.name).assign(**{name: decoded})
        return Analyses(
            metric,
            best,
            contours={pair: predicted(made, problem, pair, best) for pair in combinations(numeric, 2)},
            slices={x: predicted(made, problem, (x,), best, points=101) for x in numeric},
            **cards,
        )


def numeric_parameters(problem: Problem) -> list[str]:
    """List the hyperparameters that have a scale: uniform floats and integers, in order."""
    return [name for name, hp in problem.space.items() if isinstance(hp, UNIFORM)]


def predicted(
    made: "Client",
    problem: Problem,
    names: Sequence[str],
    others: Configuration,
    *,
    points: int = 25,
) -> pd.DataFrame:
    """Predict on a grid of `points` to a side over some hyperparameters, the others fixed.

    Columns `names`, mean, sem (standard error). The client must have been analysed once.
    """
    axes = [_axis(problem.space[name], points) for name in names]  # type: ignore[index]
    grid = [{**others, **dict(zip(names, point, strict=True))} for point in product(*axes)]
    box = Box(problem.space)  # type: ignore[arg-type]
    with quiet_and_seeded(0):
        values = made.predict([box.encode(point) for point in grid])
    metric = metric_names(problem)[problem.objective.metric]
    rows = [(*(p[n] for n in names), *map(float, v[metric])) for p, v in zip(grid, values, strict=True)]
    return pd.DataFrame(rows, columns=[*names, "mean", "sem"])


def _axis(hp: Any, points: int) -> Sequence[float]:
    if hp.log:
        values = np.geomspace(hp.lower, hp.upper, points).clip(hp.lower, hp.upper)
    else:
        values = np.linspace(hp.lower, hp.upper, points)
    return [int(v) for v in values.round()] if isinstance(hp, UniformIntegerHyperparameter) else values.tolist()


def _frame(made: "Client", analysis: Any) -> pd.DataFrame:
    (card,) = made.compute_analyses([analysis], display=False)
    first = card.flatten()[0]
    if "Error" in type(first).__name__ or "NotApplicable" in type(first).__name__:
        raise UserError(f"Ax's {type(analysis).__name__} failed: {first.subtitle}")
    return first.df


def _storage(database: Path | None) -> Any:
    if database is None:
        return None
    with extra("sqlite"):
        from ax.api.configs import StorageConfig
        from ax.storage.sqa_store.db import create_all_tables, get_engine, init_engine_and_session_factory
    database.parent.mkdir(parents=True, exist_ok=True)
    database.unlink(missing_ok=True)
    url = f"sqlite:///{database.absolute()}"
    init_engine_and_session_factory(url=url)
    create_all_tables(get_engine())
    return StorageConfig(url=url)
