"""Tables of surrogates that were fitted to some architectures and predict others (`problems.surrogate_regression`)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jahslib.analysis.pairs import difference
from jahslib.analysis.text import pm
from jahslib.core.trials import as_proposed
from jahslib.problems.surrogate_regression import METRICS, MODELS, Regression
from jahslib.search.runs import AnySearch

Searches = Sequence[AnySearch[Regression]]


def fits(searches: Searches) -> pd.DataFrame:
    """One row a fit: source, split, model, how many architectures it learnt from and had to predict, its scores."""
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
    """One row an architecture predicted by the fits of one source, split and size: its number in the source, what was
    observed of it, and each model's mean and standard deviation. Fits whose logs have no predictions are left out."""
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


def scores_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation over the splits, by source, size and model."""
    rows = []
    for (source, n, model), own in table.groupby(["source", "n_train", "model"], sort=False):  # type: ignore[misc]
        rows.append(
            {
                "source": source,
                "n_train": n,
                "model": MODELS[model],
                "splits": len(own),
                **{metric: pm(own[metric].to_list(), 2 if metric == "nll" else 3) for metric in METRICS},
                "seconds": round(float(own.seconds.mean()), 2),
            }
        )
    return pd.DataFrame(rows)


def main_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Of `scores_table` the smallest, the middle and the largest size of each source."""
    parts = []
    for _, own in scores.groupby("source", sort=False):
        sizes = sorted(set(own.n_train))
        parts.append(own[own.n_train.isin([sizes[0], sizes[len(sizes) // 2], sizes[-1]])])
    return pd.concat(parts, ignore_index=True)


def paired_table(table: pd.DataFrame) -> pd.DataFrame:
    """hWL minus WL in Kendall's tau on the same splits (above 0: hWL is better), with a 95 % bootstrap interval and the
    p of Wilcoxon's test. Splits share architectures, so that both are narrower than new data would allow."""
    rows = []
    for (source, n), own in table.groupby(["source", "n_train"], sort=False):  # type: ignore[misc]
        pair = [own[own.model == m].sort_values("split").kendall.to_numpy() for m in ("gp_hierarchical", "gp")]
        if not len(pair[0]) or len(pair[0]) != len(pair[1]):
            continue
        found = difference(pair[0], pair[1], digits=4)
        ahead = f"{int((pair[0] > pair[1]).sum())} of {len(pair[0])}"
        rows.append({"source": source, "n_train": n, "splits": found.pop("n"), "hwl_ahead": ahead, **found})
    return pd.DataFrame(rows, columns=["source", "n_train", "splits", "difference", "low", "high", "hwl_ahead", "p"])


def verdict(table: pd.DataFrame) -> str:
    """In words, for the sources with folding levels: where hWL and WL can be told apart at .05 by Wilcoxon's test."""
    parts = []
    for row in paired_table(table).itertuples():
        word = "not told apart" if row.p >= 0.05 else "hWL ahead" if row.difference > 0 else "WL ahead"
        parts.append(f"{row.n_train}: {word} ({row.difference:+.3f})")
    return "; ".join(parts) or "no source with folding levels"
