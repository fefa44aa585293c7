"""Study 08: every optimizer on the same problems under the same budgets, constraints and seeds.

Which searches are run, on what, and where their logs stand. Notebook 08_head_to_head tells the story.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from jahslib import paths
from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Problem
from jahslib.core.trials import History, Trial
from jahslib.errors import UserError
from jahslib.experiments.notebook import experiment
from jahslib.experiments.profiles import RunOptions, refuse_empty, refuse_less, refuse_unknown, resolve
from jahslib.optimizers.ax.optimizer import FAST, AxBO
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.grammar_bo import GrammarBO
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.problems.cells import nasbench201
from jahslib.problems.cells.cell_edges import CellEdges
from jahslib.problems.cells.synthetic_cells import NAME as SYNTHETIC
from jahslib.problems.growing_convnet import GrowingConvNets
from jahslib.search import Budget, logfiles
from jahslib.search.runs import AnySearch, Run, retraining, run_trials

NOTEBOOK = "08_head_to_head"

# Method -> its name in figures and tables.
METHODS = {
    "rs": "RS",
    "ea": "EA",
    "ea_hb": "EA-HB",
    "re": "RE",
    "bohb": "BOHB",
    "ax": "Ax",
    "grammar": "grammar BO",
}
TRAINED = {"constrained_cnn": "constrained CNN", "growing_convnet": "growing ConvNet"}
TABLES = tuple(nasbench201.DATA)
CELLS = (*TABLES, SYNTHETIC)

# The methods that every task admits: cells have one fidelity, and only cells are a grammar's.
COMMON = ("rs", "ea", "re", "bohb", "ax")


Search = AnySearch[Problem]

Key = tuple[str, str, int]  # task, method, seed


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Every option of the study.

    `tasks`: "constrained_cnn" (study 07's problem), "growing_convnet" (study 01's) and data sets of the NAS-Bench-201
    table (or "synthetic-cells", a made-up value over the same cells). `epochs`: what a search may spend, by task, on
    each fold; "cells" stands for every table. `constrained_cnn`, `growing_convnet`: changes to those studies' options.
    `settings`: options of an optimizer by method, such as {"ax": {"n_init": 8}}.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: dict[str, float]
    final_seeds: int = 1
    methods: tuple[str, ...] = tuple(METHODS)
    constrained_cnn: dict[str, Any] = field(default_factory=dict)
    growing_convnet: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    runtime: float | None = None

    def __post_init__(self):
        refuse_unknown("methods", self.methods, METHODS)
        refuse_unknown("settings", self.settings, METHODS)
        refuse_unknown("tasks", self.tasks, (*TRAINED, *CELLS))
        refuse_unknown("epochs", self.epochs, (*TRAINED, "cells"))
        refuse_empty(self, "seeds", "tasks", "methods")
        refuse_less(self, 1, "final_seeds")
        for task in self.tasks:
            if _kind(task) not in self.epochs:
                raise UserError(f"epochs: none for {_kind(task)}; give {{'{_kind(task)}': EPOCHS}}")
            if not admitted(self, task):
                raise UserError(f"methods: {', '.join(self.methods)} does not work on {task}; add one such as rs")


PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "note": (
            "the embedded digits, a made-up value over the cells instead of the table, and a few steps of training: "
            "shows that the code runs, not how methods compare"
        ),
        "tasks": (*TRAINED, SYNTHETIC),
        "seeds": (0, 1),
        "epochs": {"constrained_cnn": 24, "growing_convnet": 9, "cells": 8},
        "settings": {"grammar": {"n_init": 4, "pool_size": 20, "generations": (2, 4)}},
    },
    "cpu": {
        "note": (
            "so that ten seeds are to be had, study 07's small problem with 640 epochs a search instead of 1,200, and "
            "study 01's with half of its images and 114 epochs instead of 152; the table whole, 60 evaluations a search"
        ),
        "tasks": (*TRAINED, *TABLES),
        "seeds": tuple(range(10)),
        "epochs": {"constrained_cnn": 640, "growing_convnet": 114, "cells": 720},
        "growing_convnet": {"per_class": 300},
    },
    "paper": {
        "note": (
            "the problems and epoch budgets that studies 01 and 07 have in this profile; the table, 100 evaluations a "
            "search"
        ),
        "tasks": (*TRAINED, *TABLES),
        "seeds": tuple(range(10)),
        "epochs": {"constrained_cnn": 60_000, "growing_convnet": 456, "cells": 1200},
        "final_seeds": 3,
    },
}


def options(**given: Any) -> Options:
    """Resolve notebook parameters; see `jahslib.experiments.profiles.resolve`.

    Where the NAS-Bench-201 table is not at hand and `tasks` is not given, the made-up value stands in for it.
    """
    o = resolve(Options, PROFILES, given)
    if given.get("tasks") is None and set(o.tasks) & set(TABLES) and not nasbench201.at_hand():
        note = f"{o.note}; the NAS-Bench-201 table was not at hand: a made-up value over its cells stands in"
        return replace(o, tasks=(*(t for t in o.tasks if t not in TABLES), SYNTHETIC), note=note)
    return o


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    for task in o.tasks:
        if task in TRAINED:
            test_problem(o, task).test_images  # noqa: B018 (loads the test split)
    for run in searches(o):
        run.check(fresh=o.fresh)


# Tasks ------------------------------------------------------------------------------------------------------------


def _kind(task: str) -> str:
    return task if task in TRAINED else "cells"


def label(o: Options, task: str) -> str:
    """The task in tables and figures, with the data it is about."""
    if task in TRAINED:
        return f"{TRAINED[task]}, {test_problem(o, task).data}"
    return f"cells, {task.removesuffix('-cells')}"


def _constrained(o: Options) -> Any:
    """Study 07's experiment in this profile."""
    return _experiment("07_constrained_EA", json.dumps({"profile": o.profile, "device": o.device, **o.constrained_cnn}))


def _growing(o: Options) -> GrowingConvNets:
    """The problem of study 01's growing networks in this profile."""
    parameters = json.dumps({"profile": o.profile, "device": o.device, **o.growing_convnet})
    return _experiment("01_growing_bohb", parameters).METHODS["bohb"].problem


@lru_cache(maxsize=8)
def _experiment(notebook: str, parameters: str) -> Any:
    return experiment(notebook, json.loads(parameters))


def problem(o: Options, task: str, method: str, seed: int) -> Problem:
    """What a method searches. On a seed all methods have the same folds and the same constraints."""
    if task == "constrained_cnn":
        return _constrained(o).constrained(seed=seed)
    if task == "growing_convnet":
        return _growing(o)
    cells = nasbench201.TABLES[task]
    return cells if method == "grammar" else CellEdges(cells)


def test_problem(o: Options, task: str) -> Any:
    """Train on the whole training split, measure on the test split; the search never sees it."""
    if task == "constrained_cnn":
        return _constrained(o).tested(_constrained(o).constrained())
    return replace(_growing(o), split="test")


# Methods ----------------------------------------------------------------------------------------------------------


def admitted(o: Options, task: str) -> list[str]:
    """The methods that make sense on a task: with one fidelity Hyperband has nothing to halve."""
    left_out = "grammar" if task in TRAINED else "ea_hb"
    return [m for m in o.methods if m != left_out]


def population(evaluations: float) -> int:
    """A fifth of the full trainings that a budget pays for, at least 4 and at most the 50 of study 07's original."""
    return int(min(50, max(4, evaluations // 5)))


def optimizer(o: Options, method: str, task: Problem, seed: int, epochs: float) -> Optimizer:
    """With the settings of its own study, except that populations follow the budget and Ax proposes as in study 06.

    Raises:
        UserError: `settings` has what the method does not.
    """
    try:
        return _optimizer(method, task, seed, epochs, o.settings.get(method, {}))
    except TypeError as error:
        raise UserError(f"settings: {method}: {error}") from None


def _optimizer(method: str, task: Problem, seed: int, epochs: float, given: dict[str, Any]) -> Optimizer:
    evaluations = epochs / task.epochs((task.fidelity.high,))
    size = population(evaluations)
    match method:
        case "rs":
            return RandomSearch(task, seed)
        case "ea" | "ea_hb":
            sizes = {"pop_size": size, "num_children": size // 2}
            return Evolution.published(task, seed, hyperband=method == "ea_hb", **sizes | given)
        case "re":
            sizes = {"pop_size": size, "tournament_size": max(2, size // 3), "newly_active": "default"}
            return RegularizedEvolution(task, seed, **sizes | given)
        case "bohb":
            return SmacBohb(task, seed, **given)
        case "ax":
            return AxBO(task, seed, **{"acquisition": FAST} | given)
        case _:
            return GrammarBO(task, seed, **given)


# Runs -------------------------------------------------------------------------------------------------------------


def budget(o: Options, task: str, found: Problem) -> float:
    """Epochs that a search may spend, those of all folds."""
    return o.epochs[_kind(task)] * getattr(found, "folds_used", 1)


def folder(o: Options) -> Path:
    return paths.results(o.profile, NOTEBOOK)


def searches(o: Options) -> Iterator[Run]:
    """Every method on every task that admits it, seed by seed."""
    for task, method, seed in keys(o):
        found = problem(o, task, method, seed)
        epochs = budget(o, task, found)
        yield Run(
            problem=found,
            optimizer=optimizer(o, method, found, seed, epochs),
            budget=Budget(epochs=epochs, seconds=o.runtime),
            log=folder(o) / "logs" / f"{task}-{method}-seed{seed}.jsonl",
            seed=seed,
            method=method,
            study=NOTEBOOK,
            profile=o.profile,
        )


def keys(o: Options) -> list[Key]:
    return [(task, method, seed) for seed in o.seeds for task in o.tasks for method in admitted(o, task)]


def finished(o: Options, histories: Mapping[str, History]) -> list[Search]:
    """Raises `UserError` where a search finished no trial at the highest fidelity within its budget."""
    found = []
    for (task, method, seed), run in zip(keys(o), searches(o), strict=True):
        history = histories[run.log.stem]
        if run.problem.incumbent(history) is None:
            raise UserError(f"epochs: {method} on {task} with seed {seed} finished no full training; give it more")
        found.append(Search(method, seed, history, run.problem, task))
    return found


def run_finals(o: Options, found: Sequence[Search]) -> dict[Key, list[Trial]]:
    """Train each incumbent on the whole training split and measure it on the test split. A table has the test error."""
    logs, names = folder(o) / "logs", {"study": NOTEBOOK, "profile": o.profile}
    runs = {
        (s.task, s.method, s.seed): retraining(
            s, test_problem(o, s.task), o.final_seeds, logs, name=f"{s.task}-{s.method}-seed{s.seed}", **names
        )
        for s in found
        if s.task in TRAINED
    }
    return run_trials(runs, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)


def log_files(o: Options) -> list[Path]:
    return logfiles.found(folder(o) / "logs")
