"""Architecture search on the NAS-Bench-201 table: every evaluation is looked up.

The table has the errors of all 15,625 cells of the cell-based space, each trained from scratch by the benchmark's
authors (X. Dong and Y. Yang, ICLR 2020, arXiv 2001.00326): after 12 epochs on validation images, and after 200 epochs
on test images, mean over their seeds. A search sees the former and is judged by the latter. Cells that compute the same
function were trained separately, so they differ by the noise of training, and each counts as a trial.
`jahslib.problems.tabular.NasBench201Full` has each training of 200 epochs, from a package, without test errors.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jahslib.core.problem import Fidelity, Job, Objective, Outcome, Problem
from jahslib.data import archives, places
from jahslib.errors import UserError, refuse_unknown
from jahslib.extras import extra
from jahslib.problems.cells import synthetic_cells
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.space import GrammarSpace
from jahslib.spaces.grammars.terms import Term

with extra("tables"):
    import pandas as pd

FILE = "nasbench201_compact.csv.gz"

# Data set -> prefix of its columns.
DATA = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "in16"}

OPERATIONS = {
    "none": "zero",
    "skip_connect": "id",
    "nor_conv_1x1": "conv1x1",
    "nor_conv_3x3": "conv3x3",
    "avg_pool_3x3": "avg_pool",
}


@dataclass
class NasBench201(Problem):
    """Minimisation of `val_error` after 12 epochs; `test_error` is after 200 epochs; both lie in 0..1.

    Args:
        data: "cifar10", "cifar100" or "ImageNet16-120".

    An evaluation is charged the 12 epochs that it stands for. On CIFAR-10 those 12 epochs were trained on half of the
    training images, the other half being the validation images.

    Raises:
        UserError: an unknown data set; from `evaluate` and `describe`, a table that is missing.
    """

    data: str = "cifar10"

    name = "nasbench201"
    objective = Objective("val_error", best=0.0, worst=1.0)
    fidelity = Fidelity(12, 12)
    space = GrammarSpace(examples.grammar("cell-based"), name="cell-based")

    def __post_init__(self):
        refuse_unknown("nasbench201: data", [self.data], DATA)

    def evaluate(self, job: Job) -> Outcome:
        row = self.errors().loc[str(self.space.term(job.configuration))]
        return Outcome({name: float(row[name]) for name in row.index}, self.epochs(job.stages))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "data": self.data, "table": _table()[1]}

    def best_test(self) -> float:
        """Return the lowest test error of any connected cell, which no search can beat."""
        return float(self.errors().test_error.min())

    def errors(self) -> pd.DataFrame:
        """Load `val_error`, `test_error` and `params` of the 15,284 connected cells, by their LISP-like form.

        Raises:
            UserError: the table is missing or incomplete.
        """
        return _table()[0][self.data]


# Lookup problems by name: the table's data sets, and their synthetic stand-in.
TABLES: dict[str, NasBench201 | synthetic_cells.SyntheticCells] = {
    **{name: NasBench201(name) for name in DATA},
    synthetic_cells.NAME: synthetic_cells.SyntheticCells(),
}


def at_hand() -> bool:
    """Tell whether the table is in one of the searched places; its contents are not checked."""
    return places.at_hand(FILE)


def _table() -> tuple[dict[str, pd.DataFrame], str]:
    mend = "build it from NATS-Bench or NASLib's nb201_all.pickle, as data/README.md says"
    return _read(places.obtain("nasbench201", [FILE], mend)[1])


@lru_cache(maxsize=2)
def _read(path: Path) -> tuple[dict[str, pd.DataFrame], str]:
    """Read the errors by data set, and the first 16 hex digits of the sha256 of the table's decompressed text."""
    text = archives.gunzip(path, "replace it")
    try:
        table = pd.read_csv(io.BytesIO(text))
        terms = [cell(arch) for arch in table["arch_str"]]
    except (ValueError, KeyError) as error:
        raise UserError(f"nasbench201: {FILE} is damaged ({error}); replace it") from error
    if len(set(terms)) != 5**6:
        raise UserError(f"nasbench201: {FILE} has {len(set(terms)):,} cells instead of {5**6:,}; replace it")
    topology = examples.grammar("cell-based").topologies["Cell"]
    connected = [topology.admits(t.children) for t in terms]
    table = table.set_axis([str(t) for t in terms]).loc[connected]
    errors = {
        name: pd.DataFrame(
            {
                "val_error": 1 - table[f"{prefix}_val12"] / 100,
                "test_error": 1 - table[f"{prefix}_test200_mean"] / 100,
                "params": np.rint(table["params_M_cifar10"] * 1e6),
            }
        )
        for name, prefix in DATA.items()
    }
    return errors, hashlib.sha256(text).hexdigest()[:16]


def cell(arch: str) -> Term:
    """Parse NAS-Bench-201's notation `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, connected or not."""
    parts = [part.split("~")[0] for node in arch.split("+") for part in node.strip("|").split("|")]
    return Term("CELL", "Cell", tuple(Term("OPS", OPERATIONS[part]) for part in parts))
