"""Tables of growing networks: their space and incumbents, and how the layers of one grew."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.tables import layer_traces, mean_of
from jahslib.analysis.text import pm
from jahslib.core.trials import Trial
from jahslib.problems.growing_convnet import LEARNING_RATE, GrowingConvNets, grows
from jahslib.search.runs import AnySearch

Searches = Sequence[AnySearch[GrowingConvNets]]


def space_table(searches: Searches, reported: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The space of one method's searches with their incumbents, one column a seed, and the one reported.

    Args:
        reported: rows with a `hyperparameter` and its value in the original's `incumbent`.
    """
    original = {row["hyperparameter"]: row["incumbent"] for row in reported}
    rows = []
    for parameter in searches[0].problem.space.values():
        name = parameter.name
        scale = ", log" if getattr(parameter, "log", False) else ""
        row = {
            "hyperparameter": name,
            "range": f"[{parameter.lower:g}, {parameter.upper:g}]{scale}",  # type: ignore[attr-defined]
            "default": f"{parameter.default_value:g}",  # type: ignore[attr-defined]
        }
        for s in searches:
            value = s.incumbent.configuration.get(name)
            row[f"seed_{s.seed}"] = "–" if value is None else f"{value:.3g}"
        value = original.get(name)
        rows.append(row | {"reported": "–" if value is None else f"{value:g}"})
    return pd.DataFrame(rows)


def folds(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """What every training noted, over folds and trials."""
    return [fold for t in trials for fold in t.outputs["folds"]]


def shape(trials: Sequence[Trial]) -> str:
    """Mean widths of the trained networks, such as 30-34-36 or 30-34-36/20 with fully connected layers."""
    noted = folds(trials)
    mean = np.rint(np.mean([f["widths"] for f in noted], axis=0)).astype(int)
    n_conv = noted[0]["n_conv"]
    conv, fc = "-".join(map(str, mean[:n_conv])), "-".join(map(str, mean[n_conv:]))
    return f"{conv}/{fc}" if fc else conv


def winners_table(searches: Searches) -> pd.DataFrame:
    """One row a search: its incumbent, and what it became on the whole training split."""
    return pd.DataFrame(
        {
            "method": s.label,
            "seed": s.seed,
            "val_top1": s.incumbent.metrics["top1"],
            "test_top1": pm([t.metrics["top1"] for t in s.tests]),
            "widths": shape(s.tests),
            "params": int(mean_of(s.tests, "params")),
            "learning_rate": s.incumbent.configuration.get("learning_rate_init", LEARNING_RATE),
            "configurations": len(s.full),
            "epochs": s.epochs,
            "minutes": s.history.trials[-1].elapsed / 60,
        }
        for s in searches
    )


def again_table(searches: Searches) -> pd.DataFrame:
    """One row a search: its incumbent's values, and those of its `tests`, trainings on the same folds."""
    return pd.DataFrame(
        {
            "method": s.label,
            "seed": s.seed,
            "val_top1": s.incumbent.metrics["top1"],
            "val_top1_again": mean_of(s.tests, "top1"),
            "params": s.incumbent.metrics["params"],
            "params_again": mean_of(s.tests, "params"),
        }
        for s in searches
    )


def evaluations_table(searches: Searches) -> pd.DataFrame:
    """Every full evaluation of every search."""
    return pd.DataFrame(
        {
            "method": s.method,
            "seed": s.seed,
            "top1": t.metrics["top1"],
            "params": t.metrics["params"],
            "learning_rate": t.configuration.get("learning_rate_init", LEARNING_RATE),
        }
        for s in searches
        for t in s.full
    )


def growth_table(searches: Searches) -> pd.DataFrame:
    """How the first incumbent that grows did so over its final trainings: width of each layer, parameters of the
    network. Empty where none grows."""
    first = next((s for s in searches if grows(s.incumbent.configuration)), None)
    if first is None:
        return pd.DataFrame()
    noted = folds(first.tests)
    table = layer_traces([f["trace"] for f in noted], noted[0]["n_conv"])
    params = pd.concat(
        pd.DataFrame({"step": f["trace"]["step"], "params": f["trace"]["params"], "training": i})
        for i, f in enumerate(noted)
    )
    return table.merge(params, on=["step", "training"])
