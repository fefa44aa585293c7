"""Synthetic errors over the cell-based space, for use without a table or training.

The error rises smoothly with what a cell lacks: convolutions in a row, a bypass around them, and parameters; a search
sees it with a noise that is fixed for each cell. Nothing about image classification can be learnt from it.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from jahslib.core.problem import Fidelity, Job, Objective, Outcome, Problem
from jahslib.extras import extra
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.space import GrammarSpace
from jahslib.spaces.grammars.terms import Term

with extra("tables"):
    import pandas as pd

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CONVOLUTIONS = {"conv3x3": 1.0, "conv1x1": 0.6}
NOISE = 0.02
NAME = "synthetic-cells"


@dataclass
class SyntheticCells(Problem):
    """Minimisation of `val_error`, a `test_error` with noise; both lie in 0..1."""

    data: str = NAME

    name = "synthetic_cells"
    objective = Objective("val_error", best=0.0, worst=1.0)
    fidelity = Fidelity(1, 1)
    space = GrammarSpace(examples.grammar("cell-based"), name="cell-based")

    def evaluate(self, job: Job) -> Outcome:
        return Outcome(_errors(self.space.term(job.configuration)), self.epochs(job.stages))

    def best_test(self) -> float:
        """Return the lowest test error of any cell."""
        return float(self.errors().test_error.min())

    def errors(self) -> pd.DataFrame:
        """Return `val_error` and `test_error` of every cell."""
        return _table()


def noiseless_error(term: Term) -> float:
    """Compute the error without noise: 0.05 for the best cell, at most 0.95."""
    heads = [child.head for child in term.children]  # type: ignore[union-attr]
    depth = [0.0, -9.0, -9.0, -9.0]  # the most convolutions on a path from the input to each node
    for (tail, head), op in zip(EDGES, heads, strict=True):
        if op != "zero":
            depth[head] = max(depth[head], depth[tail] + CONVOLUTIONS.get(op, 0.0))
    residual = 0.15 if "id" in (heads[1], heads[3], heads[4]) else 0.0
    size = sum(op == "conv3x3" for op in heads) / 6
    return 0.95 - 0.2 * min(max(depth[3], 0.0), 3.0) - residual - 0.15 * size * (2 - size)


def _errors(term: Term) -> dict[str, float]:
    error = noiseless_error(term)
    drawn = int.from_bytes(blake2b(str(term).encode(), digest_size=4).digest(), "little") / 2**32  # by the term itself
    return {"val_error": error + NOISE * (drawn - 0.5), "test_error": error}


@cache
def _table() -> pd.DataFrame:
    return pd.DataFrame.from_dict({str(t): _errors(t) for t in SyntheticCells.space.grammar.enumerate()}, "index")
