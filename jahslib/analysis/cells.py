"""Tables of searches over grammars: their spaces, a table's cells, and trained networks; errors are in per cent."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd
from scipy.stats import kendalltau

from jahslib.problems.cells.nasbench201 import NasBench201
from jahslib.problems.cells.synthetic_cells import SyntheticCells
from jahslib.problems.grammar_networks import NB201
from jahslib.search.runs import AnySearch
from jahslib.spaces.grammars import examples


def spaces_table() -> pd.DataFrame:
    """Count what every example grammar describes: one row per grammar.

    `terms_log10` and `derivations_log10` are common logarithms of the numbers of distinct terms and of derivations;
    `terms` is the number itself where it is below 10^12. `depth` is the longest derivation's.
    """
    rows = []
    for name in examples.TEXTS:
        grammar = examples.grammar(name)
        terms = grammar.count()
        row = {"space": name, "terms_log10": math.log10(terms), "derivations_log10": math.log10(grammar.derivations())}
        row |= {"terms": terms if terms < 10**12 else None, "depth": grammar.max_depth}
        rows.append(row | {"nonterminals": len(grammar.productions)})
    return pd.DataFrame(rows).astype({"terms": "Int64"})


def agreement_table(tables: Iterable[NasBench201 | SyntheticCells]) -> pd.DataFrame:
    """Measure how well the validation error, which searches see, predicts the test error that judges them.

    `tau` is Kendall's between the two over all cells of a table, `tau_best` that among the hundred best by validation.
    `reachable` is the test error of the cell with the lowest validation error, `rank` its rank by test error (1 is
    best), and `best_test` the lowest test error of all.
    """
    rows = []
    for problem in tables:
        errors = problem.errors()
        found = errors.test_error[errors.val_error.idxmin()]
        row = {"task": problem.data, "cells": len(errors)}
        row |= {"tau": _tau(errors), "tau_best": _tau(errors.nsmallest(100, "val_error"))}
        row |= {"reachable": 100 * found, "rank": int((errors.test_error < found).sum()) + 1}
        rows.append(row | {"best_test": 100 * errors.test_error.min()})
    return pd.DataFrame(rows)


def _tau(errors: pd.DataFrame) -> float:
    return kendalltau(errors.val_error, errors.test_error).statistic


def incumbents_table(searches: Sequence[AnySearch[NB201]]) -> pd.DataFrame:
    """Describe the network that each search by training found: one row per search."""
    rows = []
    for s in searches:
        term = s.problem.space.term(s.incumbent.configuration)
        heads = [t.head for t in term.walk()]
        leaves = [t.head for t in term.walk() if not t.children]
        operations = sum(head not in ("zero", "id") and not head.isdigit() for head in leaves)
        row = {"task": s.task, "method": s.label, "seed": s.seed, "evaluation": s.incumbent.id + 1}
        row |= {"root": term.head, "cells": heads.count("Cell"), "operations": operations}
        row |= {"parameters": round(s.incumbent.metrics["params"])}
        rows.append(row | {error: 100 * s.incumbent.metrics[error] for error in ("val_error", "test_error")})
    return pd.DataFrame(rows)
