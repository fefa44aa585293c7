"""Trial logs for the dashboards of others: `python -m jahslib export LOG... --to deepcave|optuna --out FOLDER`.

DeepCAVE (https://automl.github.io/DeepCAVE) opens a folder a run; `deepcave --open` then finds FOLDER. Optuna's journal
(https://optuna.readthedocs.io, `JournalStorage`) is one file for all studies; `optuna-dashboard FOLDER/optuna.journal`
shows it. Neither package is needed to write what DeepCAVE 1.4 (its own reader has a fault, see docs/data.md) and Optuna
3.1 to 5.0 read. A log that has grown is exported again over the old files.
"""

import copy
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace

from jahslib import paths
from jahslib.core.problem import Constraint, Objective
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.search import logfiles, triallog
from jahslib.spaces import configurations as spaces

logger = logging.getLogger(__name__)

JOURNAL = "optuna.journal"


# DeepCAVE ------------------------------------------------------------------------------------------------------------

SUCCESS, TIMEOUT, CRASHED, ABORTED = 1, 2, 4, 5
DEEPCAVE_STATUS = {"ok": SUCCESS, "cut": TIMEOUT, "failed": CRASHED, "rejected": ABORTED}


def to_deepcave(logs: Iterable[Path | str] | Path | str, out: Path | str) -> list[Path]:
    """Write one DeepCAVE run a log, named as its study and the log; returns their folders.

    Objectives are the problem's, then the metric of each constraint (its bound can be read in the name), then `time`,
    the trial's seconds. DeepCAVE tells trials apart by configuration, budget (epochs here) and seed, so that a
    configuration trained again at the same budget counts its seed up from the search's.

    Raises:
        UserError: no log with a trial (those without are left out), two of one name, one with a trial outside a
            ConfigurationSpace, or a folder that holds a run of other trials; nothing is then written.
    """
    runs: dict[str, dict[str, str]] = {}
    for name, (recorded, log) in _read(logs).items():
        folder = re.sub(r"[^\w=+-]", "-", name)  # DeepCAVE cuts names at their last dot
        if folder in runs:
            raise UserError(f"exports: {log} would be written to {folder}, as another log is; rename one of them")
        runs[folder] = _deepcave_files(recorded, log)
        there = Path(out) / folder / "history.jsonl"
        if there.is_file() and not runs[folder]["history.jsonl"].startswith(there.read_text(errors="replace")):
            raise UserError(f"exports: {there.parent} holds another run than {log}; remove it or give another folder")
    for name, files in runs.items():
        for file, text in files.items():
            paths.write(Path(out) / name / file, text)
    return [Path(out) / name for name in runs]


def _deepcave_files(recorded: triallog.LoggedSearch, log: Path) -> dict[str, str]:
    """Make file names and contents; history.jsonl comes last, since DeepCAVE watches it."""
    space, objective, constraints = _declared(recorded, log)
    configurations = {spaces.key(t.configuration): t.configuration for t in recorded.trials}
    numbers = {key: number for number, key in enumerate(configurations)}
    repeats: Counter[tuple[int, float]] = Counter()
    history = []
    begin = min((t.started for t in recorded.trials if t.started), default=0.0)
    for trial in recorded.trials:
        number = numbers[spaces.key(trial.configuration)]
        seed = recorded.header["seed"] + repeats[number, trial.fidelity]
        repeats[number, trial.fidelity] += 1
        costs = [*(trial.metrics.get(m) for m in (objective.metric, *(c.metric for c in constraints))), trial.seconds]
        shown = costs if trial.status == "ok" else [None] * len(costs)
        times = [round(t - begin, 2) for t in _times(trial)]
        about = {"trial": trial.id, "epochs": trial.epochs} | ({"traceback": trial.reason} if trial.reason else {})
        line = [number, trial.fidelity, seed, shown, round(trial.seconds, 2), *times, DEEPCAVE_STATUS[trial.status]]
        history.append([*line, about])
    meta = {
        "objectives": _deepcave_objectives(objective, constraints, history),
        "budgets": sorted({line[1] for line in history}),
        "seeds": sorted({line[2] for line in history}),
    }
    return {
        "configspace.json": json.dumps(space),
        "meta.json": json.dumps(meta, indent=4),
        "configs.json": json.dumps(dict(enumerate(configurations.values())), indent=4),
        "origins.json": json.dumps(dict.fromkeys(numbers.values(), recorded.header["method"]), indent=4),
        "history.jsonl": "".join(json.dumps(line) + "\n" for line in history),
    }


def _deepcave_objectives(objective: Objective, constraints: list[Constraint], history: list) -> list[dict[str, Any]]:
    declared = [(objective.metric, "upper" if objective.maximize else "lower")]
    declared += [(str(c), "lower" if c.relation == "<=" else "upper") for c in constraints]
    objectives = []
    for place, (name, better) in enumerate([*declared, ("time", "lower")]):
        locked = place == 0  # the objective's bounds are declared
        seen = [line[3][place] for line in history if line[3][place] is not None] or [0.0]
        ends = (objective.best, objective.worst) if locked else seen
        bounds = {"lower": min(ends), "upper": max(ends), "lock_lower": locked, "lock_upper": locked}
        objectives.append({"name": name, **bounds, "optimize": better})
    return objectives


# Optuna --------------------------------------------------------------------------------------------------------------

CREATE_STUDY, SET_STUDY_USER_ATTR, SET_STUDY_SYSTEM_ATTR, CREATE_TRIAL = 0, 2, 3, 4
MINIMIZE, MAXIMIZE = 1, 2
COMPLETE, PRUNED, FAIL = 1, 2, 3


def to_optuna(logs: Iterable[Path | str] | Path | str, out: Path | str) -> Path:
    """Write all logs as studies of one Optuna journal, `optuna.journal` in `out`; returns it.

    A study's name is the log's study and name. What Optuna calls a trial is a whole training here: a trial and those
    that it continues, with their values as intermediate values at their epochs (Optuna's steps are whole: where a
    fidelity is not, at their ranks, from 0). It is complete when its last trial is final and succeeded, failed
    when that failed, else pruned: stopped at a lower rung, cut, or rejected before training.
    Constraints are stored as Optuna's samplers do, at most 0 where met, so that `best_trial` is a feasible one.

    Raises:
        UserError: no log with a trial (those without are left out), two of one name, or one with a trial outside a
            ConfigurationSpace; nothing is then written.
    """
    operations = [
        {**operation, "worker_id": "jahslib"}
        for study, (name, (recorded, log)) in enumerate(_read(logs).items())
        for operation in _operations(study, name, recorded, log)
    ]
    file = Path(out) / JOURNAL
    paths.write(file, "".join(json.dumps(operation, separators=(",", ":")) + "\n" for operation in operations))
    return file


def optuna_studies(journal: Path | str) -> dict[str, Any]:
    """Open a journal of `to_optuna`: an `optuna.Study` by name. Raises `UserError` without Optuna, or such a file."""
    with extra("optuna"):
        import optuna

    if not Path(journal).is_file():  # Optuna would make an empty one
        raise UserError(f"exports: no journal {journal}; `python -m jahslib export LOG --to optuna` writes it")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def _operations(study: int, name: str, recorded: triallog.LoggedSearch, log: Path) -> Iterator[dict[str, Any]]:
    space, objective, constraints = _declared(recorded, log)
    direction = MAXIMIZE if objective.maximize else MINIMIZE
    yield {"op_code": CREATE_STUDY, "study_name": name, "directions": [direction]}
    metrics = {"study:metric_names": [objective.metric]}
    yield {"op_code": SET_STUDY_SYSTEM_ATTR, "study_id": study, "system_attr": metrics}
    about = {key: recorded.header[key] for key in ("study", "method", "seed", "profile")}
    for key, value in {**about, "constraints": [str(c) for c in constraints]}.items():
        yield {"op_code": SET_STUDY_USER_ATTR, "study_id": study, "user_attr": {key: value}}
    distributions = {hp["name"]: _distribution(hp) for hp in space["hyperparameters"]}
    steps = _steps(recorded.trials)
    for training in _trainings(recorded.trials):
        made = _training(training, objective, constraints, distributions, steps)
        yield {"op_code": CREATE_TRIAL, "study_id": study, **made}


def _steps(trials: list[Trial]) -> dict[float, int]:
    fidelities = sorted({trial.fidelity for trial in trials})
    whole = all(float(fidelity).is_integer() for fidelity in fidelities)
    return {fidelity: int(fidelity) if whole else rank for rank, fidelity in enumerate(fidelities)}


Distributions = dict[str, tuple[str, Callable[[Any], float]]]


def _training(
    training: list[Trial],
    objective: Objective,
    constraints: list[Constraint],
    distributions: Distributions,
    steps: dict[float, int],
) -> dict[str, Any]:
    last = training[-1]
    values = {t.fidelity: t.metrics[objective.metric] for t in training if objective.metric in t.metrics}
    state = FAIL if last.status == "failed" else COMPLETE if last.status == "ok" and last.final else PRUNED
    excesses = [c.excess(last.metrics) for c in constraints]
    started, finished = _times(training[0])[0], _times(last)[1]
    return {
        "state": state,
        "value": values.get(last.fidelity) if state != FAIL else None,
        "values": None,
        "datetime_start": _datetime(started),
        "datetime_complete": _datetime(finished),
        "distributions": {name: distributions[name][0] for name in last.configuration},
        "params": {name: distributions[name][1](value) for name, value in last.configuration.items()},
        "user_attrs": {
            **last.metrics,
            "trials": [t.id for t in training],
            "epochs": sum(t.epochs for t in training),
            "seconds": sum(t.seconds for t in training),
            **({"reason": last.reason} if last.reason else {}),
        },
        "system_attrs": {"constraints": excesses} if excesses and not any(map(math.isnan, excesses)) else {},
        "intermediate_values": {str(steps[fidelity]): value for fidelity, value in values.items()},
    }


def _trainings(trials: list[Trial]) -> list[list[Trial]]:
    """List trials with those that they continue, oldest first, in the order in which they ended."""
    lineages: dict[int | None, list[Trial]] = {None: []}
    for trial in trials:
        lineages[trial.id] = [*lineages[trial.parent], trial]
    continued = {trial.parent for trial in trials}
    return [lineages[trial.id] for trial in trials if trial.id not in continued]


def _distribution(hp: dict[str, Any]) -> tuple[str, Callable[[Any], float]]:
    """Return Optuna's distribution in JSON, and what turns a value into the number that its storages hold."""
    match hp["type"]:
        case "uniform_float":
            attributes = {"step": None, "low": hp["lower"], "high": hp["upper"], "log": hp["log"]}
            return json.dumps({"name": "FloatDistribution", "attributes": attributes}), float
        case "uniform_int":
            attributes = {"log": hp["log"], "step": 1, "low": hp["lower"], "high": hp["upper"]}
            return json.dumps({"name": "IntDistribution", "attributes": attributes}), float
        case "categorical" | "ordinal" | "constant" as kind:
            choices = {"categorical": "choices", "ordinal": "sequence"}.get(kind)
            values = [hp["value"]] if choices is None else hp[choices]
            return json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": values}}), values.index
        case kind:
            raise UserError(f"exports: hyperparameter {hp['name']!r} is {kind}, which Optuna has no distribution for")


def _datetime(seconds: float) -> str:
    """Write a time as Optuna does, without a zone; it is UTC wherever it is written."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


# Both ----------------------------------------------------------------------------------------------------------------


def _declared(recorded: triallog.LoggedSearch, log: Path) -> tuple[dict[str, Any], Objective, list[Constraint]]:
    problem = recorded.fingerprint.get("problem", {})
    try:
        space, objective = problem["space"], Objective(*problem["objective"])
        constraints, flat = [Constraint.parse(text) for text in problem["constraints"]], "conditions" in space
    except (KeyError, TypeError, ValueError) as error:  # by a problem's own `describe`, or damaged
        lacks = "has no space, objective and constraints in its header"
        raise UserError(f"exports: {log} {lacks} ({error!r}); leave this log out") from error
    if not flat:
        raise UserError(
            f"exports: {log} searched {space.get('name')}, a grammar, which has no named hyperparameters for a "
            "dashboard to show; see its trials in jahslib.reporting.trials_table"
        )
    declared = ConfigurationSpace.from_serialized_dict(copy.deepcopy(space))  # it takes apart what it is given
    for trial in recorded.trials:
        try:
            spaces.complete(declared, trial.configuration)
        except UserError as error:
            place = f"exports: {log}, trial {trial.id}"
            raise UserError(f"{place} is outside its space ({error}); leave this log out") from error
    return space, objective, constraints


def _times(trial: Trial) -> tuple[float, float]:
    """Return begin and end in seconds since 1970; a rejected trial has no begin."""
    return trial.started or trial.finished, trial.finished


def _read(logs: Iterable[Path | str] | Path | str) -> dict[str, tuple[triallog.LoggedSearch, Path]]:
    found: dict[str, tuple[triallog.LoggedSearch, Path]] = {}
    for log in chain.from_iterable(map(logfiles.inside, logfiles.several(logs))):
        begun = logfiles.exists(log) and b"\n" not in logfiles.content(log)  # not even a header
        if begun or not (recorded := triallog.read(log)).trials:
            logger.warning("exports: %s holds no trial and is left out", log)
            continue
        name = "/".join(filter(None, [recorded.header["study"], log.stem]))
        if name in found:
            raise UserError(f"exports: {found[name][1]} and {log} are both {name}; give each a folder of its own")
        found[name] = recorded, log
    if not found:
        raise UserError("exports: no trial log with a trial given; name one, or a folder that has some")
    return found
