"""Any function of a configuration as a problem: the shortest way to search a custom space."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ConfigSpace import ConfigurationSpace

from jahslib.core.problem import Fidelity, Job, Objective, Outcome, Problem, Space
from jahslib.core.trials import Configuration


@dataclass
class Function(Problem):
    """Minimisation of `function(configuration)`.

    Args:
        name: tells the trial logs of different functions apart, as the function itself cannot be compared.
        best: a lower bound of the function.
        worst: the value charged to a failed evaluation.

    To evaluate in other processes, the function must be importable there (no lambda).
    """

    name: str
    space: ConfigurationSpace | Space
    function: Callable[[Configuration], float]
    worst: float
    best: float = 0.0

    fidelity = Fidelity(1, 1)

    def __post_init__(self):
        self.objective = Objective("value", best=self.best, worst=self.worst)

    def evaluate(self, job: Job) -> Outcome:
        return Outcome({"value": float(self.function(job.configuration))}, 1)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "function": getattr(self.function, "__qualname__", "")}
