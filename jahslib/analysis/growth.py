"""Tables of growing networks: their space and incumbents, and how the layers of one grew."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.core.trials import Trial
from jahslib.problems.growing_convnet import GrowingConvNets, grows
from jahslib.search.runs import AnySearch

Searches = Sequence[AnySearch[GrowingConvNets]]


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
    """Trace each layer over training: one row a layer (conv 0, ..., fc 0, ...), training and step.

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


def growth_table(searches: Searches) -> pd.DataFrame:
    """Trace widths, ranks and parameters of the first incumbent that grows: a row a layer, training and step."""
    first = next((s for s in searches if grows(s.incumbent.configuration)), None)
    return pd.DataFrame() if first is None else layer_traces(first.tests)
