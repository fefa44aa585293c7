"""Tables of surrogates that were fitted to some architectures and predict others (`problems.surrogate_regression`)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jahslib.core.trials import as_proposed
from jahslib.problems.surrogate_regression import METRICS, Regression
from jahslib.search.runs import AnySearch

Searches = Sequence[AnySearch[Regression]]


def fits(searches: Searches) -> pd.DataFrame:
    """List fits of surrogates: one row each with source, split, model, numbers of architectures, scores and seconds."""
    return pd.DataFrame(
        {
            "source": s.problem.source,
            "split": s.seed,
            "model": t.configuration["model"],
            "n_train": t.configuration["n_train"],
            "n_test": s.problem.n_test,
            **{metric: t.metrics[metric] for metric in METRICS},
            "seconds": t.seconds,
        }
        for s in searches
        for t in as_proposed(s.history)
        if t.status == "ok"
    )


def predictions(searches: Searches) -> pd.DataFrame:
    """List what the fits of one source, split and training size predict: one row per architecture.

    A row holds its number in the source, what was observed of it, and each model's mean and standard deviation. Fits
    whose logs have no predictions are left out.
    """
    parts = []
    for s in searches:
        sizes: dict[int, pd.DataFrame] = {}
        for t in as_proposed(s.history):
            if t.status == "ok" and "mean" in t.outputs:
                n, model = t.configuration["n_train"], t.configuration["model"]
                if n not in sizes:
                    observed = np.array(s.problem.values)[s.problem.tested]
                    own = {"source": s.problem.source, "split": s.seed, "n_train": n}
                    sizes[n] = pd.DataFrame({**own, "architecture": s.problem.tested, "observed": observed})
                sizes[n][f"{model}_mean"], sizes[n][f"{model}_sd"] = t.outputs["mean"], t.outputs["deviation"]
        parts += [sizes[n] for n in sorted(sizes)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def main_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Keep the smallest, the middle and the largest training size of each source in a table of scores."""
    parts = []
    for _, own in scores.groupby("source", sort=False):
        sizes = sorted(set(own.n_train))
        parts.append(own[own.n_train.isin([sizes[0], sizes[len(sizes) // 2], sizes[-1]])])
    return pd.concat(parts, ignore_index=True)
