"""Problems small enough that a search takes milliseconds, but with every trait of the real ones.

Nothing here imports torch, which a worker process would load before its first trial.
"""

import math
import os
import signal
import time

from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    InCondition,
    Integer,
    OrdinalHyperparameter,
)
from threadpoolctl import threadpool_info

from jahslib.core.problem import Constraint, Fidelity, Job, Objective, Outcome, Problem


def conditional_space() -> ConfigurationSpace:
    space = ConfigurationSpace()
    layers = Integer("layers", (1, 3), default=3)
    width = Integer("width", (4, 512), log=True, default=256)
    rate = Float("rate", (1e-5, 0.1), log=True, default=0.01)
    space.add(layers, width, rate, OrdinalHyperparameter("kernel", [3, 5, 7]), Categorical("norm", [True, False]))
    space.add(InCondition(width, layers, [2, 3]))
    return space


def rich_space() -> ConfigurationSpace:
    """Log integers, a constant, an ordinal, a choice of one, conditions, and choices of mixed types."""
    space = conditional_space()
    only, mixed = Categorical("only", ["one"]), Categorical("mixed", ["auto", 1.0, 2])
    space.add(Integer("units", (1, 64), log=True), Constant("fixed", "as ever"), only, mixed)
    space.add(Categorical("sampling", [None, "1", 1.5]), OrdinalHyperparameter("grade", ["low", 2, 7.742637e-8]))
    space.add(EqualsCondition(space["units"], mixed, 1.0))
    return space


def tiny_space() -> ConfigurationSpace:
    """Four configurations."""
    space = ConfigurationSpace()
    space.add(Categorical("norm", [True, False]), OrdinalHyperparameter("kernel", [3, 5]))
    return space


class Toy(Problem):
    """Accuracy peaks at rate 1e-3 and grows with epochs; precision is the kernel's, size needs no training.

    `fail` names configurations (by a predicate's name below) whose evaluation goes wrong in that way.
    """

    name = "toy"
    objective = Objective("accuracy")

    def __init__(self, constraints=(), space=None, fail="", high=9, delay=0.0):
        self.constraints = tuple(constraints)
        self.space = space or conditional_space()
        self.fidelity = Fidelity(1, high)
        self.fail = fail
        self.delay = delay

    def known(self, configuration):
        return {"size": configuration.get("width", 1) * configuration.get("kernel", 1)}

    def evaluate(self, job: Job) -> Outcome:
        time.sleep(self.delay * (1 + job.seed % 3))
        c = job.configuration
        if self.fail and not c["norm"]:
            if self.fail == "raise":
                raise RuntimeError("out of luck\nsecond line")
            if self.fail == "nan":
                return Outcome({"accuracy": math.nan, "precision": 0.5}, 1)
            if self.fail == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        accuracy = 1 / (1 + abs(math.log10(c.get("rate", 1e-3)) + 3)) * (1 - 0.5 / job.fidelity)
        precision = c["kernel"] / 7 - 0.01 * (job.seed % 5)
        return Outcome({"accuracy": accuracy, "precision": precision}, self.epochs(job.stages))


class RichToy(Toy):
    """The same on a space with every kind of hyperparameter; with `spoils`, `evaluate` empties what it is given."""

    spoils = False

    def __init__(self, constraints=(), space=None, **options):
        super().__init__(constraints, space or rich_space(), **options)

    def evaluate(self, job):
        outcome = super().evaluate(job)
        if self.spoils:
            job.configuration.clear()
        return outcome


SIZE = Constraint("size", "<=", 600)
PRECISION = Constraint("precision", ">=", 0.5)


class Leaving(Toy):
    """Raises what it was given, in place of an evaluation."""

    def __init__(self, raised):
        super().__init__()
        self.raised = raised

    def evaluate(self, job):
        if self.raised is not None:
            raise self.raised
        return super().evaluate(job)


def decisions(history):
    """What a search decided and saw, without times and process ids."""
    return [
        (
            t.id,
            t.configuration,
            t.fidelity,
            t.parent,
            t.bracket,
            t.rung,
            t.final,
            t.status,
            t.metrics,
            t.epochs,
            t.asked,
        )
        for t in history
    ]


def blas_threads():
    """The threads of each BLAS, once NumPy and SciPy have brought theirs."""
    import numpy  # noqa: F401
    from scipy import linalg  # noqa: F401

    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]
