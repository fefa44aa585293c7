"""Problems whose evaluations are looked up in tables of recorded trainings.

The tables are `jahslib.problems.recorded_tables`:

    NasBench201Full   cells of NAS-Bench-201 after 200 epochs (Dong and Yang, ICLR 2020, arXiv 2001.00326; MIT License)
    HPOBenchMLP       multilayer perceptrons on 8 classification tasks after 243 epochs (HPOBench: Eggensperger et al.,
                      NeurIPS Datasets and Benchmarks 2021, arXiv 2109.06716; Apache License 2.0)
    HPOLib            feed-forward networks on 4 regression tasks after 100 epochs (Klein and Hutter, arXiv 1905.04970;
                      BSD 3-Clause License)

A trial is one of the table's trainings of its configuration, drawn by the trial's seed; `mean_` and the objective's
name is the mean over all of them, by which a search is judged and which it must not see. The tables were made at the
highest fidelity alone, so there is no lower one, and a trial is charged all its epochs.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, OrdinalHyperparameter

from jahslib.core.problem import Constraint, Fidelity, Job, Objective, Outcome, Problem, checked_constraints
from jahslib.core.trials import Configuration
from jahslib.errors import refuse_unknown
from jahslib.problems import recorded_tables
from jahslib.problems.cells.nasbench201 import OPERATIONS
from jahslib.problems.recorded_tables import Table
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.space import GrammarSpace


@dataclass
class Tabular(Problem):
    """Base of problems over a table `data`, one of the class's `DATA`.

    `constraints` are on any of the class's `METRICS`; `train_time` is in seconds.

    Raises:
        UserError: an unknown table or constrained metric; from `evaluate`, `recorded` and `means`, a missing package.
    """

    data: str = ""
    constraints: tuple[Constraint, ...] = ()

    FOLDER: ClassVar[str]
    DATA: ClassVar[tuple[str, ...]]
    METRICS: ClassVar[tuple[str, ...]]

    def __post_init__(self):
        self.data = self.data or self.DATA[0]
        refuse_unknown(f"{self.name}: data", [self.data], self.DATA)
        self.constraints = checked_constraints(self.constraints, self.METRICS, self.name)

    @abstractmethod
    def key(self, configuration: Configuration) -> str:
        """Compute the table's key of a configuration: the rank of each choice."""

    def table(self) -> Table:
        """Read the recorded trainings, by key."""
        return recorded_tables.table(f"{self.FOLDER}/{self.data}")

    def recorded(self, metric: str) -> np.ndarray:
        """Return a metric of every training: shape (configurations, trainings), padded with NaN."""
        return self.table().values[metric]

    def means(self) -> np.ndarray:
        """Average the objective over each configuration's trainings; judges a search."""
        return np.nanmean(self.recorded(self.objective.metric), axis=1)

    def evaluate(self, job: Job) -> Outcome:
        table = self.table()
        row = table.rows[self.key(job.configuration)]
        training = job.seed % int(table.counts[row])
        metrics = {name: float(self.recorded(name)[row, training]) for name in self.METRICS}
        mean = float(np.nanmean(self.recorded(self.objective.metric)[row]))
        return Outcome(metrics | {f"mean_{self.objective.metric}": mean}, self.epochs(job.stages))

    def describe(self) -> dict[str, Any]:
        digest = recorded_tables.DIGESTS[f"{self.FOLDER}/{self.data}"]
        return {**super().describe(), "data": self.data, "table": digest[:16]}


@dataclass
class NasBench201Full(Tabular):
    """Minimisation of the validation error (0..1) after 200 epochs; see `Tabular`.

    `jahslib.problems.cells.nasbench201` has the same cells after 12 epochs, with the test errors, from another table.
    Here each cell has 2 or 3 trainings, there are no test errors, and `val_error` on CIFAR-10 comes from training on
    half of the training images. `latency` is seconds per batch, `model_size` millions of parameters: the larger one
    where the trainings of a cell disagree, as in 204 cells, which is that of the cell as it is written.
    """

    name = "nasbench201_full"
    objective = Objective("val_error", best=0.0, worst=1.0)
    fidelity = Fidelity(200, 200)
    space = GrammarSpace(examples.grammar("cell-based"), name="cell-based")

    FOLDER = "nasbench201"
    DATA = ("cifar10", "cifar100", "imagenet")
    METRICS = ("val_error", "train_time", "latency", "model_size")

    def key(self, configuration: Configuration) -> str:
        operations = list(OPERATIONS.values())
        return "".join(str(operations.index(child.head)) for child in self.space.term(configuration).children)

    def recorded(self, metric: str) -> np.ndarray:
        if metric == "val_error":
            return 1 - super().recorded("val_acc") / 100
        values = super().recorded(metric)
        if metric == "model_size":
            return np.where(np.isnan(values), np.nan, np.nanmax(values, axis=1, keepdims=True))
        return values


@dataclass
class _Grid(Tabular):
    """Base of tables over a grid of hyperparameters: ordered values are ordinals, texts are choices."""

    GRID: ClassVar[dict[str, tuple]]

    @cached_property
    def space(self) -> ConfigurationSpace:
        made = ConfigurationSpace(name=self.name)
        for name, values in self.GRID.items():
            kind = Categorical if isinstance(values[0], str) else OrdinalHyperparameter
            made.add(kind(name, list(values)))
        return made

    def key(self, configuration: Configuration) -> str:
        return "".join(str(values.index(configuration[name])) for name, values in self.GRID.items())


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split()))


@dataclass
class HPOBenchMLP(_Grid):
    """Maximisation of validation accuracy (0..1) over 5 hyperparameters, 30,000 configurations; see `Tabular`."""

    name = "hpobench_mlp"
    objective = Objective("val_acc", best=1.0, worst=0.0)
    fidelity = Fidelity(243, 243)

    FOLDER = "hpobench"
    DATA = ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle")
    METRICS = ("val_acc", "val_precision", "val_f1", "train_time")
    GRID: ClassVar = {
        "alpha": _numbers(
            "1e-8 7.742637e-8 5.994842e-7 4.641589e-6 3.5938137e-5 2.7825593e-4 2.1544348e-3 1.6681006e-2 .12915497 1"
        ),
        "batch_size": (4, 6, 10, 16, 25, 40, 64, 101, 161, 256),
        "depth": (1, 2, 3),
        "learning_rate_init": _numbers(
            "1e-5 3.5938137e-5 1.2915497e-4 4.641589e-4 1.6681006e-3 5.9948424e-3 .021544347 .07742637 .27825594 1"
        ),
        "width": (16, 25, 40, 64, 101, 161, 256, 406, 645, 1024),
    }


@dataclass
class HPOLib(_Grid):
    """Minimisation of the validation mean squared error over 9 hyperparameters; see `Tabular`.

    The table has 62,208 configurations. Targets have a variance of 1, so that a constant prediction has an error of 1.
    Trainings that diverge have up to 10^8; a search counts them as 1, while `mean_val_loss` averages them as they are.
    `model_size` is the number of parameters.
    """

    name = "hpolib"
    objective = Objective("val_loss", best=0.0, worst=1.0)
    fidelity = Fidelity(100, 100)

    FOLDER = "hpolib"
    DATA = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")
    METRICS = ("val_loss", "train_time", "model_size")
    GRID: ClassVar = {
        "activation_fn_1": ("relu", "tanh"),
        "activation_fn_2": ("relu", "tanh"),
        "batch_size": (8, 16, 32, 64),
        "dropout_1": (0.0, 0.3, 0.6),
        "dropout_2": (0.0, 0.3, 0.6),
        "init_lr": (5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1),
        "lr_schedule": ("cosine", "const"),
        "n_units_1": (16, 32, 64, 128, 256, 512),
        "n_units_2": (16, 32, 64, 128, 256, 512),
    }
