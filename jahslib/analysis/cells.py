"""Tables of searches over grammars: their spaces, the cells of a table, and networks that were trained.

Errors are in per cent.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from jahslib.analysis.curves import mean_course
from jahslib.analysis.methods import by_task
from jahslib.analysis.tables import choosing, mean_epochs, ranked
from jahslib.analysis.text import pm
from jahslib.problems.cells.nasbench201 import NasBench201
from jahslib.problems.cells.synthetic_cells import SyntheticCells
from jahslib.problems.grammar_networks import NB201
from jahslib.search.runs import AnySearch
from jahslib.spaces.grammars import examples


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


def agreement_table(tables: Iterable[NasBench201 | SyntheticCells]) -> pd.DataFrame:
    """How well what searches see tells what they are judged by: Kendall's tau between the two errors over all cells and
    among the hundred best by validation; the test error of the cell with the lowest validation error, where a perfect
    search would end, its rank by test error, and the lowest test error of all."""
    rows = []
    for problem in tables:
        errors = problem.errors()
        found = errors.test_error[errors.val_error.idxmin()]
        rows.append(
            {
                "data": problem.data,
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


def _found(searches: Sequence[AnySearch], metric: str) -> np.ndarray:
    """A metric of the incumbents."""
    return np.array([s.incumbent.metrics[metric] for s in searches])


def looked_up(searches: Sequence[AnySearch[NasBench201]]) -> pd.DataFrame:
    """Methods on tables: incumbents' errors, how far they are from the best cell's test error, and the mean of the
    validation error of the incumbent over the course of the search."""
    rows = []
    for own in _groups(searches):
        best, test = own[0].problem.best_test(), _found(own, "test_error")
        rows.append(
            {
                "data": own[0].task,
                "method": own[0].label,
                "n": len(own),
                "val_error": pm(100 * _found(own, "val_error"), 2),
                "course": pm([100 * mean_course(s) for s in own], 2),
                "test_error": pm(100 * test, 2),
                "regret": pm(100 * (test - best), 2),
                "best_test": round(100 * best, 2),
                "evaluations": round(float(np.mean([len(s.history) for s in own]))),
                "seconds": round(float(np.mean([s.history.trials[-1].elapsed for s in own])), 1),
            }
        )
    return pd.DataFrame(rows)


def trained(searches: Sequence[AnySearch]) -> pd.DataFrame:
    """Methods by training networks: incumbents' errors, and what the searches cost."""
    rows = []
    for own in _groups(searches):
        waits = [choosing(s.history) for s in own]
        rows.append(
            {
                "problem": own[0].task,
                "method": own[0].label,
                "n": len(own),
                "val_error": pm(100 * _found(own, "val_error"), 1),
                "test_error": pm(100 * _found(own, "test_error"), 1),
                "course": pm([100 * mean_course(s) for s in own], 1),
                "failed": pm([sum(t.status == "failed" for t in s.history) for s in own], 1),
                "evaluations": round(float(np.mean([len(s.history) for s in own]))),
                "epochs_search": mean_epochs(own),
                "seconds_training": round(float(np.mean([sum(t.seconds for t in s.history) for s in own])), 1),
                "seconds_choosing": round(float(np.mean([sum(w) for w in waits])), 1),
            }
        )
    return pd.DataFrame(rows)


def _groups(searches: Sequence[AnySearch]) -> list[list[AnySearch]]:
    return [own for methods in by_task(searches).values() for own in methods.values()]


def incumbents_table(searches: Sequence[AnySearch[NB201]]) -> pd.DataFrame:
    """The network that each search by training found."""
    rows = []
    for s in searches:
        term = s.problem.space.term(s.incumbent.configuration)
        heads = [t.head for t in term.walk()]
        leaves = [t.head for t in term.walk() if not t.children]
        rows.append(
            {
                "problem": s.task,
                "method": s.label,
                "seed": s.seed,
                "evaluation": s.incumbent.id + 1,
                "root": term.head,
                "cells": heads.count("Cell"),
                "operations": sum(head not in ("zero", "id") and not head.isdigit() for head in leaves),
                "parameters": round(s.incumbent.metrics["params"]),
                "val_error": round(100 * s.incumbent.metrics["val_error"], 2),
                "test_error": round(100 * s.incumbent.metrics["test_error"], 2),
            }
        )
    return pd.DataFrame(rows)


def ordering(searches: Sequence[AnySearch]) -> str:
    """By task, the methods by mean test error of their incumbents, the best first."""
    parts = []
    for task, methods in by_task(searches).items():
        means = {m: float(np.mean(100 * _found(own, "test_error"))) for m, own in methods.items()}
        labels = {m: own[0].label for m, own in methods.items()}
        parts.append(f"{task}: {ranked(means, labels, digits=2, lowest=True)}")
    return "; ".join(parts)
