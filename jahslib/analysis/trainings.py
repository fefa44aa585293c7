"""Tables of trainings of networks that grow or do not: how their layers grew, and their size and accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.methods import summary
from jahslib.analysis.statistics import one_sided
from jahslib.core.trials import Trial
from jahslib.problems.growing_convnet import GrowingConvNets, grows
from jahslib.search.runs import AnySearch

Trained = Mapping[str, Sequence[Trial]]  # by the network's name
Reported = Mapping[str, Mapping[str, Any]]  # the same, of the original

# Column of a table -> the original's key, and its unit.
REPORTED = (
    ("params_mean", "params_thousands", 1000),
    ("params_sd", "params_sd", 1000),
    ("accuracy_mean", "accuracy", 1),
    ("accuracy_sd", "accuracy_sd", 1),
)


def folds(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Collect what every training recorded, over the folds of all trials."""
    return [fold for t in trials for fold in t.outputs["folds"]]


def shape(trials: Sequence[Trial]) -> str:
    """Write the mean widths of the trained networks, such as 30-34-36, or 30-34-36/20 with fully connected layers."""
    noted = folds(trials)
    mean = np.rint(np.mean([f["widths"] for f in noted], axis=0)).astype(int)
    n_conv = noted[0]["n_conv"]
    conv, fc = "-".join(map(str, mean[:n_conv])), "-".join(map(str, mean[n_conv:]))
    return f"{conv}/{fc}" if fc else conv


def layer_traces(trials: Sequence[Trial]) -> pd.DataFrame:
    """Trace each layer over training: one row per layer (conv 0, ..., fc 0, ...), training and step.

    A training's trace maps `step`, `params` and `NAME_i` (of hidden layer i) to equally long lists.
    """
    parts = []
    for training, fold in enumerate(folds(trials)):
        trace, n_conv = fold["trace"], fold["n_conv"]
        for i in range(len(fold["widths"])):
            own = {name.removesuffix(f"_{i}"): values for name, values in trace.items() if name.endswith(f"_{i}")}
            of_layer = pd.DataFrame({"step": trace["step"], **own})
            label = f"conv {i}" if i < n_conv else f"fc {i - n_conv}"
            parts.append(of_layer.assign(layer=label, training=training, params=trace.get("params")))
    return pd.concat(parts, ignore_index=True)


def growth_table(searches: Sequence[AnySearch[GrowingConvNets]]) -> pd.DataFrame:
    """Trace widths, ranks and parameters of the first incumbent that grows: one row per layer, training and step."""
    first = next((s for s in searches if grows(s.incumbent.configuration)), None)
    return pd.DataFrame() if first is None else layer_traces(first.tests)


def by_name(trained: Mapping[tuple[str, int], Sequence[Trial]]) -> dict[str, list[Trial]]:
    """Join the trials of all seeds, from those by name and seed."""
    found: dict[str, list[Trial]] = {}
    for (name, _), trials in trained.items():
        found.setdefault(name, []).extend(trials)
    return found


def networks_table(trained: Trained, reported: Reported | None = None) -> pd.DataFrame:
    """Describe networks, one row each: shape, size and accuracy over folds (or trainings), minutes of all trainings.

    `reported`: `channels`, `params_thousands`, `params_sd` (thousands), `accuracy` and `accuracy_sd` by name.
    """
    noted = [
        {"type": name, "fold": i, "params": f["params"], "accuracy": f["top1"]}
        for name, trials in trained.items()
        for i, f in enumerate(folds(trials))
    ]
    found = summary(pd.DataFrame(noted, columns=["type", "fold", "params", "accuracy"]), ["type"], "fold")
    found.insert(2, "channels", [shape(trials) for trials in trained.values()])
    found["minutes"] = [sum(t.seconds for t in trials) / 60 for trials in trained.values()]
    if reported is not None:
        originals = [reported.get(name, {}) for name in trained]
        found["reported_channels"] = [row.get("channels") for row in originals]
        for column, key, unit in REPORTED:
            found[f"reported_{column}"] = unit * pd.Series([row.get(key) for row in originals], dtype=float)
    return found


def tested_against_first(trained: Trained) -> pd.DataFrame:
    """Test each network against the first one, the baseline: `one_sided`'s p, NaN for itself and for one training."""
    values = [[f["top1"] for f in folds(trials)] for trials in trained.values()]
    p = [one_sided(v, values[0]) if i and len(v) > 1 else (None, None) for i, v in enumerate(values)]
    return pd.DataFrame(p, columns=["z_p", "t_p"], dtype=float)


def points_table(trained: Trained, reported: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """List trainings, one row each, with their `source`: ours, or the original's (values by name and column)."""
    columns = list(next(iter(reported.values())))
    ours = {
        name: {"params": [f["params"] for f in folds(trials)], "accuracy": [f["top1"] for f in folds(trials)]}
        for name, trials in trained.items()
    }
    parts = []
    for source, all_found in (("ours", ours), ("reported", reported)):
        for name in filter(trained.__contains__, all_found):
            part = pd.DataFrame({"type": name, **{column: all_found[name][column] for column in columns}})
            parts.append(part.assign(training=range(len(part)), source=source))
    return pd.concat(parts, ignore_index=True)


def traces_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """Trace each layer over training: numerical and effective rank, their relative moving average, and width."""
    table = layer_traces(trials).drop(columns="params")
    return table.assign(relative=table.effective / table.width)
