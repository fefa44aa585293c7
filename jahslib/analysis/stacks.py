"""Tables of the search for stacks of cells that DARTS found, all computed from trial logs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jahslib.analysis.tables import mean_of
from jahslib.core.trials import as_proposed
from jahslib.models.darts.cell import KERNELS
from jahslib.models.darts.stacking import from_text
from jahslib.problems.darts.stacked_cells import StackedCells
from jahslib.search.runs import AnySearch

Searches = Sequence[AnySearch[StackedCells]]

MEASURE_NAMES = {"top1": "accuracy", "macro_f1": "macro F1"}


def progress(searches: Searches) -> pd.DataFrame:
    """List trials for the class project's bohb_progress, one row each; an `id` is one configuration of one seed."""
    rows = []
    for s in searches:
        numbers: dict[str, int] = {}
        metric = s.problem.objective.metric
        for t in as_proposed(s.history):
            if t.status == "ok":
                number = numbers.setdefault(str(t.configuration), len(numbers)) + 1000 * s.seed
                row = {"method": s.method, "seed": s.seed, "id": number}
                rows.append(row | {"epochs": t.fidelity, metric: t.metrics[metric]})
    return pd.DataFrame(rows)


def scores(searches: Searches, baseline: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """List scores for the class project's plots beside its `baseline`'s: run, val_acc, val_f1, test_acc, test_f1."""
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


def found_table(searches: Searches) -> pd.DataFrame:
    """Describe the incumbents' stacks, one row a cell."""
    rows = []
    for s in searches:
        c = s.incumbent.configuration
        for i in range(1, c["n_cells"] + 1):
            nodes = dict(zip((f"node_{n}" for n in KERNELS), from_text(c[f"cell_{i}"]), strict=True))
            pooled = c.get(f"use_max_pooling_{i}", False)
            row = {"method": s.label, "seed": s.seed, "cell": i, "channels": c[f"out_channels_{i}"]}
            rows.append(row | {"pooled": pooled, **nodes})
    return pd.DataFrame(rows)
