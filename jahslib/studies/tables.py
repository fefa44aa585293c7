"""What the tables of several studies share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.studies.runs import AnySearch
from jahslib.trials import History


def pm(values: Sequence[float], digits: int = 3) -> str:
    """mean ± sample standard deviation; the mean alone for one value."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def incumbent_curves(searches: Sequence[AnySearch], metric: str) -> pd.DataFrame:
    """One row a full evaluation: the incumbent's `metric`, epochs and minutes spent so far, whether it is feasible."""
    rows = []
    for s in searches:
        best, spent = None, 0.0
        for trial in s.history:
            spent += trial.epochs
            if trial.status != "ok" or not trial.final:
                continue
            if best is None or s.problem.rank(trial) < s.problem.rank(best):
                best = trial
            rows.append(
                {
                    "method": s.method,
                    "seed": s.seed,
                    "epochs": spent,
                    "minutes": trial.elapsed / 60,
                    metric: best.metrics[metric],
                    "feasible": s.feasible(best),
                }
            )
    return pd.DataFrame(rows)


def choosing(history: History) -> list[float]:
    """Seconds that each trial but the first waited for its proposal, from the log's clocks.

    The first also waits for the optimizer's package to be imported. Only a search that trains one trial at a time
    keeps choosing and training apart.
    """
    waits = []
    for before, trial in zip(history.trials, history.trials[1:], strict=False):
        waits.append(max(0.0, trial.elapsed - before.elapsed - trial.seconds))
    return waits


def layer_traces(traces: Sequence[Mapping[str, Sequence[float]]], n_conv: int) -> pd.DataFrame:
    """Tidy rows (layer, training, step, and what was traced of a layer) from the traces of several trainings.

    A trace maps `step` and `NAME_i` (of hidden layer i) to equally long lists; layers are called conv 0, ..., fc 0, ...
    """
    parts = []
    for training, trace in enumerate(traces):
        n_layers = sum(name.startswith("width_") for name in trace)
        for i in range(n_layers):
            own: dict[str, Any] = {
                name.removesuffix(f"_{i}"): values for name, values in trace.items() if name.endswith(f"_{i}")
            }
            label = f"conv {i}" if i < n_conv else f"fc {i - n_conv}"
            parts.append(pd.DataFrame({"step": trace["step"], **own}).assign(layer=label, training=training))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
