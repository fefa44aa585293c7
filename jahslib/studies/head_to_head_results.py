"""Study 08: tables and the numbers behind its figures, all computed from trial logs.

Every task's objective is turned into an error in 0..1, the distance to its best value, so that less is better
everywhere: of the constrained CNN that of the top-3 accuracy, else of the top-1 accuracy.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau
from statsmodels.stats.multitest import multipletests

from jahslib.analysis.claims import check_finals, check_searches
from jahslib.analysis.statistics import Ranking, paired_bootstrap, ranking, signed_rank
from jahslib.analysis.tables import choosing, feasible_share, incumbent_curves, mean_epochs, pm, ranked
from jahslib.core.trials import Trial, origins
from jahslib.reporting.report import Report
from jahslib.studies.claims import record_left_out
from jahslib.studies.head_to_head import COMMON, METHODS, PROFILES, TRAINED, Key, Options, Search, budget, label

Finals = Mapping[Key, Sequence[Trial]]
REFERENCE = "rs"
KINDS = "all tasks", "trained networks", "cells of the table"


def errors(searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """One row a search: errors of its incumbent on validation and test data, and whether it met all constraints.

    Of a trained task the test error is the mean over the final trainings; of a cell it is the table's.
    """
    rows = []
    for s in searches:
        own = finals.get((s.task, s.method, s.seed))
        tested = [s.problem.objective.cost(t.metrics) for t in own] if own else [s.incumbent.metrics["test_error"]]
        rows.append(
            {
                "task": s.task,
                "method": s.method,
                "seed": s.seed,
                "feasible": s.feasible(s.incumbent),
                "val_error": s.problem.cost(s.incumbent),
                "test_error": float(np.mean(tested)),
            }
        )
    return pd.DataFrame(rows)


def scores_table(o: Options, searches: Sequence[Search], found: pd.DataFrame) -> pd.DataFrame:
    """One row a task and method, over its seeds; errors are those of the feasible incumbents.

    `feasible_share` is that of the full trainings, in percent.
    """
    rows = []
    for task, method in dict.fromkeys((s.task, s.method) for s in searches):
        own = [s for s in searches if (s.task, s.method) == (task, method)]
        values = found[(found.task == task) & (found.method == method)]
        kept = values[values.feasible]
        rows.append(
            {
                "task": label(o, task),
                "method": METHODS[method],
                "n": len(own),
                "feasible": len(kept),
                "feasible_share": pm([100 * feasible_share(s) for s in own], 1),
                "val_error": pm(list(kept.val_error)) if len(kept) else "–",
                "test_error": pm(list(kept.test_error)) if len(kept) else "–",
                "configurations": pm([len({str(t.configuration) for t in s.history}) for s in own], 0),
                "full_trainings": pm([len(s.full) for s in own], 0),
                "epochs": mean_epochs(own),
            }
        )
    return pd.DataFrame(rows)


def curves(o: Options, searches: Sequence[Search]) -> pd.DataFrame:
    """One row a full training: the incumbent's error, epochs and minutes so far; an infeasible one has the worst."""
    parts = []
    for task in o.tasks:
        own = [s for s in searches if s.task == task]
        objective = own[0].problem.objective
        table = incumbent_curves(own, objective.metric)
        error = (objective.best - table[objective.metric]).abs().where(table.feasible, objective.worst_cost)
        parts.append(table.assign(task=label(o, task), error=error))
    return pd.concat(parts)[["task", "method", "seed", "epochs", "minutes", "error"]].reset_index(drop=True)


def blocks(found: pd.DataFrame, methods: Sequence[str], column: str) -> pd.DataFrame:
    """Errors with a row for each task and seed and a column a method; infinite where nothing feasible was found."""
    costs = found[column].where(found.feasible, np.inf)
    table = found.assign(cost=costs).pivot(index=["task", "seed"], columns="method", values="cost")
    return table[[m for m in methods if m in table]].dropna()


def rankings(found: pd.DataFrame, column: str = "test_error") -> dict[str, Ranking]:
    """The common methods over all tasks, and each kind of task with those that it alone admits."""
    trained = found.task.isin(TRAINED)
    kinds = (found, COMMON), (found[trained], (*COMMON, "ea_hb")), (found[~trained], (*COMMON, "grammar"))
    tables = {title: blocks(*kind, column) for title, kind in zip(KINDS, kinds, strict=True) if len(kind[0])}
    return {title: ranking(t) for title, t in tables.items() if len(t) > 1 and len(t.columns) > 2}


def ranks_table(o: Options, found: pd.DataFrame) -> pd.DataFrame:
    """Mean ranks by validation and by test error, one row a task and one for all, a column a method."""
    rows = []
    for column, shown in (("val_error", "validation"), ("test_error", "test")):
        for task in o.tasks:
            ranks = blocks(found[found.task == task], o.methods, column).rank(axis=1).mean()
            rows.append({"error": shown, "task": label(o, task)} | ranks.to_dict())
        rows.append({"error": shown, "task": "all"} | blocks(found, COMMON, column).rank(axis=1).mean().to_dict())
    return pd.DataFrame(rows, columns=["error", "task", *o.methods]).round(2)


def against_table(o: Options, found: pd.DataFrame, reference: str = REFERENCE) -> pd.DataFrame:
    """Test error of each method less that of the reference on the same seeds, where both found a feasible incumbent.

    The interval is a paired bootstrap's; p is Wilcoxon's, and Holm's correction is over all rows.
    """
    rows = []
    for task in o.tasks:
        table = found[(found.task == task) & found.feasible].pivot(index="seed", columns="method", values="test_error")
        for method in (m for m in o.methods if m in table and m != reference):
            if reference not in table or not len(pair := table[[method, reference]].dropna()):
                continue
            values = pair[method].to_numpy(), pair[reference].to_numpy()
            difference = paired_bootstrap(*values, np.random.default_rng(0))
            rows.append(
                {
                    "task": label(o, task),
                    "pair": f"{METHODS[method]} − {METHODS[reference]}",
                    "n": difference.n,
                    "difference": round(difference.mean, 4),
                    "low": round(difference.low, 4),
                    "high": round(difference.high, 4),
                    "p": signed_rank(*values),
                }
            )
    table = pd.DataFrame(rows, columns=["task", "pair", "n", "difference", "low", "high", "p"])
    table["p_holm"] = multipletests(table.p, method="holm")[1] if len(table) else []
    return table.round({"p": 4, "p_holm": 4})


def winners_table(o: Options, found: pd.DataFrame) -> pd.DataFrame:
    """Of each task the method with the lowest mean rank by test error, and those whose ranks on the same seeds a paired
    bootstrap does not tell from its. A search without a feasible incumbent comes last."""
    rows = []
    for task in o.tasks:
        own = found[found.task == task]
        ranks = blocks(own, o.methods, "test_error").rank(axis=1)
        best = str(ranks.mean().idxmin())
        others = {m: paired_bootstrap(ranks[m], ranks[best], np.random.default_rng(0)) for m in ranks if m != best}
        feasible = own[(own.method == best) & own.feasible]
        rows.append(
            {
                "task": label(o, task),
                "best": METHODS[best],
                "mean_rank": round(float(ranks[best].mean()), 2),
                "feasible": len(feasible),
                "test_error": pm(list(feasible.test_error)) if len(feasible) else "–",
                "not_told_apart": ", ".join(METHODS[m] for m, d in others.items() if d.low <= 0) or "none",
            }
        )
    return pd.DataFrame(rows)


def rungs_table(o: Options, searches: Sequence[Search]) -> pd.DataFrame:
    """Kendall's tau between the errors of a configuration at a rung and at the next, over all promotions of a method.

    A rung orders what it was given, but only what it promoted is seen again: tau is that among its better ones.
    """
    pairs: dict[tuple, list[tuple[float, float]]] = {}
    for s in searches:
        trials = {t.id: t for t in s.history if t.status == "ok"}
        for t in trials.values():
            if t.parent in trials:
                before = trials[t.parent]
                key = (label(o, s.task), METHODS[s.method], before.fidelity, t.fidelity)
                pairs.setdefault(key, []).append((s.problem.cost(before), s.problem.cost(t)))
    rows = [(*key, len(own), float(kendalltau(*zip(*own, strict=True)).statistic)) for key, own in pairs.items()]
    return pd.DataFrame(rows, columns=["task", "method", "epochs", "next_epochs", "n", "tau"]).round({"tau": 2})


def told_apart(found: Ranking, level: float = 0.05) -> str:
    """In words, whom Nemenyi's test tells from whom, the lower mean rank first: "RE from RS; Ax from EA, RS"."""
    order = list(found.ranks.sort_values(kind="stable").index)
    behind = {m: [other for other in order[i:] if found.nemenyi.loc[m, other] < level] for i, m in enumerate(order)}
    said = [f"{METHODS[m]} from {', '.join(METHODS[other] for other in worse)}" for m, worse in behind.items() if worse]
    return "; ".join(said) or "none"


def cost_table(o: Options, searches: Sequence[Search]) -> pd.DataFrame:
    """Seconds of training and of choosing of every search, and of one proposal."""
    rows = []
    for s in searches:
        waits = choosing(s.history)
        rows.append(
            {
                "task": label(o, s.task),
                "method": s.method,
                "seed": s.seed,
                "training": sum(t.seconds for t in s.history),
                "choosing": sum(waits),
                "a_proposal": float(np.mean(waits)) if waits else 0.0,
                "from_model": origins(s.history).get("model", np.nan),
            }
        )
    return pd.DataFrame(rows)


def proposals_table(o: Options, costs: pd.DataFrame) -> pd.DataFrame:
    """Mean seconds of one proposal, a row a task, a column a method."""
    mean = costs.pivot_table(index="task", columns="method", values="a_proposal", sort=False)
    return mean.reindex(columns=list(o.methods)).round(3).rename_axis(columns=None).reset_index()


def check_claims(o: Options, searches: Sequence[Search], finals: Finals) -> None:
    """What the study says of its own run, asserted."""
    for task in o.tasks:
        own = [s for s in searches if s.task == task]
        told = {tuple(map(str, s.problem.constraints)) for s in own if s.method != "grammar"}
        assert len(told) == 1, f"{task}: methods have different constraints, {told}"
        check_searches(own, budget(o, task, own[0].problem))
    check_finals(finals, o.final_seeds)


def record_values(record: Report, o: Options, searches: Sequence[Search], found: pd.DataFrame) -> None:
    """The numbers that the paper's text quotes."""
    record_left_out(record, o, PROFILES)
    add = record.value
    add("profile_note", o.note, "What this profile changes")
    add("tasks", "; ".join(label(o, task) for task in o.tasks), "Tasks")
    add("n_tasks", len(o.tasks), "Number of tasks")
    add("n_seeds", len(o.seeds), "Seeds of every search")
    add("n_searches", len(searches), "Searches")
    trials = sum(len(s.history) for s in searches)
    add("trials_total", trials, "Trials of all searches", text=f"{trials:,}")
    add("final_seeds", o.final_seeds, "Final trainings of each incumbent")
    own_rankings = rankings(found)
    for title in KINDS:
        kind, key = own_rankings.get(title), title.replace(" ", "_")
        p, said, order, apart = "none", "not made", "none", "none"
        if kind:
            p, said = kind.friedman, f"p = {kind.friedman:.2g}" if kind.friedman >= 0.001 else "p < 0.001"
            order = ranked(kind.ranks.round(2).to_dict(), METHODS, digits=2, lowest=True)
            apart = told_apart(kind)
        add(f"{key}_friedman", p, f"Friedman's p, {title}", text=said)
        add(f"{key}_ranks", order, f"Methods by mean rank of the test error, {title}")
        add(f"{key}_apart", apart, f"Told apart by Nemenyi's test, {title}")
    for task, row in zip(o.tasks, winners_table(o, found).to_dict("records"), strict=True):
        add(f"best_{task}", row["best"], f"Lowest mean rank by test error, {row['task']}")
        add(f"alike_{task}", row["not_told_apart"], f"Not told apart from it, {row['task']}")
    ahead = against_table(o, found).query("p_holm < 0.05 and difference < 0")
    said = "; ".join(f"{row.pair.partition(' −')[0]} on {row.task}" for row in ahead.itertuples())
    add("ahead_of_random", said or "none", "Ahead of random search after Holm's correction")
    shares: dict[str, list[float]] = {}
    for s in searches:
        if s.task == "constrained_cnn":
            shares.setdefault(s.method, []).append(100 * feasible_share(s))
    said = ranked({m: float(np.mean(values)) for m, values in shares.items()}, METHODS, digits=1)
    add("feasible_shares", said or "none", "Share of the constrained CNN's full trainings within its limits, percent")
    rungs = rungs_table(o, searches).dropna().groupby("task", sort=False).tau
    said = "; ".join(f"{task}: {tau.min():.2f} to {tau.max():.2f}" for task, tau in rungs)
    add("rung_agreement", said or "none", "Kendall's tau between the errors at a rung and at the next")
