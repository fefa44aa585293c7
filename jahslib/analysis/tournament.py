"""Optimizers compared over families of tasks.

A block is a task, whose value is the mean over its searches; a family of one task has its seeds for blocks, and then
nothing is said of other tasks. Everything is computed from one table with one row per search (`searches_table`).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from jahslib.analysis.methods import Measure, configurations, from_model, seconds_a_proposal
from jahslib.analysis.pairs import FEWEST, paired, paired_table
from jahslib.analysis.statistics import LEVEL, Ranking, ranking
from jahslib.analysis.tables import course, feasible_share
from jahslib.core.trials import Trial
from jahslib.search.runs import AnySearch

Score = Callable[[AnySearch, Trial | None], float]


# What a search came to and took, beside its score.
MEASURES: dict[str, Measure] = {
    "feasible": lambda s: s.feasible(s.incumbent),
    "feasible_share": feasible_share,
    "configurations": configurations,
    "full_trainings": lambda s: len(s.full),
    "trials": lambda s: len(s.history),
    "epochs": lambda s: s.epochs,
    "training_seconds": lambda s: sum(t.seconds for t in s.history),
    "proposal_seconds": seconds_a_proposal,
    "from_model": from_model,
}


def searches_table(searches: Sequence[AnySearch], families: Mapping[str, str], score: Score) -> pd.DataFrame:
    """Describe searches, a row each: family (by task), the incumbent's `score` (less is better), and `MEASURES`."""
    rows = [
        {"family": families[s.task], "task": s.task, "method": s.method, "seed": s.seed}
        | {"score": score(s, s.incumbent)}
        | {name: of(s) for name, of in MEASURES.items()}
        for s in searches
    ]
    return pd.DataFrame(rows).astype(dict.fromkeys(MEASURES, float))


def _block(found: pd.DataFrame) -> str:
    return "task" if found.task.nunique() > 1 else "seed"


def blocks(found: pd.DataFrame) -> pd.DataFrame:
    """Arrange a family's scores: one row per block, one column per method; methods that lack a block are left out."""
    table = found.pivot_table(index=_block(found), columns="method", values="score", aggfunc="mean", sort=False)
    return table.loc[:, [m for m in dict.fromkeys(found.method) if m in table]].dropna(axis="columns")


def standings(found: pd.DataFrame) -> pd.DataFrame:
    """Tell how each method stands in each family: mean score and interval over blocks, mean rank, and costs."""
    rows = []
    for family, own in found.groupby("family", sort=False):
        table = blocks(own)
        ranks = table.rank(axis=1).mean()
        for method in table:
            mine = own[own.method == method]
            interval = paired(table[method])  # less zero
            row = {"family": family, "method": method, "blocks": f"{_block(own)}s", "n": len(table)}
            row |= {"searches": len(mine), "score_mean": interval["difference"]}
            row |= {f"score_{end}": interval[end] for end in ("low", "high")}
            rows.append(row | {"rank_mean": ranks[method], **mine[list(MEASURES)].mean()})
    return pd.DataFrame(rows)


def rankings(found: pd.DataFrame) -> dict[str, Ranking]:
    """Run Friedman's and Nemenyi's tests on each family that has three methods and two blocks."""
    tables = {str(family): blocks(own) for family, own in found.groupby("family", sort=False)}
    return {family: ranking(t) for family, t in tables.items() if len(t) > 1 and len(t.columns) > 2}


def tests_table(tests: Mapping[str, Ranking]) -> pd.DataFrame:
    """Summarise `rankings`, one row per family: Friedman's p, and the pairs that Nemenyi's test tells apart at 5 %."""
    rows = []
    for family, found in tests.items():
        p = found.nemenyi.to_numpy()[np.triu_indices(len(found.ranks), 1)]
        told_apart = int((p < 1 - LEVEL).sum())
        rows.append((family, found.blocks, len(found.ranks), found.friedman, len(p), told_apart))
    return pd.DataFrame(rows, columns=["family", "blocks", "methods", "friedman_p", "pairs", "told_apart"])


def against(found: pd.DataFrame, references: Sequence[str]) -> pd.DataFrame:
    """Compare each method with each reference, paired by block (see `paired_table`): method less reference.

    `ahead` counts the blocks in which the method's score is the lower. Holm's correction is over a reference's rows.
    """
    tables = {family: blocks(own) for family, own in found.groupby("family", sort=False)}
    tidy = pd.concat(
        table.rename_axis("block").melt(ignore_index=False, value_name="score").reset_index().assign(task=family)
        for family, table in tables.items()
    )
    less = tidy.assign(score=-tidy.score)  # more is better, so that what is above is ahead
    parts = [paired_table(less, set(less.method) - {r}, ["score"], others=[r], unit="block") for r in references]
    names = {"task": "family", "first": "method", "second": "reference", "above": "ahead"}
    pairs = pd.concat(parts, ignore_index=True).rename(columns=names | {"low": "high", "high": "low"})
    pairs[["difference", "low", "high"]] *= -1
    columns = ["family", "method", "reference", "n", "ahead", "difference", "low", "high", "p", "p_holm"]
    return pairs.loc[:, columns]


def leaders(found: pd.DataFrame) -> pd.DataFrame:
    """Say which method leads each family, and which ones are behind it: one row per family and method.

    `verdict` is `leads` where the mean score is the lowest, else whether the 95 % interval of the distance to the
    leader over blocks lies above zero (`behind`) or not (`not told apart`), without correction for their number;
    `cannot tell` with fewer than `FEWEST` blocks.
    """
    rows = []
    for family, own in found.groupby("family", sort=False):
        table = blocks(own)
        first = str(table.mean().idxmin())
        for method in table.mean().sort_values(kind="stable").index:
            d = paired(table[method] - table[first])
            verdict = "cannot tell" if d["n"] < FEWEST else "behind" if d["low"] > 0 else "not told apart"
            verdict = "leads" if method == first else verdict
            rows.append({"family": family, "method": method, "verdict": verdict, **d})
    columns = ["family", "method", "verdict", "n", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def choices(found: pd.DataFrame, curves: pd.DataFrame, labels: Mapping[str, str], share: float) -> pd.DataFrame:
    """Say which method to take, one row per family, from a table of searches and their `anytime` curves.

    A row holds what to `take`, its score and random search's, what is not told from it, and what is ahead when a
    `share` of the budget, one of those in `curves`, is spent; methods by their names in `labels`.
    """
    told = leaders(found)
    early = curves[np.isclose(curves.share, share)].groupby(["family", "method"]).score.mean()
    rows = []
    for family, own in told.groupby("family", sort=False):
        mean = blocks(found[found.family == family]).mean()
        alike = [labels[m] for m in own.method[own.verdict == "not told apart"]]
        few = (own.verdict == "cannot tell").any()
        then = early[family].reindex(mean.index) if family in early else None
        row = {"family": family, "n": own.n.iloc[0], "take": labels[mean.idxmin()], "score": mean.min()}
        row |= {"random": mean.get("rs"), "not_told_apart": "cannot tell" if few else ", ".join(alike) or "none"}
        rows.append(row | {"early": "" if then is None else labels[then.idxmin()]})
    return pd.DataFrame(rows)


def anytime(
    searches: Sequence[AnySearch], families: Mapping[str, str], score: Score, budgets: Mapping[str, float], points: int
) -> pd.DataFrame:
    """Trace the incumbent's score (None's before there is one) at equal shares of the task's budget in epochs.

    One row a family, method, block (`seed`) and share.
    """
    shares = np.arange(1, points + 1) / points
    rows = []
    for s in searches:
        reached = [(at.epochs, at.incumbent) for at in course(s)]
        ends = np.array([epochs for epochs, _ in reached])
        for share in shares:
            passed = int(np.searchsorted(ends, share * budgets[s.task] * (1 + 1e-9), side="right"))
            value = score(s, reached[passed - 1][1] if passed else None)
            rows.append((families[s.task], s.task, s.method, s.seed, share, value))
    table = pd.DataFrame(rows, columns=["family", "task", "method", "seed", "share", "score"])
    table, parts = table.astype({"share": float, "score": float}), []
    for family, own in table.groupby("family", sort=False):
        by = _block(own)
        mean = own.groupby(["method", by, "share"], sort=False).score.mean().reset_index()
        parts.append(mean.rename(columns={by: "seed"}).assign(family=family))
    found = pd.concat(parts, ignore_index=True) if parts else table  # of no search
    return found.loc[:, ["family", "method", "seed", "share", "score"]]


def rungs(searches: Sequence[AnySearch], families: Mapping[str, str]) -> pd.DataFrame:
    """Compute Kendall's tau between a configuration's costs at a fidelity and at the next, over a task's promotions.

    Tasks are averaged. Only promoted configurations count, the better ones of a rung.
    """
    pairs: dict[tuple, list[tuple[float, float]]] = {}
    for s in searches:
        trials = {t.id: t for t in s.history if t.status == "ok"}
        for t in trials.values():
            if t.parent in trials:
                before = trials[t.parent]
                key = (families[s.task], s.method, before.fidelity, t.fidelity, s.task)
                pairs.setdefault(key, []).append((s.problem.cost(before), s.problem.cost(t)))
    columns = ["family", "method", "epochs", "next_epochs", "task", "n", "tau"]
    told = [(*key, len(own), kendalltau(*zip(*own, strict=True)).statistic) for key, own in pairs.items()]
    by = columns[:4]
    table = pd.DataFrame(told, columns=columns).groupby(by, sort=False)
    return table.agg(tasks=("task", "size"), n=("n", "sum"), tau=("tau", "mean")).reset_index()


def workers_table(searches: Mapping[int, Sequence[AnySearch]], score: Score) -> pd.DataFrame:
    """Compare searches on a simulated clock by their number of workers: one row per method and number.

    A row holds the simulated hours of a search, how much sooner its budget is spent than with one worker (`speedup`),
    the share of time that workers are busy, and the score at the end.
    """
    rows = []
    for workers, own in searches.items():
        for s in own:
            ends = [t.started + t.seconds for t in s.history]
            busy = sum(t.seconds for t in s.history) / (workers * max(ends))
            rows.append((s.method, workers, s.task, max(ends) / 3600, busy, score(s, s.incumbent)))
    table = pd.DataFrame(rows, columns=["method", "workers", "task", "hours", "busy", "score"])
    by_task = table.groupby(["method", "workers", "task"], sort=False).mean().reset_index()
    alone = by_task[by_task.workers == 1].set_index(["method", "task"]).hours
    keys = pd.MultiIndex.from_frame(by_task[["method", "task"]])
    by_task["speedup"] = alone.reindex(keys).to_numpy() / by_task.hours.to_numpy()
    means = by_task.groupby(["method", "workers"], sort=False)
    named = {"tasks": ("task", "size"), **{f"{c}_mean": (c, "mean") for c in ("hours", "busy", "speedup", "score")}}
    return means.agg(**named).reset_index()
