"""Study 04: tables, curves and the numbers that the paper quotes, all computed from the logs of the fits."""

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from jahslib.analysis.statistics import band, paired_bootstrap, signed_rank
from jahslib.analysis.tables import pm
from jahslib.figures.panels import COLOURS, DASHES, WIDTH
from jahslib.problems.surrogate_regression import METRICS, MODELS
from jahslib.reporting.report import Report
from jahslib.studies.claims import record_left_out
from jahslib.studies.surrogate_regression import PROFILES, Options, Search

LABELS = {
    "kendall": "Kendall's τ",
    "spearman": "Spearman's ρ",
    "pearson": "Pearson's r",
    "nll": "negative log likelihood",
}


def fits(found: Sequence[Search]) -> pd.DataFrame:
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
        for s in found
        for t in s.history
        if t.status == "ok"
    )


def predictions(found: Sequence[Search]) -> pd.DataFrame:
    """One row an architecture predicted by the fits of one source, split and size: its number in the source, what was
    observed of it, and each model's mean and standard deviation. Fits whose logs have no predictions are left out."""
    parts = []
    for s in found:
        sizes: dict[int, pd.DataFrame] = {}
        for t in s.history:
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
        difference = paired_bootstrap(*pair, np.random.default_rng(0))
        rows.append(
            {
                "source": source,
                "n_train": n,
                "splits": difference.n,
                "difference": round(difference.mean, 4),
                "low": round(difference.low, 4),
                "high": round(difference.high, 4),
                "hwl_ahead": f"{int((pair[0] > pair[1]).sum())} of {len(pair[0])}",
                "p": signed_rank(*pair),
            }
        )
    return pd.DataFrame(rows, columns=["source", "n_train", "splits", "difference", "low", "high", "hwl_ahead", "p"])


def curves(table: pd.DataFrame, metrics: Sequence[str] = ("kendall", "nll")) -> Figure:
    """Scores against the number of architectures learnt from, mean and 95 % band over splits; a row a source."""
    rng = np.random.default_rng(0)
    sources = list(dict.fromkeys(table.source))
    size = (WIDTH, 2.3 * len(sources) + 0.4)
    figure, axes = plt.subplots(len(sources), len(metrics), figsize=size, squeeze=False)
    for row, source in zip(axes, sources, strict=True):
        for axis, metric in zip(row, metrics, strict=True):
            for colour, dashes, (model, label) in zip(COLOURS, DASHES, MODELS.items(), strict=False):
                own = table[(table.source == source) & (table.model == model)]
                if len(own):
                    _curve(axis, own, metric, rng, color=colour, linestyle=dashes, label=label)
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator(_apart(table[table.source == source].n_train)))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(ScalarFormatter())
            if metric == "nll":  # one fit that is too sure of itself is worth hundreds
                axis.set_yscale("symlog", linthresh=1)
            axis.set_xlabel("architectures learnt from")
            axis.set_ylabel(LABELS[metric])
        row[0].set_title(source, loc="left")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=len(names))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / size[1]))
    return figure


def _apart(sizes: Iterable[int]) -> list[int]:
    """Sizes whose labels do not touch on a logarithmic axis."""
    chosen: list[int] = []
    for n in sorted(set(sizes)):
        if not chosen or n >= 1.6 * chosen[-1]:
            chosen.append(n)
    return chosen


def _curve(axis, own: pd.DataFrame, metric: str, rng: np.random.Generator, **look) -> None:
    values = own.pivot(index="split", columns="n_train", values=metric)
    sizes, rows = values.columns.to_numpy(), values.to_numpy()
    axis.plot(sizes, rows.mean(axis=0), marker="o", markersize=3, linewidth=1.6, **look)
    if len(rows) > 1:
        axis.fill_between(sizes, *band(rows, rng), color=look["color"], alpha=0.15, linewidth=0)


def check_claims(o: Options, found: Sequence[Search]) -> None:
    """What the study says of its own run, asserted."""
    for s in found:
        name = f"{s.problem.source}, split {s.seed}"
        assert len({*s.problem.architectures}) == len(s.problem.architectures), f"{name}: an architecture occurs twice"
        assert all(t.status == "ok" for t in s.history), f"{name}: a fit failed"
        most = max(t.configuration["n_train"] for t in s.history)
        assert most + s.problem.n_test <= len(s.problem.values), f"{name}: learnt from what it predicts"
    table = fits(found)
    assert table.kendall.between(-1, 1).all() and np.isfinite(table.nll).all()


def record_values(record: Report, o: Options, found: Sequence[Search]) -> None:
    """The numbers that the paper's text quotes."""
    record_left_out(record, o, PROFILES)
    add = record.value
    table = fits(found)
    record.table("scores_main", main_scores(scores_table(table)), "Scores at three training-set sizes of each source")
    predicted = predictions(found)
    if len(predicted):
        record.table("predictions", predicted, "What every fit predicts of the architectures it has not learnt from")
    add("profile_note", o.note, "What this profile changes against the original")
    add("n_splits", len(o.seeds), "Splits of each source")
    add("sources", ", ".join(dict.fromkeys(table.source)), "What was learnt from")
    sizes = {s.problem.source: len(s.problem.values) for s in found}
    add("architectures", "; ".join(f"{n} of {source}" for source, n in sizes.items()), "Architectures by source")
    add("n_fits", len(table), "Fits in all", text=f"{len(table):,}")
    add("verdict", verdict(table), "hWL against WL in Kendall's tau at each number of architectures")
    first = table[table.source == table.source.iloc[0]]
    smallest = first.n_train.min()
    for model in dict.fromkeys(first.model):
        own = first[first.model == model]
        for name, n in (("smallest", smallest), ("largest", first.n_train.max())):
            value = float(own[own.n_train == n].kendall.mean())
            add(f"{model}_{name}", value, f"{MODELS[model]}: Kendall's tau with the {name} training set, first source")
    add("n_smallest", int(smallest), "Smallest training set")
    add("n_largest", int(first.n_train.max()), "Largest training set, first source")


def verdict(table: pd.DataFrame) -> str:
    """In words, for the sources with folding levels: where hWL and WL can be told apart at .05 by Wilcoxon's test."""
    parts = []
    for row in paired_table(table).itertuples():
        word = "not told apart" if row.p >= 0.05 else "hWL ahead" if row.difference > 0 else "WL ahead"
        parts.append(f"{row.n_train}: {word} ({row.difference:+.3f})")
    return "; ".join(parts) or "no source with folding levels"
