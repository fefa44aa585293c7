"""Grammar BO as published beside Optuna's Gaussian process and TPE on the cells of NAS-Bench-201, paired by seed.

    python -m benchmarks.cells [--seeds 10] [--first 2000] [--logs FOLDER]

Optuna's samplers see six choices, of which those that leave no path from input to output are not admitted. Every
search has 100 evaluations. Searches are logged, so that an interrupted run goes on; the cost of a proposal is then that
of the searches run since. Writes benchmarks/cells.md.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Constraint, Problem
from jahslib.core.trials import Configuration
from jahslib.optimizers.grammar_bo import GrammarBO
from jahslib.optimizers.optuna import OptunaSampler
from jahslib.problems.cells.cell_edges import CellEdges
from jahslib.problems.cells.nasbench201 import DATA, NasBench201
from jahslib.search import Budget, search

TABLE = Path(__file__).with_suffix(".md")
EVALUATIONS = 100
RESAMPLES = 10_000


class FlatCells(CellEdges):
    """Six choices. Disconnected cells are refused beforehand, with no constraint for a sampler to model: all trials
    would meet it."""

    name = "cell_edges_flat"

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        return ()

    def admits(self, configuration: Configuration) -> bool:
        return bool(self.facts(configuration)["connected"])


METHODS: dict[str, Callable[[NasBench201, int], tuple[Problem, Optimizer]]] = {
    "GrammarBO": lambda cells, seed: (cells, GrammarBO(cells, seed)),
    "Optuna GP": lambda cells, seed: (flat := FlatCells(cells), OptunaSampler(flat, seed, "GPSampler")),
    "Optuna TPE": lambda cells, seed: (flat := FlatCells(cells), OptunaSampler(flat, seed)),
}


class Timed:
    """An optimizer, and the CPU time of its proposals."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer, self.seconds, self.asked = optimizer, 0.0, 0

    def ask(self, history):
        start = time.process_time()
        suggestion = self.optimizer.ask(history)
        self.seconds += time.process_time() - start
        self.asked += 1
        return suggestion

    def describe(self):
        return self.optimizer.describe()


def run(data: str, method: str, seed: int, logs: Path) -> dict[str, object]:
    """One search: regret of the best cell found and its test error, both in points, and CPU milliseconds a proposal."""
    cells = NasBench201(data)
    problem, optimizer = METHODS[method](cells, seed)
    timed = Timed(optimizer)
    log = logs / f"{data}-{method.replace(' ', '_')}-seed{seed}.jsonl"
    history = search(problem, timed, Budget(trials=EVALUATIONS), log, seed=seed)
    found = problem.incumbent(history)
    assert found is not None
    return {
        "data": data,
        "method": method,
        "seed": seed,
        "regret": 100 * (found.metrics["val_error"] - cells.errors().val_error.min()),
        "test error": 100 * found.metrics["test_error"],
        "ms": 1e3 * timed.seconds / timed.asked if timed.asked > EVALUATIONS // 2 else np.nan,
    }


def table(found: pd.DataFrame) -> list[str]:
    """A row for each data set and method, and one for each method against each other's pooled difference."""
    lines = [
        "| data | method | regret, mean | median | worst | optimum found | test error | CPU ms a proposal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for data in DATA:
        for method in METHODS:
            rows = found[(found.data == data) & (found.method == method)]
            if rows.empty:
                continue
            reached = f"{(rows.regret < 1e-9).sum()} of {len(rows)}"
            lines.append(
                f"| {data} | {method} | {rows.regret.mean():.2f} | {rows.regret.median():.2f} | "
                f"{rows.regret.max():.2f} | {reached} | {rows['test error'].mean():.2f} | {rows.ms.median():.0f} |"
            )
    first, *others = METHODS
    lines += ["", f"| {first} less | regret | test error |", "|---|---|---|"]
    for other in others:
        cells = [_paired(found, first, other, column) for column in ("regret", "test error")]
        lines.append(f"| {other} | {cells[0]} | {cells[1]} |")
    return lines


def _paired(found: pd.DataFrame, a: str, b: str, column: str) -> str:
    """Mean difference over data sets and seeds, with a 95 % interval of a bootstrap over seeds within data sets."""
    wide = found.pivot_table(index=["data", "seed"], columns="method", values=column)
    difference = (wide[a] - wide[b]).dropna()
    groups = [d.to_numpy() for _, d in difference.groupby("data")]
    rng = np.random.default_rng(0)
    drawn = np.mean([rng.choice(g, (RESAMPLES, len(g))).mean(axis=1) for g in groups], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{np.mean([g.mean() for g in groups]):+.2f} [{low:+.2f}, {high:+.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=2000, help="the first seed")
    parser.add_argument("--logs", type=Path, default=Path("cells-logs"), help="folder of the trial logs")
    o = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in range(o.first, o.first + o.seeds):
        for data in DATA:
            for method in METHODS:
                rows.append(run(data, method, seed, o.logs))
                print(rows[-1], flush=True)
        write(pd.DataFrame(rows), o.first)


def write(found: pd.DataFrame, first: int) -> None:
    seeds = found.seed.nunique()
    lines = table(found)
    TABLE.write_text(
        f"""# Grammar BO as published beside flat optimizers on the cells of NAS-Bench-201

Written by `python -m benchmarks.cells`: {EVALUATIONS} evaluations, seeds {first} to {first + seeds - 1}, one thread.
Regret is that of the validation error after 12 epochs against the best cell's; all errors are in points. The test error
is that of the cell found, after 200 epochs. Differences are paired by seed and averaged over the three data sets, with
95 % bootstrap intervals over seeds; three tables of one space are hardly three independent tasks.

{chr(10).join(lines)}
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
