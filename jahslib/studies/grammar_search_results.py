"""Study 03: tables and the numbers behind its figures, all computed from trial logs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from jahslib.analysis.statistics import paired_bootstrap, signed_rank
from jahslib.analysis.tables import choosing, course, mean_epochs, pm, ranked
from jahslib.optimizers.grammar_bo import SURROGATES
from jahslib.problems.grammar_networks import NB201
from jahslib.reporting.report import Report
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.space import GrammarSpace
from jahslib.studies.claims import record_left_out
from jahslib.studies.grammar_search import METHODS, PROFILES, Options, Search, table_problem

METRICS = ("val_error", "test_error")


def panel(s: Search) -> str:
    """What a search ran on: a table's data set, or an objective and a space."""
    return f"{s.problem.name}, {s.problem.space.name}" if isinstance(s.problem, NB201) else s.problem.data  # type: ignore[union-attr]


def spaces_table() -> pd.DataFrame:
    """Every example grammar: how many distinct terms it has, how many derivations, and how deep they are."""
    rows = []
    for name in examples.TEXTS:
        grammar = examples.grammar(name)
        terms, derivations = grammar.count(), grammar.derivations()
        rows.append(
            {
                "space": name,
                "terms_log10": round(_log10(terms), 2),
                "derivations_log10": round(_log10(derivations), 4),
                "terms": f"{terms:,}" if terms < 10**12 else "",
                "depth": grammar.max_depth,
                "nonterminals": len(grammar.productions),
            }
        )
    return pd.DataFrame(rows)


def _log10(n: int) -> float:
    """Of whole numbers beyond the range of floats."""
    shift = max(0, len(str(n)) - 300)
    return float(np.log10(float(n // 10**shift)) + shift)


def curves(found: Sequence[Search]) -> pd.DataFrame:
    """One row an evaluation, from the first that succeeded: the incumbent's errors, and evaluations, epochs and minutes
    so far."""
    return pd.DataFrame(
        {
            "panel": panel(s),
            "method": s.method,
            "seed": s.seed,
            "evaluations": at.trials,
            "epochs": at.epochs,
            "minutes": at.minutes,
            **{metric: at.incumbent.metrics.get(metric) for metric in METRICS},
        }
        for s in found
        for at in course(s)
    )


def table_methods(found: Sequence[Search]) -> pd.DataFrame:
    """The comparison on tables, in per cent: incumbents' errors, how far they are from the best cell's test error, and
    the mean of the validation error of the incumbent over the course of the search."""
    rows = []
    for data, method, own in _groups(found):
        best = table_problem(data).best_test()
        test = np.array([s.incumbent.metrics["test_error"] for s in own])
        rows.append(
            {
                "data": data,
                "method": METHODS[method],
                "n": len(own),
                "val_error": pm([100 * s.incumbent.metrics["val_error"] for s in own], 2),
                "course": pm([100 * _course(s) for s in own], 2),
                "test_error": pm(100 * test, 2),
                "regret": pm(100 * (test - best), 2),
                "best_test": round(100 * best, 2),
                "evaluations": round(float(np.mean([len(s.history) for s in own]))),
                "seconds": round(float(np.mean([s.history.trials[-1].elapsed for s in own])), 1),
            }
        )
    return pd.DataFrame(rows)


def agreement_table(o: Options) -> pd.DataFrame:
    """How well what searches see tells what they are judged by: Kendall's tau between the two errors over all cells and
    among the hundred best by validation; the test error in per cent of the cell with the lowest validation error, where
    a perfect search would end, its rank by test error, and the lowest test error of all."""
    rows = []
    for data in o.tables:
        errors = table_problem(data).errors()
        found = errors.test_error[errors.val_error.idxmin()]
        rows.append(
            {
                "data": data,
                "cells": len(errors),
                "tau": round(_tau(errors), 2),
                "tau_best": round(_tau(errors.nsmallest(100, "val_error")), 2),
                "reachable": round(100 * found, 2),
                "rank": int((errors.test_error < found).sum()) + 1,
                "best_test": round(100 * errors.test_error.min(), 2),
            }
        )
    return pd.DataFrame(rows)


def _tau(errors: pd.DataFrame) -> float:
    return kendalltau(errors.val_error, errors.test_error).statistic


def paired_table(found: Sequence[Search]) -> pd.DataFrame:
    """Bayesian optimisation minus each other searcher on the same seeds, in percentage points (below 0: it is ahead),
    with a 95 % bootstrap interval, and the two-sided p of Wilcoxon's signed-rank test."""
    rows = []
    for data, method, own in _groups(found):
        if method not in SURROGATES:
            continue
        for _, other, rivals in _groups([s for s in found if panel(s) == data and s.method not in SURROGATES]):
            seeds = sorted({s.seed for s in own} & {s.seed for s in rivals})
            for metric in ("val_error", "course", "test_error"):
                pair = [[100 * _value(s, metric) for seed in seeds for s in g if s.seed == seed] for g in (own, rivals)]
                difference = paired_bootstrap(*pair, np.random.default_rng(0))
                rows.append(
                    {
                        "data": data,
                        "pair": f"{METHODS[method]} − {METHODS[other]}",
                        "metric": metric,
                        "n": difference.n,
                        "difference": round(difference.mean, 3),
                        "low": round(difference.low, 3),
                        "high": round(difference.high, 3),
                        "p": signed_rank(*pair),
                    }
                )
    columns = ["data", "pair", "metric", "n", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=columns)


def _value(s: Search, metric: str) -> float:
    return _course(s) if metric == "course" else s.incumbent.metrics[metric]


def _course(s: Search) -> float:
    """Mean over all evaluations of the validation error of the incumbent by then; failed ones count as the worst."""
    costs = [s.problem.cost(t) for t in s.history]
    return float(np.minimum.accumulate(costs).mean())


def trained_methods(found: Sequence[Search]) -> pd.DataFrame:
    """The searches by training: incumbents' errors in per cent, and what the searches cost."""
    rows = []
    for where, method, own in _groups(found):
        waits = [choosing(s.history) for s in own]
        rows.append(
            {
                "problem": where,
                "method": METHODS[method],
                "n": len(own),
                "val_error": pm([100 * s.incumbent.metrics["val_error"] for s in own], 1),
                "test_error": pm([100 * s.incumbent.metrics["test_error"] for s in own], 1),
                "course": pm([100 * _course(s) for s in own], 1),
                "failed": pm([sum(t.status == "failed" for t in s.history) for s in own], 1),
                "evaluations": round(float(np.mean([len(s.history) for s in own]))),
                "epochs_search": mean_epochs(own),
                "seconds_training": round(float(np.mean([sum(t.seconds for t in s.history) for s in own])), 1),
                "seconds_choosing": round(float(np.mean([sum(w) for w in waits])), 1),
            }
        )
    return pd.DataFrame(rows)


def incumbents_table(found: Sequence[Search]) -> pd.DataFrame:
    """The network that each search by training found."""
    rows = []
    for s in found:
        space: GrammarSpace = s.problem.space  # type: ignore[assignment]
        term = space.term(s.incumbent.configuration)
        heads = [t.head for t in term.walk()]
        rows.append(
            {
                "problem": panel(s),
                "method": METHODS[s.method],
                "seed": s.seed,
                "evaluation": s.incumbent.id + 1,
                "root": term.head,
                "cells": heads.count("Cell"),
                "operations": sum(
                    not t.children and t.head not in ("zero", "id") and not t.head.isdigit() for t in term.walk()
                ),
                "parameters": round(s.incumbent.metrics["params"]),
                "val_error": round(100 * s.incumbent.metrics["val_error"], 2),
                "test_error": round(100 * s.incumbent.metrics["test_error"], 2),
            }
        )
    return pd.DataFrame(rows)


def _groups(found: Sequence[Search]):
    """(panel, method, its searches), in order of first appearance."""
    for where, method in dict.fromkeys((panel(s), s.method) for s in found):
        yield where, method, [s for s in found if (panel(s), s.method) == (where, method)]


def check_claims(o: Options, on_tables: Sequence[Search], trained: Sequence[Search]) -> None:
    """What the study says of its own run, asserted."""
    sizes = spaces_table().set_index("space")
    assert sizes.terms["cell-based"] == "15,284"
    assert abs(sizes.derivations_log10["hierarchical"] - 446.0924) < 2e-4
    assert abs(sizes.terms_log10["hierarchical"] - 375.84) < 5e-3
    for s in (*on_tables, *trained):
        name = f"{s.method} on {panel(s)} with seed {s.seed}"
        proposed = [str(sorted(t.configuration.items())) for t in s.history]
        assert len(set(proposed)) == len(proposed), f"{name} evaluated a configuration twice"
        best = min(s.problem.cost(t) for t in s.history)
        assert s.problem.cost(s.incumbent) == best, f"{name}: its incumbent is not its best"
    for s in on_tables:
        assert len(s.history) == o.table_evaluations
        best = table_problem(panel(s)).best_test()
        assert s.incumbent.metrics["test_error"] >= best - 1e-9, f"{s.method} beat the table"


def record_values(record: Report, o: Options, on_tables: Sequence[Search], trained: Sequence[Search]) -> None:
    """The numbers that the paper's text quotes, and each trained search's winner as a file."""
    record_left_out(record, o, PROFILES)
    add = record.value
    add("profile_note", o.note, "What this profile changes against the original")
    add("tables", ", ".join(o.tables), "Data sets of the table comparison")
    add("table_evaluations", o.table_evaluations, "Evaluations of each search on a table")
    add("n_table_seeds", len(o.table_seeds), "Seeds on a table")
    add("objectives", ", ".join(o.objective), "Objectives of the searches by training")
    add("search_spaces", ", ".join(o.search_space), "Spaces of the searches by training")
    add("max_evaluations", o.max_evaluations_total, "Evaluations of each search by training")
    add("n_seeds", len(o.seeds), "Seeds of the searches by training")
    add("n_init", o.n_init, "Random evaluations before the model")
    add("pool_size", o.pool_size, "Pool of the acquisition's evolution")
    add("trials_total", sum(len(s.history) for s in (*on_tables, *trained)), "Trials of all searches")
    sizes = spaces_table().set_index("space")
    hierarchical = float(sizes.terms_log10["hierarchical"])
    add("hierarchical_size", hierarchical, "log10 of distinct terms", text=f"{hierarchical:.2f}")
    add("cell_based_size", sizes.terms["cell-based"], "Connected cells")
    add("ordering_tables", ordering(on_tables), "Searchers by the mean test error of their incumbents, by table")
    add("paired_tables", verdicts(on_tables), "Bayesian optimisation against the others on tables")
    _add_share(record, "paired_tables_share", on_tables)
    if trained:
        add("ordering_trained", ordering(trained), "Searchers by the mean test error of trained incumbents")
        add("paired_trained", verdicts(trained), "Bayesian optimisation against the others, networks trained")
        _add_share(record, "paired_trained_share", trained)
    for s in trained:
        name = f"opt_cfg_{s.method}_{panel(s).replace(', ', '_').replace('-', '_')}_seed{s.seed}"
        record.configuration(name, s.incumbent.configuration, f"{METHODS[s.method]}, {panel(s)}, seed {s.seed}")


def ordering(found: Sequence[Search]) -> str:
    """Per panel, the methods by mean test error of their incumbents in per cent, the best first."""
    parts = []
    for where in dict.fromkeys(panel(s) for s in found):
        means = {
            m: float(np.mean([100 * s.incumbent.metrics["test_error"] for s in own]))
            for w, m, own in _groups(found)
            if w == where
        }
        parts.append(f"{where}: {ranked(means, METHODS, digits=2, lowest=True)}")
    return "; ".join(parts)


def _add_share(record: Report, name: str, found: Sequence[Search]) -> None:
    ahead = (_judged(found).verdict == "ahead").tolist()
    about = "Share of these comparisons in which Bayesian optimisation is ahead"
    record.value(name, sum(ahead) / max(1, len(ahead)), about, text=f"{sum(ahead)} of {len(ahead)}")


ERRORS = {"val_error": "validation error", "test_error": "test error"}


def _judged(found: Sequence[Search]) -> pd.DataFrame:
    """`paired_table`'s rows on the errors at the end, each with its verdict."""
    table = paired_table(found)
    table = table[table.metric.isin(list(ERRORS))]
    words = np.where(table.p >= 0.05, "not told apart", np.where(table.difference < 0, "ahead", "behind"))
    return table.assign(verdict=words)


def verdicts(found: Sequence[Search]) -> str:
    """In words, for each pair: where it is ahead, behind and not told apart at .05 by Wilcoxon's test, in each panel's
    validation and test error. Of the verdict with most comparisons only their number and largest p are given."""
    parts = []
    for pair, rows in _judged(found).groupby("pair", sort=False):
        said = []
        for word, own in sorted(rows.groupby("verdict"), key=lambda group: -len(group[1])):
            if not said and len(own) > 1:
                edge = f"p ≤ {own.p.max():.2g}" if word != "not told apart" else f"p ≥ {own.p.min():.2g}"
                said.append(f"{word} in {len(own)} of {len(rows)} comparisons ({edge})")
            else:
                said += [f"{word} in {r.data}, {ERRORS[str(r.metric)]} (p = {r.p:.2g})" for r in own.itertuples()]
        parts.append(f"{pair.replace('−', 'against')}: " + ", ".join(said))
    return "; ".join(parts)
