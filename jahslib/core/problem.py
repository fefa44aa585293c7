"""The problem interface: space, fidelity range, objective, constraints and `evaluate`.

Optimizers read a problem's declarations; only the search loop calls `evaluate`. All that an author of one needs can be
imported from here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jahslib.core.declarations import Constraint, Fidelity, Objective
from jahslib.core.trials import Configuration, Suggestion, Trial, as_proposed, key, merged
from jahslib.errors import UserError, refuse_unknown

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace  # its import takes seconds and only ConfigSpace searches need it


class Space(ABC):
    """A search space that is not a ConfigurationSpace, such as a grammar's."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Configuration:
        """Draw a random configuration."""

    @abstractmethod
    def mutate(self, configuration: Configuration, rng: np.random.Generator) -> Configuration:
        """Draw a neighbour of a configuration."""

    @abstractmethod
    def to_serialized_dict(self) -> dict[str, Any]:
        """Describe the space in JSON types, for the log's fingerprint."""

    @abstractmethod
    def check(self, configuration: Configuration) -> None:
        """Raise `UserError` or `ValueError` for a configuration that is not of this space."""

    def everything(self, most: int) -> list[Configuration] | None:
        """List all configurations, some of them twice; None where they may be more than `most`, or are not known."""
        return None


@dataclass(frozen=True)
class Job:
    """One evaluation that the search loop requests.

    `stages` are the fidelities of the trial's lineage, ascending, the last being the requested one: (3, 6, 12) is a
    trial that was promoted twice. `save` is the folder for this trial's checkpoint, `restore` that of stage 6, which
    may be missing. `deadline` is a `time.time()` after which no new epoch begins.
    """

    configuration: Configuration
    stages: tuple[float, ...]
    seed: int
    restore: Path | None = None
    save: Path | None = None
    deadline: float | None = None

    @property
    def fidelity(self) -> float:
        """Requested fidelity; epochs unless the problem's `Fidelity` names another resource."""
        return self.stages[-1]


@dataclass
class Outcome:
    """The result of an evaluation.

    `epochs` counts the training epochs charged, summed over folds. `curve` holds per-epoch lists, `outputs` any other
    result to be logged (JSON types only). `cut`: the deadline ended the training before the fidelity was reached.
    """

    metrics: dict[str, float]
    epochs: float
    curve: dict[str, list[float]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    cut: bool = False


class Problem(ABC):
    """Base of problems: subclasses set the attributes and implement `evaluate`."""

    name: str
    space: "ConfigurationSpace | Space"
    fidelity: Fidelity
    objective: Objective
    constraints: tuple[Constraint, ...] = ()
    device: str = "cpu"
    repeats: int = 1  # trainings of each configuration that reaches the highest fidelity, see `judged`

    @abstractmethod
    def evaluate(self, job: Job) -> Outcome:
        """Train and measure a configuration.

        An exception makes the trial `failed` with the worst cost; only `UserError` ends the search.
        """

    def check(self) -> None:  # noqa: B027 (most problems have nothing to refuse)
        """Raise `UserError` before a search begins if every trial would fail."""

    def check_configuration(self, configuration: Configuration) -> None:
        """Raise `UserError` if a user's configuration cannot be trained: by default, one outside the space."""
        from ConfigSpace import Configuration as Checked
        from ConfigSpace import ConfigurationSpace

        try:
            if isinstance(self.space, ConfigurationSpace):
                Checked(self.space, values=configuration)
            else:
                self.space.check(configuration)
        except (ValueError, TypeError, AttributeError) as error:  # also for what is no configuration at all
            why = " ".join(str(error).split())
            raise UserError(f"problem {self.name}: {configuration!r} is outside its space ({why})") from error

    def known(self, configuration: Configuration) -> dict[str, float]:
        """Compute metrics that need no training, such as a parameter count; their constraints are checked first."""
        return {}

    def epochs(self, stages: tuple[float, ...]) -> float:
        """Compute the epochs charged to a job: those beyond its parent's stage; override where it is charged more."""
        return stages[-1] - (stages[-2] if len(stages) > 1 else 0)

    def describe(self) -> dict[str, Any]:
        """Return all that makes two trial logs comparable, in JSON types, for the fingerprint."""
        described = {
            "name": self.name,
            "space": self.space.to_serialized_dict(),
            "fidelity": self.fidelity.describe(),
            "objective": [self.objective.metric, self.objective.best, self.objective.worst],
            "constraints": [str(c) for c in self.constraints],
        }
        return described if self.repeats == 1 else described | {"repeats": self.repeats}

    def facts(self, configuration: Configuration) -> dict[str, float]:
        """Return `known`, cached for the latest configuration: optimizer and loop ask for it in turn."""
        wanted = key(configuration)
        latest = self.__dict__.get("_latest_facts")
        if latest is None or latest[0] != wanted:
            latest = wanted, numbers(self.known(dict(configuration)), f"problem {self.name}: known")
            object.__setattr__(self, "_latest_facts", latest)  # also of a frozen data class
        return latest[1]

    def admits(self, configuration: Configuration) -> bool:
        """Tell whether all constraints that can be checked without training hold."""
        known = self.facts(configuration)
        return not any(c.violation(known) for c in self.constraints if c.metric in known)

    def refuse_undeclared(self, trial: Trial) -> None:
        """Raise `UserError` if a successful trial lacks a metric of objective or constraint, or is beyond `best`."""
        if trial.status != "ok":
            return
        if metric := self.lacking(trial):
            returned = ", ".join(trial.metrics) or "none"
            raise UserError(f"problem {self.name}: no metric {metric!r} among those it gave: {returned}")
        value = trial.metrics[self.objective.metric]
        if self.objective.is_beyond_best(value):
            raise UserError(
                f"problem {self.name}: {self.objective.metric} is {value}, beyond the objective's "
                f"best={self.objective.best}; declare one that no trial passes"
            )

    def lacking(self, trial: Trial) -> str:
        """Return the first objective or constraint metric missing from a successful trial, else ""."""
        missing = (metric for metric in self._shown() if trial.metrics.get(metric) is None)
        return next(missing, "") if trial.status == "ok" else ""

    def cost(self, trial: Trial) -> float:
        """Compute the objective's cost, feasible or not; the worst cost unless the trial succeeded."""
        return self.objective.cost(trial.metrics) if trial.status == "ok" else self.objective.worst_cost

    def violation(self, trial: Trial) -> float:
        """Sum the relative violations of all constraints; infinite unless the trial succeeded."""
        if trial.status != "ok":
            return math.inf
        return sum(c.violation(trial.metrics) for c in self.constraints)

    def penalised_cost(self, trial: Trial) -> float:
        """Compute a cost for methods without constraints: infeasible, the worst plus the violation, at most 1."""
        violation = self.violation(trial)
        return self.objective.worst_cost + min(violation, 1.0) if violation else self.cost(trial)

    def rank(self, trial: Trial) -> tuple[float, float]:
        """Compute study 07's "a-priori" sort key: feasible trials by cost, then infeasible ones by violation."""
        return self.violation(trial), self.cost(trial)

    def full(self, trials: Iterable[Trial]) -> list[Trial]:
        """Select the successful trials at the highest fidelity, in the given order."""
        return [t for t in trials if t.status == "ok" and self.is_full(t)]

    def is_full(self, suggestion: Suggestion) -> bool:
        """Tell whether a suggestion, or a trial, is at the highest fidelity."""
        return suggestion.fidelity >= self.fidelity.high

    def judged(self, trials: Iterable[Trial]) -> list[Trial]:
        """Select the candidates for the incumbent: each full trial.

        If `repeats` > 1, each configuration with all its trainings finished, as one trial with the mean metrics.
        """
        if self.repeats == 1:
            return self.full(trials)
        groups: dict[str, list[Trial]] = {}
        for trial in as_proposed(trials):
            if self.is_full(trial) and trial.status != "rejected":
                groups.setdefault(key(trial.configuration), []).append(trial)
        means = [merged(group) for group in groups.values() if len(group) >= self.repeats]
        return [t for t in means if t.status == "ok"]

    def incumbent(self, trials: Iterable[Trial]) -> Trial | None:
        """Return the best feasible candidate (of equal ones the first), else the least-violating, else None."""
        return min(self.judged(trials), key=lambda t: (self.rank(t), t.id), default=None)

    def verdict(self, trials: Iterable[Trial]) -> str:
        """Summarise the result in one line, saying so if no trial was feasible."""
        best, where = self.incumbent(trials), f"{self.fidelity.high:g} {self.fidelity.name}"
        if best is None:
            return f"no trial finished at the highest fidelity, {where}"
        shown = ", ".join(f"{m} {best.metrics[m]:.4g}" for m in self._shown() if m in best.metrics)
        if self.violation(best):
            broken = ", ".join(f"{c}" for c in self.constraints if c.violation(best.metrics))
            return f"none feasible ({broken} not met); least-violating is trial {best.id} at {where}: {shown}"
        return f"best feasible is trial {best.id} at {where}: {shown}"

    def _shown(self) -> list[str]:
        return [self.objective.metric, *(c.metric for c in self.constraints)]


def numbers(metrics: Any, place: str) -> dict[str, float]:
    """Convert metrics to Python's own numbers. Raises `UserError` unless they are a dictionary of numbers."""
    if not isinstance(metrics, Mapping):
        raise UserError(f"{place} returned the metrics {metrics!r}; return a dictionary of numbers")
    converted = {}
    for name, value in metrics.items():
        number = float(value) if isinstance(value, Decimal | Fraction) else scalar(value)
        if not isinstance(name, str) or not isinstance(number, int | float):
            raise UserError(f"{place} returned the metric {name!r}: {number!r}; return a number by a text")
        converted[name] = number
    return converted


def scalar(value: Any) -> Any:
    """Convert a scalar of NumPy, torch and the like to Python's own type; leave other values as they are."""
    try:
        return value.item() if hasattr(value, "item") else value
    except (TypeError, ValueError, RuntimeError):  # of several elements
        return value


def refuse_incomplete(problem: Any, *, computed: bool = True) -> None:
    """Raise `UserError` unless `problem` declares all that a search needs.

    `computed=False` leaves out what its class computes: a space that depends on the data would load them.
    """
    if not isinstance(problem, Problem):
        raise UserError(f"search: {problem!r} is no Problem; subclass jahslib.core.problem.Problem")
    name = f"problem {type(problem).__name__}"
    wanted = {
        "name": ("a text", lambda given: isinstance(given, str) and given != ""),
        "space": ("a ConfigurationSpace, or another space", _is_space),
        "fidelity": ("a Fidelity", lambda given: isinstance(given, Fidelity)),
        "objective": ("an Objective", lambda given: isinstance(given, Objective)),
        "constraints": ("a tuple of Constraints", _are_constraints),
        "device": ("a text, such as 'cpu'", lambda given: isinstance(given, str)),
        "repeats": ("1 or more trainings", lambda given: type(given) is int and given >= 1),
    }
    for attribute, (what, admits) in wanted.items():
        if not computed and hasattr(getattr(type(problem), attribute, None), "__get__"):
            continue
        value = getattr(problem, attribute, None)
        if not admits(value):
            raise UserError(f"{name}: {attribute} is {value!r}; give it {what}")


def checked_constraints(given: Any, metrics: Iterable[str], place: str) -> tuple[Constraint, ...]:
    """Return constraints as a tuple. Raises `UserError` for anything else, or one on none of these metrics."""
    if not _are_constraints(given):
        raise UserError(f"{place}: constraints is {given!r}; give it a tuple of Constraints")
    refuse_unknown(f"{place}: constrained metric", [c.metric for c in given], metrics)
    return tuple(given)


def _is_space(given: Any) -> bool:
    return isinstance(given, Space) or hasattr(given, "sample_configuration")  # ConfigSpace's, not imported for this


def _are_constraints(given: Any) -> bool:
    return isinstance(given, tuple | list) and all(isinstance(constraint, Constraint) for constraint in given)
