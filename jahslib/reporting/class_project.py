"""The files that study 07's original leaves behind, in its form.

result_test.json, result_cv.json    of one configuration: model_size, precision, top3_accuracy (main.py)
automl_run_{run}.json               every fully trained configuration: configuration, top3, precision, num_params
opt_cfg_{run}.json                  the incumbent's configuration
{run}.csv                           the course of the search (AutoML.py, AutoML_random_search.py)
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jahslib import paths
from jahslib.analysis.constraints import Searches, members, steps_table
from jahslib.analysis.tables import mean_of
from jahslib.core.trials import Trial
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.search.runs import AnySearch, Run


def write_result(folder: Path, problem: ConstrainedCNN, trials: Sequence[Trial]) -> Path:
    """Write one configuration's result file: means over its trainings, also where these break the limits."""
    size, precision, top3 = (mean_of(trials, metric) for metric in ("params", problem.precision, "top3"))
    result = {"model_size": int(size), "precision": precision, "top3_accuracy": top3}
    path = folder / ("result_test.json" if problem.split == "test" else "result_cv.json")
    paths.write(path, json.dumps(result, indent=1) + "\n")
    return path


def write_runs(folder: Path, plan: Sequence[Run], searches: Searches) -> list[Path]:
    """Write the three files of every search, made from its trials and its run's optimizer; returns their paths."""
    written = []
    for run, s in zip(plan, searches, strict=True):
        evolution = run.optimizer if isinstance(run.optimizer, PublishedEvolution) else None
        name = run_name(s, evolution)
        evaluated = []
        for t in members(s):
            top3, precision, size = (t.metrics[metric] for metric in ("top3", s.problem.precision, "params"))
            found = {"configuration": t.configuration, "top3": top3, "precision": precision}
            evaluated.append({**found, "num_params": int(size)})
        files = {
            f"automl_run_{name}.json": json.dumps(evaluated, indent=1) + "\n",
            f"opt_cfg_{name}.json": json.dumps(s.incumbent.configuration, indent=1, sort_keys=True) + "\n",
            f"{name}.csv": steps_table(s, evolution).to_csv(index=False, lineterminator="\n"),
        }
        for file, text in files.items():
            paths.write(folder / file, text)
            written.append(folder / file)
    return written


def run_name(s: AnySearch[ConstrainedCNN], evolution: PublishedEvolution | None) -> str:
    """Return the original's name of a run, with the date (UTC) of the search's first trial.

    Other methods than the original's begin with their own name; its colons are dots, as some file systems take none.
    """
    begins = s.method
    if evolution is not None:
        begins = f"popSize_{evolution.pop_size}_numChildren_{evolution.num_children}_hyperband_{evolution.hyperband}"
    limits = f"minPrecision_{s.problem.min_precision}_maxModelSize_{s.problem.max_model_size}"
    begun = datetime.fromtimestamp(min(t.started or t.finished for t in s.history), UTC)
    date = begun.strftime("%Y_%m_%d-%I.%M.%S_") + ("AM" if begun.hour < 12 else "PM")
    return f"{begins}_{limits}_seed_{s.seed}_date_{date}"
