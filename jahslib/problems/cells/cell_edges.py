"""NAS-Bench-201's cells as six categorical choices.

For optimizers that need a ConfigurationSpace. The grammar's space holds the cells whose output is connected to their
input; here that is a constraint known before training, so that both views have the same 15,284 cells, equally likely
in random draws.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ConfigSpace import Categorical, ConfigurationSpace

from jahslib.core.problem import Constraint, Job, Outcome, Problem
from jahslib.core.trials import Configuration
from jahslib.problems.cells.nasbench201 import OPERATIONS, NasBench201
from jahslib.problems.cells.synthetic_cells import EDGES, SyntheticCells
from jahslib.problems.tabular import NasBench201Full
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.space import ARCHITECTURE
from jahslib.spaces.grammars.terms import Term

_NAMES = [f"edge_{tail}_{head}" for tail, head in EDGES]


@dataclass
class CellEdges(Problem):
    """A problem over cells seen as six choices, with the evaluations and constraints of `cells`.

    The metric `connected`, which must be 1, is that where a cell's output depends on its input.
    """

    cells: NasBench201 | NasBench201Full | SyntheticCells

    name = "cell_edges"

    def __post_init__(self):
        self.data, self.objective, self.fidelity = self.cells.data, self.cells.objective, self.cells.fidelity
        self.constraints = Constraint("connected", ">=", 1.0), *self.cells.constraints

    @cached_property
    def space(self) -> ConfigurationSpace:
        made = ConfigurationSpace(name="cell_edges")
        made.add(*(Categorical(name, list(OPERATIONS.values())) for name in _NAMES))
        return made

    def term(self, configuration: Configuration) -> Term:
        """Build the cell as a term of the grammar, connected or not."""
        return Term("CELL", "Cell", tuple(Term("OPS", configuration[name]) for name in _NAMES))

    def known(self, configuration: Configuration) -> dict[str, float]:
        topology = examples.grammar("cell-based").topologies["Cell"]
        return {"connected": float(topology.admits(self.term(configuration).children))}

    def evaluate(self, job: Job) -> Outcome:
        return self.cells.evaluate(replace(job, configuration={ARCHITECTURE: str(self.term(job.configuration))}))

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"cells": self.cells.describe()}
