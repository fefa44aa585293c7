"""Tables of searches under a limit on the network's size and a floor on its precision (study 07)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from jahslib.analysis.methods import by_method, costs, test_means
from jahslib.analysis.tables import feasible_share, model_share
from jahslib.analysis.text import pm
from jahslib.core.problem import Problem
from jahslib.core.trials import Trial, as_proposed, key
from jahslib.optimizers import hyperband
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.search.runs import AnySearch
from jahslib.training.metrics import batchwise_precision

Search = AnySearch[ConstrainedCNN]
Searches = Sequence[Search]

TESTED = ("test_top3", "test_top3_without_leaked", "test_precision", "test_macro_precision")


def caps(batch_sizes: Sequence[int], classes: int = 17, per_class: int = 20) -> pd.DataFrame:
    """Batch-wise precision of a perfect classifier on class-sorted data: what the metric allows at each batch size."""
    labels = torch.arange(classes).repeat_interleave(per_class)
    values = [batchwise_precision(labels, labels, classes, b) for b in batch_sizes]
    return pd.DataFrame({"batch_size": batch_sizes, "highest_batchwise_precision": values})


def rung_plan(low: int, high: int, eta: int = 2) -> pd.DataFrame:
    """One row a bracket: members@epochs of each rung, and the epochs it costs when promoted trainings are continued."""
    rows = []
    for rungs in hyperband.plan(low, high, eta, rounding="published"):
        before = [0, *(r.fidelity for r in rungs[:-1])]
        cost = sum(r.members * (r.fidelity - b) for r, b in zip(rungs, before, strict=True))
        rows.append({"bracket": " → ".join(f"{r.members}@{r.fidelity}" for r in rungs), "epochs": cost})
    return pd.DataFrame(rows)


def rungs_table(search: Search, eta: int) -> pd.DataFrame:
    """Every Hyperband trial: its bracket in the plan, the configuration it belongs to (`member`), epochs and top-3."""
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
    """What the original logs of its population, the best `size` in a (mu + lambda) strategy: avg_acc, best_acc,
    avg_prec, best_prec."""
    best = sorted(trials, key=problem.rank)[:size]
    top3, precision = ([t.metrics[metric] for t in best] for metric in ("top3", problem.precision))
    means = float(np.mean(top3)), float(np.mean(precision))
    return {"avg_acc": means[0], "best_acc": top3[0], "avg_prec": means[1], "best_prec": precision[0]}


def trajectories(searches: Searches, pop_size: int) -> pd.DataFrame:
    """Columns of the original's {run}.csv (`population`, step, time in s), epochs spent, method and seed.

    One row a full evaluation, so that methods without steps compare; `step` counts them.
    """
    rows = []
    for s in searches:
        seen, spent = [], 0.0
        for trial in s.history:
            spent += trial.epochs
            if not s.problem.full([trial]):
                continue
            course = {"step": len(seen), "time": trial.elapsed, "epochs": spent, "method": s.method, "seed": s.seed}
            seen.append(trial)
            rows.append(population(s.problem, seen, pop_size) | course)
    return pd.DataFrame(rows)


def members(search: Search) -> list[Trial]:
    """What the original logs: trainings that nothing continued, those of brackets that end below the last epoch too."""
    return [t for t in as_proposed(search.history) if t.final and t.status == "ok"]


def steps_table(search: Search, evolution: PublishedEvolution | None) -> pd.DataFrame:
    """The original's {run}.csv: `population`, step and time (s), a row a step of an evolution.

    Step 0 is the first population; the last step may be one that the budget cut short. Other methods have no
    population, and so no averages, and a row a full training.
    """
    trained = members(search)
    steps = range(len(trained)) if evolution is None else [_step(evolution, search.problem, t) for t in trained]
    size = len(trained) if evolution is None else evolution.pop_size
    rows = [
        population(search.problem, trained[: i + 1], size)
        | {"step": step, "time": max(t.elapsed for t in trained[: i + 1])}
        for i, step in enumerate(steps)
        if i + 1 == len(trained) or steps[i + 1] != step
    ]
    table = pd.DataFrame(rows, columns=["avg_acc", "best_acc", "avg_prec", "best_prec", "step", "time"])
    return table if evolution is not None else table.drop(columns=["avg_acc", "avg_prec"])


def _step(evolution: PublishedEvolution, problem: ConstrainedCNN, trial: Trial) -> int:
    """The step a trial belongs to; 0 is the first population."""
    if trial.id < evolution.pop_size:
        return 0
    if trial.bracket is None:
        return 1 + (trial.id - evolution.pop_size) // evolution.num_children
    return 1 + trial.bracket // len(hyperband.plan(problem.min_epochs, problem.max_epochs, evolution.eta))


def evaluations_table(searches: Searches) -> pd.DataFrame:
    """Every full evaluation of every search, with its feasibility."""
    return pd.DataFrame(
        {
            "method": s.method,
            "seed": s.seed,
            "top3": t.metrics["top3"],
            "precision": t.metrics[s.problem.precision],
            "macro_precision": t.metrics["macro_precision"],
            "params": int(t.metrics["params"]),
            "batch_size": t.configuration["batch_size"],
            "precision_met": t.metrics[s.problem.precision] >= s.problem.min_precision,
            "size_met": t.metrics["params"] <= s.problem.max_model_size,
            "feasible": s.feasible(t),
        }
        for s in searches
        for t in s.full
    )


def winners_table(searches: Searches) -> pd.DataFrame:
    """One row a search: its incumbent."""
    return pd.DataFrame(
        {
            "method": s.label,
            "seed": s.seed,
            "feasible": s.feasible(s.incumbent),
            "val_top3": s.incumbent.metrics["top3"],
            "val_precision": s.incumbent.metrics[s.problem.precision],
            "params": int(s.incumbent.metrics["params"]),
            "batch_size": s.incumbent.configuration["batch_size"],
            "full_evaluations": len(s.full),
            "epochs": s.epochs,
            "minutes": s.history.trials[-1].elapsed / 60,
        }
        for s in searches
    )


def methods_table(
    searches: Searches, reported: Mapping[str, Mapping[str, Any]], default: Sequence[Trial] = ()
) -> pd.DataFrame:
    """The main comparison: each cell is over the seeds of a method (test values first averaged within a seed).

    Args:
        reported: the original's `test_top3` and `test_precision` by the method's name in tables.
        default: trainings of the default configuration, which no search chose.
    """
    precision = searches[0].problem.precision
    tested = dict(zip(TESTED, ("top3", "top3_without_leaked", precision, "macro_precision"), strict=True))
    rows = [
        {
            "method": own[0].label,
            "n": len(own),
            "feasible_incumbents": sum(s.feasible(s.incumbent) for s in own),
            "val_top3": pm([s.incumbent.metrics["top3"] for s in own]),
            "val_precision": pm([s.incumbent.metrics[precision] for s in own]),
            **{column: pm(test_means(own, metric)) for column, metric in tested.items()},
            "params": pm([s.incumbent.metrics["params"] for s in own], 0),
            "feasible_share": pm([feasible_share(s) for s in own]),
            "from_model": model_share(own),
            "full_evaluations": pm([len(s.full) for s in own], 0),
            **costs(own),
        }
        for own in by_method(searches).values()
    ]
    if default:
        row = {
            "method": "Default",
            "n": len(default),
            "feasible_incumbents": sum(searches[0].feasible(t) for t in default),
            **{column: pm([t.metrics[metric] for t in default]) for column, metric in tested.items()},
            "params": f"{default[0].metrics['params']:.0f}",
            "epochs_final": sum(round(t.epochs) for t in default),
        }
        rows.append(row)
    for row in rows:
        original = reported.get(row["method"], {})
        row |= {f"reported_{column}": original.get(column) for column in ("test_top3", "test_precision")}
    return pd.DataFrame(rows)


def constraints_table(searches: Searches, reported: Mapping[tuple, Mapping[str, Any]]) -> pd.DataFrame:
    """One row a search, each under constraints of its own.

    Args:
        reported: the original's `max_size`, `params`, `test_precision` and `test_top3` by (precision floor, size
            limit); its columns are empty for other constraints.
    """
    rows = []
    for s in searches:
        limits = s.problem.min_precision, s.problem.max_model_size
        original = reported.get(limits, {})
        rows.append(
            {
                "min_precision": limits[0],
                "max_size": limits[1],
                "feasible": s.feasible(s.incumbent),
                "val_top3": s.incumbent.metrics["top3"],
                "params": int(s.incumbent.metrics["params"]),
                "test_precision": pm([t.metrics[s.problem.precision] for t in s.tests]),
                "test_top3": pm([t.metrics["top3"] for t in s.tests]),
                **{f"reported_{c}": original.get(c) for c in ("max_size", "params", "test_precision", "test_top3")},
            }
        )
    return pd.DataFrame(rows)


def retrained_table(trials: Mapping[str, Sequence[Trial]], reported: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Reported configurations trained again, a row each, beside the original's `test_top3` and `test_precision`.

    Args:
        trials, reported: by the configuration's name.
    """
    columns = ["configuration", "n", "params", "test_top3", "reported_test_top3", "test_precision"]
    columns += ["reported_test_precision", "test_macro_precision", "test_top3_without_leaked", "minutes"]
    return pd.DataFrame(
        [
            {
                "configuration": name,
                "n": len(runs),
                "params": int(runs[0].metrics["params"]),
                "test_top3": pm([t.metrics["top3"] for t in runs]),
                "reported_test_top3": reported[name]["test_top3"],
                "test_precision": pm([t.metrics["batchwise_precision"] for t in runs]),
                "reported_test_precision": reported[name]["test_precision"],
                "test_macro_precision": pm([t.metrics["macro_precision"] for t in runs]),
                "test_top3_without_leaked": pm([t.metrics["top3_without_leaked"] for t in runs]),
                "minutes": float(np.mean([t.seconds for t in runs]) / 60),
            }
            for name, runs in trials.items()
        ],
        columns=columns,
    )


def course_table(searches: Sequence[AnySearch], limits: Problem) -> pd.DataFrame:
    """The incumbents of the course's BOHB example, which knows no constraint, judged by those of `limits`."""
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


def ordering(searches: Searches) -> str:
    """Methods by how many of their searches found a feasible incumbent, then by the mean top-3 of those incumbents."""
    groups = by_method(searches)
    found = {m: [s.incumbent.metrics["top3"] for s in own if s.feasible(s.incumbent)] for m, own in groups.items()}
    best_first = sorted(found, key=lambda m: (len(found[m]), np.mean(found[m] or [0])), reverse=True)
    return ", ".join(
        f"{groups[m][0].label} ({len(found[m])} of {len(groups[m])}"
        + (f", {np.mean(found[m]):.3f})" if found[m] else ")")
        for m in best_first
    )
