"""Tables of searches under a limit on the network's size and a floor on its precision (study 07)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from jahslib.analysis.methods import summary
from jahslib.core.problem import Problem
from jahslib.core.trials import Trial, as_proposed, key
from jahslib.extras import extra
from jahslib.optimizers import hyperband
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.search.runs import AnySearch
from jahslib.training.metrics import batchwise_precision

with extra("training"):
    import torch

Search = AnySearch[ConstrainedCNN]
Searches = Sequence[Search]

# Column of a table of test results -> the metric.
TESTED = {
    "params": "params",
    "test_top3": "top3",
    "test_top3_without_leaked": "top3_without_leaked",
    "test_precision": "batchwise_precision",
    "test_macro_precision": "macro_precision",
}


def caps(batch_sizes: Sequence[int]) -> pd.DataFrame:
    """Compute a perfect classifier's batch-wise precision on micro17flower's sorted folds, by batch size."""
    labels = torch.arange(17).repeat_interleave(20)
    values = [batchwise_precision(labels, labels, 17, b) for b in batch_sizes]
    return pd.DataFrame({"batch_size": batch_sizes, "highest_batchwise_precision": values})


def rung_plan(low: int, high: int, eta: int = 2) -> pd.DataFrame:
    """Tabulate Hyperband's plan, one row per bracket: members@epochs of each rung, and epochs, as promotions go on."""
    rows = []
    for rungs in hyperband.plan(low, high, eta, rounding="published"):
        before = [0, *(r.fidelity for r in rungs[:-1])]
        cost = sum(r.members * (r.fidelity - b) for r, b in zip(rungs, before, strict=True))
        rows.append({"bracket": " → ".join(f"{r.members}@{r.fidelity}" for r in rungs), "epochs": cost})
    return pd.DataFrame(rows)


def rungs_table(search: Search, eta: int) -> pd.DataFrame:
    """List every Hyperband trial: its bracket in the plan, its configuration (`member`), epochs and top-3 accuracy."""
    n_brackets = len(hyperband.plan(search.problem.min_epochs, search.problem.max_epochs, eta))
    return pd.DataFrame(
        {
            "step": t.bracket // n_brackets,
            "bracket": t.bracket % n_brackets,
            "member": search.history.lineage(t.id)[0],
            "fidelity": t.fidelity,
            "final": t.final,
            "top3": t.metrics["top3"],
        }
        for t in as_proposed(search.history)
        if t.bracket is not None and t.status == "ok"
    )


def population(problem: ConstrainedCNN, trials: Sequence[Trial], size: int) -> dict[str, float]:
    """Summarise the best `size` trials as the original logs its population, in a (mu + lambda) strategy.

    Mean and best top-3 accuracy, mean precision, and the best one's precision.
    """
    best = sorted(trials, key=problem.rank)[:size]
    top3, precision = ([t.metrics[metric] for t in best] for metric in ("top3", problem.precision))
    means = float(np.mean(top3)), float(np.mean(precision))
    return {"avg_acc": means[0], "best_acc": top3[0], "avg_prec": means[1], "best_prec": precision[0]}


def populations(searches: Searches, size: int) -> pd.DataFrame:
    """Follow the `population` of each search and what was spent by then: one row per full evaluation."""
    rows = []
    for s in searches:
        seen, spent = [], 0.0
        for trial in s.history:
            spent += trial.epochs
            if s.problem.full([trial]):
                seen.append(trial)
                row = {"method": s.method, "seed": s.seed, "epochs": spent, "minutes": trial.elapsed / 60}
                rows.append(row | population(s.problem, seen, size))
    return pd.DataFrame(rows)


def members(search: Search) -> list[Trial]:
    """List the trainings that the original logs: those that nothing continued, also in brackets that end early."""
    return [t for t in as_proposed(search.history) if t.final and t.status == "ok"]


def steps_table(search: Search, evolution: PublishedEvolution | None) -> pd.DataFrame:
    """Make the original's {run}.csv: `population`, step and time (s), one row per step of an evolution; 0 is its first.

    Other methods have no population, and so no averages, and one row per full training.
    """
    trained = members(search)
    steps = range(len(trained)) if evolution is None else [_step(evolution, search.problem, t) for t in trained]
    size = len(trained) if evolution is None else evolution.pop_size
    ends = {step: trained[:i] for i, step in enumerate(steps, start=1)}
    rows = [
        population(search.problem, seen, size) | {"step": step, "time": max(t.elapsed for t in seen)}
        for step, seen in ends.items()
    ]
    table = pd.DataFrame(rows, columns=["avg_acc", "best_acc", "avg_prec", "best_prec", "step", "time"])
    return table if evolution is not None else table.drop(columns=["avg_acc", "avg_prec"])


def _step(evolution: PublishedEvolution, problem: ConstrainedCNN, trial: Trial) -> int:
    if trial.id < evolution.pop_size:
        return 0
    if trial.bracket is None:
        return 1 + (trial.id - evolution.pop_size) // evolution.num_children
    return 1 + trial.bracket // len(hyperband.plan(problem.min_epochs, problem.max_epochs, evolution.eta))


def constraints_table(searches: Searches) -> pd.DataFrame:
    """Summarise searches, each under constraints of its own: the incumbent, and the `n` final trainings of it."""
    rows = [
        {
            "min_precision": s.problem.min_precision,
            "max_size": s.problem.max_model_size,
            "feasible": s.feasible(s.incumbent),
            "val_top3": s.incumbent.metrics["top3"],
            "params": int(s.incumbent.metrics["params"]),
            "training": i,
            "test_precision": t.metrics[s.problem.precision],
            "test_top3": t.metrics["top3"],
        }
        for s in searches
        for i, t in enumerate(s.tests)
    ]
    return summary(pd.DataFrame(rows), ["min_precision", "max_size", "feasible", "val_top3", "params"], "training")


def trainings_table(trials: Mapping[str, Sequence[Trial]]) -> pd.DataFrame:
    """List trainings of named configurations on all training images: one row per training."""
    rows = [
        {"configuration": name, "training": i, "minutes": t.seconds / 60}
        | {column: t.metrics[metric] for column, metric in TESTED.items()}
        for name, runs in trials.items()
        for i, t in enumerate(runs)
    ]
    return pd.DataFrame(rows, columns=["configuration", "training", "minutes", *TESTED])


def course_table(searches: Sequence[AnySearch], limits: Problem) -> pd.DataFrame:
    """Judge the incumbents of the course's BOHB example, which knows no constraint, by those of `limits`."""
    return pd.DataFrame(
        {
            "seed": s.seed,
            "val_top3": s.incumbent.metrics["top3"],
            "val_precision": s.incumbent.metrics[s.problem.precision],
            "params": int(s.incumbent.metrics["params"]),
            "feasible": limits.violation(s.incumbent) == 0,
            "configurations": len({key(t.configuration) for t in s.history}),
            "epochs": s.epochs,
            "widths": "-".join(str(v) for k, v in sorted(s.incumbent.configuration.items()) if "channels" in k),
            "learning_rate": s.incumbent.configuration["learning_rate_init"],
        }
        for s in searches
    )
