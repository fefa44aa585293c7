"""Tables of the search for stacks of cells that DARTS found, all computed from trial logs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.methods import by_method, test_means
from jahslib.analysis.tables import course, mean_epochs, mean_of, model_share
from jahslib.analysis.text import pm
from jahslib.core.trials import as_proposed
from jahslib.models.darts.cell import KERNELS
from jahslib.models.darts.stacking import from_text
from jahslib.problems.darts.cell_search import CellsFound
from jahslib.problems.darts.stacked_cells import StackedCells
from jahslib.search.runs import AnySearch

Searches = Sequence[AnySearch[StackedCells]]

MEASURE_NAMES = {"top1": "accuracy", "macro_f1": "macro F1"}
WITHOUT_DARTS = ("uniform",)  # methods that are not charged for it


def _minutes_before(searches: Searches, darts: Sequence[CellsFound]) -> list[float]:
    """What DARTS took before each of these searches."""
    spent = {s.seed: s.seconds / 60 for s in darts}
    return [0.0 if s.method in WITHOUT_DARTS else spent[s.seed] for s in searches]


def stacks_table(searches: Searches, darts: Sequence[CellsFound]) -> pd.DataFrame:
    """All methods, each over its seeds: the incumbent in the search and on test, and what finding it cost."""
    rows = []
    for own in by_method(searches).values():
        rows.append(
            {
                "method": own[0].label,
                "n": len(own),
                "val_acc": pm([s.incumbent.metrics["top1"] for s in own]),
                "val_f1": pm([s.incumbent.metrics["macro_f1"] for s in own]),
                "test_acc": pm(test_means(own, "top1")),
                "test_f1": pm(test_means(own, "macro_f1")),
                "params_thousands": pm([s.incumbent.metrics["params"] / 1000 for s in own], 1),
                "trials": pm([sum(t.status != "rejected" for t in s.history) for s in own], 1),
                "from_model": model_share(own),
                "epochs_search": mean_epochs(own),
                "minutes_darts": round(float(np.mean(_minutes_before(own, darts))), 2),
                "minutes_search": round(float(np.mean([s.history.trials[-1].elapsed / 60 for s in own])), 2),
                "epochs_final": sum(round(t.epochs) for s in own for t in s.tests),
            }
        )
    return pd.DataFrame(rows)


def stack_curves(searches: Searches, darts: Sequence[CellsFound]) -> pd.DataFrame:
    """One row a trial from a search's first full one on: the incumbent's measure, epochs so far, and minutes with those
    of DARTS."""
    return pd.DataFrame(
        {
            "data": s.problem.data,
            "method": s.method,
            "seed": s.seed,
            "epochs": at.epochs,
            "minutes": before + at.minutes,
            s.problem.objective.metric: at.incumbent.metrics[s.problem.objective.metric],
        }
        for s, before in zip(searches, _minutes_before(searches, darts), strict=True)
        for at in course(s)
    )


def progress(searches: Searches) -> pd.DataFrame:
    """The class project's bohb_progress: one row a trial, every configuration told apart over all seeds."""
    rows = []
    for s in searches:
        numbers: dict[str, int] = {}
        metric = s.problem.objective.metric
        for t in as_proposed(s.history):
            if t.status == "ok":
                id = numbers.setdefault(str(t.configuration), len(numbers)) + 1000 * s.seed
                rows.append(
                    {"method": s.method, "seed": s.seed, "id": id, "epochs": t.fidelity, metric: t.metrics[metric]}
                )
    return pd.DataFrame(rows)


def scores(searches: Searches, baseline: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The class project's score plots: one method's scores beside the reported ones of its baseline.

    Args:
        baseline: rows with a `run`, and `val_acc`, `val_f1`, `test_acc` and `test_f1`.
    """
    rows = []
    for s in searches:
        for metric, panel in MEASURE_NAMES.items():
            for split, score in (("val", s.incumbent.metrics[metric]), ("test", mean_of(s.tests, metric))):
                label = f"{split}, ours on {s.problem.data}"
                rows.append({"panel": panel, "type": label, "seed": s.seed, "score": score})
    for row in baseline:
        for metric, panel in MEASURE_NAMES.items():
            for split in ("val", "test"):
                score = row[f"{split}_{'acc' if metric == 'top1' else 'f1'}"]
                label = f"{split}, reported on retinamnist"
                rows.append({"panel": panel, "type": label, "seed": row["run"], "score": score})
    return pd.DataFrame(rows)


def reported_table(tidy: pd.DataFrame, label: str, data: str) -> pd.DataFrame:
    """Means of `scores`: the reported baseline's, and those of the method with this label on this data set."""
    rows = []
    for word, source, on in (
        ("reported", "class project's baseline, six hours", "retinamnist"),
        ("ours", f"ours ({label})", data),
    ):
        row: dict[str, object] = {"source": source, "data": on}
        for split in ("val", "test"):
            for panel, name in (("accuracy", "acc"), ("macro F1", "f1")):
                own = tidy[(tidy.panel == panel) & (tidy.type == f"{split}, {word} on {on}")]
                row[f"{split}_{name}"] = pm(own.score)
        row["n"] = int(tidy[tidy.type == f"val, {word} on {on}"].seed.nunique())
        rows.append(row)
    return pd.DataFrame(rows)


def optimism_table(searches: Searches) -> pd.DataFrame:
    """What choosing by few validation images makes of a score: the incumbent's in the search, of the same
    configuration trained anew, and on test; mean ± sd over seeds, `drop` being the first less the second."""
    rows = []
    for own in by_method(searches).values():
        metric = own[0].problem.objective.metric
        chosen, again = [s.incumbent.metrics[metric] for s in own], test_means(own, f"val_{metric}")
        rows.append(
            {
                "method": own[0].label,
                "split": "a trial's own" if own[0].problem.resplit else "fixed",
                "n": len(own),
                "chosen": pm(chosen),
                "again": pm(again),
                "test": pm(test_means(own, metric)),
                "drop": pm([a - b for a, b in zip(chosen, again, strict=True)]),
            }
        )
    return pd.DataFrame(rows)


def found_table(searches: Searches) -> pd.DataFrame:
    """The incumbents' stacks, one row a cell."""
    rows = []
    for s in searches:
        c = s.incumbent.configuration
        for i in range(1, c["n_cells"] + 1):
            nodes = dict(zip((f"node_{n}" for n in KERNELS), from_text(c[f"cell_{i}"]), strict=True))
            pooled = c.get(f"use_max_pooling_{i}", False)
            row = {"method": s.label, "seed": s.seed, "cell": i, "channels": c[f"out_channels_{i}"]}
            rows.append(row | {"pooled": pooled, **nodes})
    return pd.DataFrame(rows)
