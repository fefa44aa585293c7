"""Tables of trainings of given networks that grow or do not: one row a network, beside what was reported of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.growth import folds, shape
from jahslib.analysis.statistics import one_sided
from jahslib.analysis.tables import layer_traces
from jahslib.analysis.text import pm
from jahslib.core.trials import Trial

Trained = Mapping[str, Sequence[Trial]]  # by the network's name
Reported = Mapping[str, Mapping[str, Any]]  # the same, of the original

OURS = ("type", "n", "channels", "params", "params_sd", "accuracy", "accuracy_sd", "minutes")
REPORTED = ("channels", "params", "params_sd", "accuracy", "accuracy_sd")


def by_name(trained: Mapping[tuple[str, int], Sequence[Trial]]) -> dict[str, list[Trial]]:
    """The trials of all seeds together, from those by name and seed."""
    found: dict[str, list[Trial]] = {}
    for (name, _), trials in trained.items():
        found.setdefault(name, []).extend(trials)
    return found


def sweep_table(trained: Trained, reported: Reported) -> pd.DataFrame:
    """Sizes and accuracies over folds, with standard deviations of the population, as in the original's table.

    Args:
        reported: `channels`, `params_thousands`, `params_sd` (thousands), `accuracy` and `accuracy_sd` by name.
    """
    rows = []
    for name, trials in trained.items():
        noted, original = folds(trials), reported.get(name, {})
        accuracy, params = [f["top1"] for f in noted], [f["params"] for f in noted]
        rows.append(
            {
                "type": name,
                "n": len(noted),
                "channels": shape(trials),
                "params": round(float(np.mean(params))),
                "params_sd": round(float(np.std(params))),
                "accuracy": float(np.mean(accuracy)),
                "accuracy_sd": float(np.std(accuracy)),
                "minutes": _minutes(trials),
                "reported_channels": original.get("channels"),
                "reported_params": _thousand(original.get("params_thousands")),
                "reported_params_sd": _thousand(original.get("params_sd")),
                "reported_accuracy": original.get("accuracy"),
                "reported_accuracy_sd": original.get("accuracy_sd"),
            }
        )
    return pd.DataFrame(rows, columns=[*OURS, *(f"reported_{name}" for name in REPORTED)])


def ablation_table(trained: Trained) -> pd.DataFrame:
    """Sizes and accuracies over folds by what was changed."""
    return pd.DataFrame(
        {
            "change": name,
            "n": len(folds(trials)),
            "channels": shape(trials),
            "params": pm([f["params"] for f in folds(trials)], 0, population=True),
            "accuracy": pm([f["top1"] for f in folds(trials)], population=True),
            "minutes": _minutes(trials),
        }
        for name, trials in trained.items()
    )


def tests_table(trained: Trained, reported: Reported) -> pd.DataFrame:
    """Accuracy on the test split, and `one_sided`'s tests against the first network, the baseline.

    Args:
        reported: `channels`, `params_thousands`, `accuracy` and `accuracy_sd` by name.
    """
    accuracies = {name: [t.metrics["top1"] for t in trials] for name, trials in trained.items()}
    baseline = next(iter(trained))
    rows = []
    for name, trials in trained.items():
        accuracy, original = accuracies[name], reported[name]
        compared = name != baseline and len(accuracy) > 1
        z_p, t_p = one_sided(accuracy, accuracies[baseline]) if compared else (None, None)
        rows.append(
            {
                "type": name,
                "n": len(accuracy),
                "channels": shape(trials),
                "params": round(float(np.mean([t.metrics["params"] for t in trials]))),
                "accuracy": pm(accuracy),
                "z_p": z_p,
                "t_p": t_p,
                "minutes": _minutes(trials),
                "reported_channels": original["channels"],
                "reported_params": _thousand(original["params_thousands"]),
                "reported_accuracy": f"{original['accuracy']:.3f} ± {original['accuracy_sd']:.3f}",
            }
        )
    return pd.DataFrame(rows)


def points_table(trained: Trained, reported: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """One row a training, with its `source`: ours, and the original's of the same networks.

    Args:
        reported: one value a training of `accuracy` and, where they are known, of `params`, by name; its columns are
            the table's.
    """
    columns = list(next(iter(reported.values())))
    ours = {
        name: {"params": [f["params"] for f in folds(trials)], "accuracy": [f["top1"] for f in folds(trials)]}
        for name, trials in trained.items()
    }
    parts = [
        pd.DataFrame({"type": name, **{column: found[column] for column in columns}, "source": source})
        for source, all_found in (("ours", ours), ("reported", reported))
        for name, found in all_found.items()
        if name in trained
    ]
    return pd.concat(parts, ignore_index=True)


def traces_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """Per layer, training and step: numerical and effective rank, their relative moving average, width."""
    table = layer_traces([f["trace"] for f in folds(trials)], folds(trials)[0]["n_conv"])
    return table.assign(relative=table.effective / table.width)


def _minutes(trials: Sequence[Trial]) -> float:
    return sum(t.seconds for t in trials) / 60


def _thousand(value: float | None) -> int | None:
    return None if value is None else round(1000 * value)
