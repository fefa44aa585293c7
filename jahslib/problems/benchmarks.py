"""Public benchmarks for the comparison of optimizers, each with the reference of its regret.

Twelve of LCBench's tasks tuned the defaults of this library's optimizers; a comparison of these optimizers must leave
them out (`FINAL`).
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from jahslib.core.problem import Constraint, Problem
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.problems import lcbench as lc
from jahslib.problems.cells.cell_edges import CellEdges
from jahslib.problems.tabular import HPOBenchMLP, HPOLib, NasBench201Full, Tabular
from jahslib.spaces import configurations as spaces

POINTS = 2000
TUNING = tuple("3945 7593 34539 126025 146212 189906 168868 168908 168910 189354 189862 189865".split())
FINAL = tuple(task for task in lc.TASKS if task not in TUNING)

# Name of a table -> its problem's class; a task is a name and one of the class's data sets.
TABLES: dict[str, type[Tabular]] = {"cells": NasBench201Full, "mlp": HPOBenchMLP, "hpolib": HPOLib}

LCBENCH = ("lcbench", "lcbench_floor", "lcbench_limit")

# Family of tasks -> their names.
FAMILIES = {name: tuple(f"{name}-{task}" for task in FINAL) for name in LCBENCH}
FAMILIES |= {name: tuple(f"{name}-{data}" for data in table.DATA) for name, table in TABLES.items()}
TUNED = {name: tuple(f"{name}-{task}" for task in TUNING) for name in LCBENCH}


@dataclass(frozen=True)
class Benchmark:
    """A problem and its regret in `metric`, the objective without noise: 0 at `best`, 1 at `span` from it."""

    problem: Problem
    metric: str
    best: float
    span: float

    def regret(self, trial: Trial | None) -> float:
        """Compute an incumbent's regret: 1 without one or for an infeasible one; negative where it beats `best`."""
        if trial is None or self.problem.violation(trial):
            return 1.0
        return (self.best - trial.metrics[self.metric]) / self.span


@lru_cache(maxsize=128)
def benchmark(name: str) -> Benchmark:
    """Build one of `FAMILIES` or `TUNED`. Raises `UserError` for another name, and where data are missing."""
    family, _, data = name.partition("-")
    if name not in FAMILIES.get(family, ()) + TUNED.get(family, ()):
        raise UserError(f"benchmark {name!r} is unknown; families are {', '.join(FAMILIES)}")
    return of_table(TABLES[family](data)) if family in TABLES else of_lcbench(data, family.partition("_")[2])


def of_lcbench(task: str, limited: str = "") -> Benchmark:
    """Measure regret against 2,000 random points: 0 is the best (feasible) one, 1 the worst.

    Args:
        limited: "floor": balanced accuracy at least the points' 70th percentile; "limit": time at most their median.
    """
    known = _references()[task]
    relation = {"floor": ("val_balanced_accuracy", ">="), "limit": ("time", "<=")}
    constraints = (Constraint(*relation[limited], known[limited]),) if limited else ()
    best = known[f"best_{limited}" if limited else "best"]
    return Benchmark(lc.LCBench(task, constraints=constraints), "val_accuracy", best, best - known["worst"])


def reference(task: str) -> dict[str, float]:
    """Compute the reference values of `of_lcbench` anew, in 1.5 s of sampling."""
    free = lc.LCBench(task)
    rng = np.random.default_rng([int(task), 0])
    points = free.measure([spaces.sample(free.space, rng) for _ in range(POINTS)], int(free.fidelity.high))
    accuracy = points["val_accuracy"]
    floor, limit = np.percentile(points["val_balanced_accuracy"], 70), np.median(points["time"])
    found = {
        "best": accuracy.max(),
        "best_floor": accuracy[points["val_balanced_accuracy"] >= floor].max(),
        "best_limit": accuracy[points["time"] <= limit].max(),
        "worst": accuracy.min(),
        "floor": floor,
        "limit": limit,
    }
    return {name: float(f"{value:.6g}") for name, value in found.items()}


@lru_cache(maxsize=1)
def _references() -> dict[str, dict[str, float]]:
    """Load `{task: reference(task) for task in TASKS}`, stored as other machines may differ in the last digit."""
    return json.loads(Path(__file__).with_name("lcbench_references.json").read_text(encoding="utf-8"))


def of_table(table: Tabular) -> Benchmark:
    """Measure regret by the means of a table's configurations: 0 is the best, 1 the median; cells are `CellEdges`."""
    means = table.means()
    best = float(means.max() if table.objective.maximize else means.min())
    problem = CellEdges(table) if isinstance(table, NasBench201Full) else table
    return Benchmark(problem, f"mean_{table.objective.metric}", best, best - float(np.median(means)))
