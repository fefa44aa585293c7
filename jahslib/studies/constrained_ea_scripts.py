"""Study 07: what the original's scripts give beside their search: results of one configuration, files of a run, BOHB.

    result_test.json, result_cv.json    of one configuration: model_size, precision, top3_accuracy (main.py)
    runs/automl_run_{run}.json          every fully trained configuration: configuration, top3, precision, num_params
         opt_cfg_{run}.json             the incumbent's configuration
         {run}.csv                      the course of the search (AutoML.py, AutoML_random_search.py)

All stand in the profile's results folder of the study.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from jahslib import paths
from jahslib.analysis.tables import mean_of
from jahslib.core.problem import Job
from jahslib.core.trials import Configuration, History, Trial, key
from jahslib.errors import UserError
from jahslib.optimizers import hyperband
from jahslib.problems import kept_weights
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.search.runs import run_trials, trainings
from jahslib.spaces import configurations as spaces
from jahslib.studies import constrained_ea as study
from jahslib.studies.constrained_ea import NOTEBOOK, Options, Search

EVOLUTIONS = ("ea_hb", "ea")  # which work in steps


def run_configuration(o: Options) -> list[Trial]:
    """Train the configuration in the file `o.configuration`, measure it as `o.test` says, and write the result file.

    It is trained `o.final_seeds` times and the file has the means; with `o.model_path` once, and where that file is
    there its weights are measured again instead. The limits are not asserted: the result says what they would refuse.

    Raises:
        UserError: see `jahslib.spaces.configurations.read` and `kept_weights.check`; or no training succeeded.
    """
    task = study.given_problem(o)
    given = spaces.read(task.space, o.configuration or "")
    trials = _logged(o, task, given) if o.model_path is None else [_kept(o, task, given, Path(o.model_path))]
    if not trials:
        raise UserError(f"configuration: no training of {o.configuration} succeeded; its trial log says why")
    size, precision, top3 = (mean_of(trials, metric) for metric in ("params", o.precision, "top3"))
    result = {"model_size": int(size), "precision": precision, "top3_accuracy": top3}
    name = "result_test.json" if o.test else "result_cv.json"
    paths.write(paths.results(o.profile, NOTEBOOK) / name, json.dumps(result, indent=1) + "\n")
    return trials


def _logged(o: Options, task: ConstrainedCNN, given: Configuration) -> list[Trial]:
    digest = spaces.digest(given)
    name = f"test-{digest}" if o.test else f"cv-{digest}-seed{task.seed}"
    log, names = study.logs(o) / f"{name}.jsonl", {"study": NOTEBOOK, "profile": o.profile}
    run = trainings(task, [given] * o.final_seeds, log, seed=0, method="configuration", **names)
    return run_trials({name: run}, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)[name]


def _kept(o: Options, task: ConstrainedCNN, given: Configuration, path: Path) -> Trial:
    job = Job(given, (task.max_epochs,), o.seeds[0])
    trained = o.fresh or not path.exists()
    if trained:
        kept_weights.train(task, job, path)
    outcome = kept_weights.test(task, job, path)
    epochs = task.max_epochs if trained else 0
    return Trial(given, task.max_epochs, metrics=outcome.metrics, outputs=outcome.outputs, epochs=epochs)


def write_runs(o: Options, searches: Sequence[Search]) -> list[Path]:
    """The three files of every search, made from its trials alone; returns their paths."""
    written = []
    for s in searches:
        run, folder = run_name(o, s), paths.results(o.profile, NOTEBOOK) / "runs"
        evaluated = [
            {
                "configuration": t.configuration,
                "top3": t.metrics["top3"],
                "precision": t.metrics[s.problem.precision],
                "num_params": int(t.metrics["params"]),
            }
            for t in _members(s)
        ]
        files = {
            f"automl_run_{run}.json": json.dumps(evaluated, indent=1) + "\n",
            f"opt_cfg_{run}.json": json.dumps(s.incumbent.configuration, indent=1, sort_keys=True) + "\n",
            f"{run}.csv": steps_table(o, s).to_csv(index=False, lineterminator="\n"),
        }
        for name, text in files.items():
            paths.write(folder / name, text)
            written.append(folder / name)
    return written


def run_name(o: Options, s: Search) -> str:
    """The original's name of a run, with the date (UTC) of the search's first trial; other methods begin with theirs.

    The original's time of day has colons, which not every file system takes; here they are dots.
    """
    limits = f"minPrecision_{o.constraint_min_precision}_maxModelSize_{o.constraint_max_model_size}"
    size = f"popSize_{o.pop_size}_numChildren_{o.num_children}_hyperband_{s.method == 'ea_hb'}"
    begun = datetime.fromtimestamp(min(t.started or t.finished for t in s.history), UTC)
    date = begun.strftime("%Y_%m_%d-%I.%M.%S_") + ("AM" if begun.hour < 12 else "PM")
    return f"{size if s.method in EVOLUTIONS else s.method}_{limits}_seed_{s.seed}_date_{date}"


def steps_table(o: Options, s: Search) -> pd.DataFrame:
    """avg_acc, best_acc, avg_prec, best_prec, step, time (s): a row a step of an evolution.

    Step 0 is the first population; the last step may be one that the budget cut short. Other methods have no
    population, and so no averages, and a row a full training.
    """
    rows, seen = [], []
    members = _members(s)
    steps = [_step(o, s, t) if s.method in EVOLUTIONS else i for i, t in enumerate(members)]
    for i, (trial, step) in enumerate(zip(members, steps, strict=True)):
        seen.append(trial)
        if i + 1 < len(members) and steps[i + 1] == step:
            continue
        population = sorted(seen, key=s.problem.rank)[: o.pop_size]
        top3, precision = ([t.metrics[metric] for t in population] for metric in ("top3", s.problem.precision))
        row = {"avg_acc": np.mean(top3), "best_acc": top3[0], "avg_prec": np.mean(precision)}
        rows.append(row | {"best_prec": precision[0], "step": step, "time": trial.elapsed})
    table = pd.DataFrame(rows, columns=["avg_acc", "best_acc", "avg_prec", "best_prec", "step", "time"])
    return table if s.method in EVOLUTIONS else table.drop(columns=["avg_acc", "avg_prec"])


def bohb_table(o: Options, histories: Mapping[str, History]) -> pd.DataFrame:
    """The incumbents of the course's BOHB example, which knows no constraint, judged by the study's two; empty where it
    was not run.

    Args:
        histories: of all runs planned, by log name.
    """
    rows = []
    for run in study.course_searches(o) if o.course_bohb else ():
        history = histories[run.log.stem]
        best = Search(run.method, run.seed, history, run.problem).incumbent  # type: ignore[arg-type]
        rows.append(
            {
                "seed": run.seed,
                "val_top3": best.metrics["top3"],
                "val_precision": best.metrics[o.precision],
                "params": int(best.metrics["params"]),
                "feasible": study.problem(o, run.seed).violation(best) == 0,
                "configurations": len({key(t.configuration) for t in history}),
                "epochs": sum(t.epochs for t in history),
                "widths": "-".join(str(v) for k, v in sorted(best.configuration.items()) if "channels" in k),
                "learning_rate": best.configuration["learning_rate_init"],
            }
        )
    return pd.DataFrame(rows)


def _members(s: Search) -> list[Trial]:
    """What the original logs: trainings that nothing continued, those of brackets that end below the last epoch too."""
    return [t for t in s.history if t.final and t.status == "ok"]


def _step(o: Options, s: Search, trial: Trial) -> int:
    """The step a trial belongs to; 0 is the first population."""
    if trial.id < o.pop_size:
        return 0
    if trial.bracket is None:
        return 1 + (trial.id - o.pop_size) // o.num_children
    return 1 + trial.bracket // len(hyperband.plan(o.min_epochs, o.max_epochs, o.eta))
