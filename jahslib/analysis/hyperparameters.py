"""Tables of searches for training hyperparameters, one row or group a data set."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jahslib.analysis.methods import test_means
from jahslib.analysis.statistics import paired_bootstrap
from jahslib.analysis.tables import choosing, course, mean_epochs, model_share
from jahslib.analysis.text import pm
from jahslib.core.trials import Trial, as_proposed
from jahslib.problems.tuned_network import DEFAULT, JOINT, TunedNetwork
from jahslib.search.runs import AnySearch

Search = AnySearch[TunedNetwork]


def best(searches: Sequence[Search]) -> Search:
    """The search with the best incumbent."""
    return min(searches, key=lambda s: s.problem.rank(s.incumbent))


def space_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Range, the original's default and the best incumbent's value of each hyperparameter, by data set."""
    rows = []
    for data in dict.fromkeys(s.problem.data for s in searches):
        found = best([s for s in searches if s.problem.data == data])
        for name in DEFAULT:
            parameter = found.problem.space[name]
            lower, upper = shown(parameter.lower), shown(parameter.upper)  # type: ignore[attr-defined]
            rows.append(
                {
                    "data": data,
                    "hyperparameter": name,
                    "range": f"[{lower}, {upper}]{', log' if parameter.log else ''}",  # type: ignore[attr-defined]
                    "original_default": shown(DEFAULT[name]),
                    "found": shown(found.incumbent.configuration[name]),
                }
            )
    return pd.DataFrame(rows)


def shown(value: float) -> str:
    """Three significant digits, small values as 5.07·10⁻⁵."""
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}·10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def methods_table(searches: Sequence[Search]) -> pd.DataFrame:
    """The comparison: each cell is over the seeds of a method (test values first averaged within a seed)."""
    rows = []
    for data, method in dict.fromkeys((s.problem.data, s.method) for s in searches):
        own = [s for s in searches if (s.problem.data, s.method) == (data, method)]
        waits = [choosing(s.history) for s in own]
        training = [sum(t.seconds for t in s.history) for s in own]
        rows.append(
            {
                "data": data,
                "method": own[0].label,
                "n": len(own),
                "val_top1": pm([s.incumbent.metrics["top1"] for s in own]),
                "test_top1": pm(test_means(own, "top1")),
                "configurations": pm([len({str(t.configuration) for t in s.history}) for s in own], 0),
                "from_model": model_share(own),
                "diverged": pm([sum(diverged(t, s.problem.classes) for t in s.history) for s in own], 1),
                "epochs_search": mean_epochs(own),
                "seconds_training": round(float(np.mean(training)), 1),
                "seconds_choosing": round(float(np.mean([sum(w) for w in waits])), 2),
                "seconds_a_proposal": round(float(np.mean([np.mean(w) if w else 0.0 for w in waits])), 3),
                "epochs_final": sum(round(t.epochs) for s in own for t in s.tests),
            }
        )
    return pd.DataFrame(rows)


def diverged(trial: Trial, classes: int) -> bool:
    """Whether training failed, or ended with a loss clearly above that of guessing, ln(classes)."""
    losses = trial.curve.get("train_loss")
    return trial.status == "failed" or bool(losses and losses[-1] > 1.05 * np.log(classes))


def against_table(searches: Sequence[Search], first: str) -> pd.DataFrame:
    """The method `first` against each other: difference of test accuracies on the same seeds, with a 95 % interval."""
    rows = []
    of = {(s.problem.data, s.method, s.seed): s for s in searches}
    for data, other in dict.fromkeys((s.problem.data, s.method) for s in searches if s.method != first):
        seeds = [seed for d, m, seed in of if (d, m) == (data, other) and (data, first, seed) in of]
        if not seeds:
            continue
        pair = [[of[data, method, seed] for seed in seeds] for method in (first, other)]
        found = paired_bootstrap(*(test_means(own, "top1") for own in pair), np.random.default_rng(0))
        rows.append(
            {
                "data": data,
                "pair": " − ".join(own[0].label for own in pair),
                "n": found.n,
                "difference": round(found.mean, 4),
                "low": round(found.low, 4),
                "high": round(found.high, 4),
                f"{first}_ahead": round(1 - found.not_above, 3),
            }
        )
    return pd.DataFrame(rows, columns=["data", "pair", "n", "difference", "low", "high", f"{first}_ahead"])


def _identity(s: Search) -> dict[str, str | int]:
    return {"data": s.problem.data, "method": s.method, "seed": s.seed}


def curves(searches: Sequence[Search]) -> pd.DataFrame:
    """One row a trial from the first that finished: the incumbent's top1, and trials, epochs and minutes so far."""
    return pd.DataFrame(
        {
            **_identity(s),
            "trials": at.trials,
            "epochs": at.epochs,
            "minutes": at.minutes,
            "top1": at.incumbent.metrics["top1"],
        }
        for s in searches
        for at in course(s)
    )


def cost_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Seconds of training and choosing of every search."""
    return pd.DataFrame(
        {**_identity(s), "training": sum(t.seconds for t in s.history), "choosing": sum(choosing(s.history))}
        for s in searches
    )


def trials_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Every evaluation at the full number of epochs; a failed one has no top1."""
    return pd.DataFrame(
        {
            **_identity(s),
            "trial": t.id,
            **{name: t.configuration.get(name) for name in (*DEFAULT, *JOINT)},
            "top1": t.metrics.get("top1") if t.status == "ok" else None,
        }
        for s in searches
        for t in as_proposed(s.history)
        if t.final
    )


def stopping_table(searches: Sequence[Search]) -> pd.DataFrame:
    """What early stopping saved in each search: configurations, those stopped, epochs spent and without stopping."""
    rows = []
    for s in searches:
        continued = {t.parent for t in s.history}
        ends = [t for t in s.history if t.id not in continued]
        rows.append(
            {
                "data": s.problem.data,
                "seed": s.seed,
                "configurations": len(ends),
                "stopped": sum(t.status == "ok" and not t.final for t in ends),
                "epochs": s.epochs,
                "epochs_unstopped": len(ends) * s.problem.max_epochs,
                "val_top1": s.incumbent.metrics["top1"],
            }
        )
    return pd.DataFrame(rows)
