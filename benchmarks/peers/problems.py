"""The problems that peers are compared on, by name, each with what a regret is measured against."""

import numpy as np

from benchmarks import optimizers
from benchmarks.optimizers import Task
from jahslib.errors import UserError
from jahslib.problems import lcbench
from jahslib.problems.cells.cell_edges import CellEdges
from jahslib.problems.tabular import HPOBenchMLP, HPOLib, NasBench201Full

LIMITS = ("floor", "limit")  # of `benchmarks.optimizers.lcbench`
TABLES = {kind.name: kind for kind in (NasBench201Full, HPOBenchMLP, HPOLib)}


def names(*, final: bool = False) -> list[str]:
    """LCBench's tuning tasks free and constrained and the tables; with `final` the tasks that tuned nothing instead."""
    tasks = [t for t in lcbench.TASKS if (t in optimizers.TASKS) != final]
    tuned = [f"lcbench-{task}{kind}" for kind in ("", *(f"-{limit}" for limit in LIMITS)) for task in tasks]
    return [*tuned, *(f"{name}-{data}" for name, kind in TABLES.items() for data in kind.DATA)]


def task(name: str, *, final: bool = False) -> Task:
    """The problem `name`. On a table, the best configuration's mean has a regret of 0, the median one's of 1.

    Raises:
        UserError: no such problem, or one that is kept for the final comparison.
    """
    if name not in names(final=final):
        raise UserError(f"peers: no problem {name!r}, or one kept for the final run; see --help")
    kind, data, *limit = name.split("-")
    if kind == "lcbench":
        return optimizers.lcbench(data, *(limit or [""]))
    table = TABLES[kind](data)
    means, metric = table.means(), f"mean_{table.objective.metric}"
    best = float(means.max() if table.objective.maximize else means.min())
    problem = CellEdges(table) if isinstance(table, NasBench201Full) else table
    return Task(problem, metric, best, best - float(np.median(means)))
