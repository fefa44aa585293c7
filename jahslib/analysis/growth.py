"""Tables of growing networks: their space and incumbents, and how the layers of one grew."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.tables import layer_traces
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


def growth_table(searches: Searches) -> pd.DataFrame:
    """Trace widths, ranks and parameters of the first incumbent that grows: a row a layer, training and step."""
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
