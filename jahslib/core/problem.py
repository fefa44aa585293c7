"""What is optimised: a space, a fidelity range, an objective, constraints, and `evaluate`.

A study subclasses `Problem`. Optimizers read its declarations and never call `evaluate`; only the search loop does.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from jahslib.core.trials import Configuration, Trial, as_proposed, key, mean_of
from jahslib.errors import UserError

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace  # takes seconds, which a search of another space need not wait


class Space(Protocol):
    """A space of configurations that is no ConfigurationSpace, such as a grammar's."""

    def sample(self, rng: np.random.Generator) -> Configuration:
        """A random configuration."""
        ...

    def mutate(self, configuration: Configuration, rng: np.random.Generator) -> Configuration:
        """A configuration near this one."""
        ...

    def to_serialized_dict(self) -> dict[str, Any]:
        """What tells this space from another, in JSON types."""
        ...


@dataclass(frozen=True)
class Objective:
    """The metric to optimise, and the range of its values.

    `worst` is what a failed trial counts as, and no value counts as more than it; `best` is a bound that no trial
    passes, so that `cost` is never negative. It is maximised when `best > worst`. `maximize` may say so as well; alone
    it stands for a metric from 0 to 1.

    A `best` far beyond what can be reached flattens the logarithm of the cost, which grammar BO models, and changes its
    decisions; BOHB's do not depend on it (`SmacBohb.cost`).

    Raises:
        UserError: the bounds are equal, not finite, or on the other side of each other than `maximize` has them.
    """

    metric: str
    best: float = None  # type: ignore[assignment]  # a number once made
    worst: float = None  # type: ignore[assignment]
    maximize: bool | None = field(default=None, compare=False)

    def __post_init__(self):
        upwards = self.maximize is not False
        if self.best is None:
            object.__setattr__(self, "best", 1.0 if upwards else 0.0)
        if self.worst is None:
            object.__setattr__(self, "worst", 0.0 if upwards else 1.0)
        if not (math.isfinite(self.best) and math.isfinite(self.worst) and self.best != self.worst):
            raise UserError(
                f"objective {self.metric}: best={self.best}, worst={self.worst}; give two finite values that differ"
            )
        if self.maximize is None:
            object.__setattr__(self, "maximize", self.best > self.worst)
        elif self.maximize != (self.best > self.worst):
            raise UserError(
                f"objective {self.metric}: maximize={self.maximize} with best={self.best}, worst={self.worst}; "
                "exchange the bounds, or leave maximize out"
            )

    def is_beyond_best(self, value: float) -> bool:
        """Whether a value is better than `best`, by more than rounding: then `best` is no bound."""
        return (value - self.best) / (self.best - self.worst) > 1e-9

    def is_beyond_worst(self, value: float) -> bool:
        """Whether a value is worse than `worst`, by more than rounding: it then counts as `worst`."""
        return (self.worst - value) / (self.best - self.worst) > 1e-9

    def cost(self, metrics: Mapping[str, float]) -> float:
        """Distance to `best`: 0 is ideal, larger is worse, `worst_cost` the most."""
        return min(abs(self.best - metrics[self.metric]), self.worst_cost)

    @property
    def worst_cost(self) -> float:
        """Cost charged to a failed trial."""
        return abs(self.best - self.worst)

    @classmethod
    def parse(cls, described: list) -> "Objective":
        """The objective as it stands in a trial log's header."""
        return cls(*described)


@dataclass(frozen=True)
class Constraint:
    """`metric <= bound` or `metric >= bound`; equality is feasible.

    Raises:
        UserError: another relation, or a bound that is no finite number.
    """

    metric: str
    relation: Literal["<=", ">="]
    bound: float

    def __post_init__(self):
        if self.relation not in ("<=", ">="):
            raise UserError(f"constraint {self.metric}: relation {self.relation!r} is unknown; give '<=' or '>='")
        if isinstance(self.bound, str) or not math.isfinite(self.bound):
            raise UserError(f"constraint {self.metric}: bound {self.bound!r} is no finite number; leave it out")
        object.__setattr__(self, "bound", float(self.bound))  # as the log gives it back: of 2**53 + 1, say, or float32

    def excess(self, metrics: Mapping[str, float]) -> float:
        """How far outside the bound, in the metric's own unit: at most 0 when feasible, NaN for a missing metric."""
        value = metrics.get(self.metric, math.nan)
        return value - self.bound if self.relation == "<=" else self.bound - value

    def violation(self, metrics: Mapping[str, float]) -> float:
        """How far outside the bound, relative to the bound's size; 0 when feasible, infinite for a missing metric."""
        excess = self.excess(metrics)
        return math.inf if math.isnan(excess) else max(0.0, excess) / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        """As it stands in a trial log: with six or twelve digits where they say it exactly, else with all."""
        texts = (f"{self.bound:g}", f"{self.bound:.12g}", repr(float(self.bound)))
        return f"{self.metric} {self.relation} {next(text for text in texts if float(text) == self.bound)}"

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """The constraint that `str` wrote, as it stands in a trial log. Raises `ValueError` for any other text."""
        metric, relation, bound = text.rsplit(" ", 2)
        if relation == "<=" or relation == ">=":
            return cls(metric, relation, float(bound))
        raise ValueError(f"{text!r} is no constraint")


@dataclass(frozen=True)
class Fidelity:
    """The range of what trials may spend: training epochs, or another resource by its name.

    With two whole bounds all fidelities are whole; other resources than epochs may also be fractions, such as
    `Fidelity(0.03, 1.0, "trainsize")`.

    Raises:
        UserError: bounds that are no positive numbers in order, or epochs that are not whole.
    """

    low: float
    high: float
    name: str = "epochs"

    def __post_init__(self):
        for side in ("low", "high"):
            value = getattr(self, side)
            if isinstance(value, np.generic):
                object.__setattr__(self, side, value.item())
        given = (self.low, self.high)
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in given)
        if not numbers or not 0 < self.low <= self.high:
            raise UserError(f"fidelity: {self.name} {self.low}..{self.high} are no range; give 0 < low <= high")
        if self.name == "epochs" and not self.whole:
            raise UserError(f"fidelity: epochs {self.low}..{self.high} are not whole; give whole numbers, or a name")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are fidelities."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def above(self, low: float | None) -> "Fidelity":
        """The same range from `low` on; None keeps all of it."""
        return self if low is None else Fidelity(low, self.high, self.name)

    def describe(self) -> list:
        """The range in JSON types; epochs go without saying."""
        return [self.low, self.high] if self.name == "epochs" else [self.low, self.high, self.name]


@dataclass(frozen=True)
class Job:
    """One evaluation as the search loop orders it.

    `stages` are the fidelities of the trial's lineage, ascending, the last being the one asked for: (3, 6, 12) is a
    trial that was promoted twice. `save` is the folder for this trial's checkpoint, `restore` that of stage 6; a
    problem that finds it gone trains through the earlier stages again. `deadline` is a `time.time()` after which no new
    epoch begins.
    """

    configuration: Configuration
    stages: tuple[float, ...]
    seed: int
    restore: Path | None = None
    save: Path | None = None
    deadline: float | None = None

    @property
    def fidelity(self) -> int:
        """Epochs asked for."""
        return self.stages[-1]


@dataclass
class Outcome:
    """What an evaluation returns. `epochs` counts the training epochs charged, summed over folds.

    `curve` holds per-epoch lists, `outputs` anything else that is worth its place in the log (JSON types only).
    `cut` says that the deadline ended the training before the fidelity was reached.
    """

    metrics: dict[str, float]
    epochs: float
    curve: dict[str, list[float]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    cut: bool = False


class Problem(ABC):
    """Subclasses set the attributes and write `evaluate`; `known`, `epochs` and `describe` have defaults."""

    name: str
    space: "ConfigurationSpace | Space"
    fidelity: Fidelity
    objective: Objective
    constraints: tuple[Constraint, ...] = ()
    device: str = "cpu"
    repeats: int = 1  # trainings of each configuration that reaches the highest fidelity, see `judged`

    @abstractmethod
    def evaluate(self, job: Job) -> Outcome:
        """Train and measure. What is raised here makes the trial `failed` with the worst cost, but for `UserError`,
        which ends the search: what only the user can mend would fail every further trial too."""

    def check(self) -> None:  # noqa: B027 (most problems have nothing to refuse)
        """Refuse what would fail every trial, before a search begins. Raises `UserError`."""

    def check_configuration(self, configuration: Configuration) -> None:  # noqa: B027
        """Refuse one that is given, not drawn from the space, and cannot be trained. Raises `UserError`."""

    def known(self, configuration: Configuration) -> dict[str, float]:
        """Metrics that need no training (a parameter count); constraints on them are checked before training."""
        return {}

    def epochs(self, stages: tuple[float, ...]) -> float:
        """Epochs that a job of these stages will be charged: those since its parent, or all without one.

        Where `evaluate` charges more, on several folds say, this must say so, for a budget of epochs relies on it.
        """
        return stages[-1] - (stages[-2] if len(stages) > 1 else 0)

    def describe(self) -> dict[str, Any]:
        """Everything that makes two trial logs comparable, in JSON types; the log's fingerprint is made of it."""
        described = {
            "name": self.name,
            "space": self.space.to_serialized_dict(),
            "fidelity": self.fidelity.describe(),
            "objective": [self.objective.metric, self.objective.best, self.objective.worst],
            "constraints": [str(c) for c in self.constraints],
        }
        return described if self.repeats == 1 else described | {"repeats": self.repeats}

    def facts(self, configuration: Configuration) -> dict[str, float]:
        """What `known` says, asked once for a configuration that optimizer and search loop look at in turn."""
        wanted = key(configuration)
        latest = self.__dict__.get("_latest_facts")
        if latest is None or latest[0] != wanted:
            latest = wanted, dict(self.known(dict(configuration)))
            self.__dict__["_latest_facts"] = latest  # not by attribute: problems may be frozen data classes
        return latest[1]

    def admits(self, configuration: Configuration) -> bool:
        """Whether every constraint that can be checked without training holds."""
        known = self.facts(configuration)
        return not any(c.violation(known) for c in self.constraints if c.metric in known)

    def refuse_undeclared(self, trial: Trial) -> None:
        """Refuse a trial that breaks the problem's own declarations, by which it would be searched to a wrong end.

        Raises:
            UserError: a successful trial lacks a metric of the objective or a constraint, or is beyond `best`.
        """
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
        """The first metric of objective and constraints that a successful trial does not have; empty where none is."""
        missing = (metric for metric in self._shown() if trial.metrics.get(metric) is None)
        return next(missing, "") if trial.status == "ok" else ""

    def cost(self, trial: Trial) -> float:
        """The objective's cost, whether the trial is feasible or not; of one that did not succeed the worst."""
        return self.objective.cost(trial.metrics) if trial.status == "ok" else self.objective.worst_cost

    def violation(self, trial: Trial) -> float:
        """Summed relative violation of all constraints; infinite for a trial that did not succeed."""
        if trial.status != "ok":
            return math.inf
        return sum(c.violation(trial.metrics) for c in self.constraints)

    def penalised_cost(self, trial: Trial) -> float:
        """For methods that know no constraints: the cost of a feasible trial, else the worst one plus the violation (at
        most 1 more)."""
        violation = self.violation(trial)
        return self.objective.worst_cost + min(violation, 1.0) if violation else self.cost(trial)

    def rank(self, trial: Trial) -> tuple[bool, float, float]:
        """Sort key, best first: feasible trials by cost, then infeasible ones by violation (study 07, "a-priori")."""
        violation = self.violation(trial)
        return violation > 0, violation, self.cost(trial)

    def full(self, trials: Iterable[Trial]) -> list[Trial]:
        """The trials that may be the incumbent, those that succeeded at the highest fidelity, in the given order."""
        return [t for t in trials if t.status == "ok" and t.fidelity >= self.fidelity.high]

    def judged(self, trials: Iterable[Trial]) -> list[Trial]:
        """What competes for the incumbent: each full trial, or where the problem asks for `repeats` each configuration
        whose trainings are all there, as one trial with their mean metrics."""
        if self.repeats == 1:
            return self.full(trials)
        groups: dict[str, list[Trial]] = {}
        for trial in as_proposed(trials):
            if trial.fidelity >= self.fidelity.high and trial.status != "rejected":
                groups.setdefault(key(trial.configuration), []).append(trial)
        means = [mean_of(group) for group in groups.values() if len(group) >= self.repeats]
        return [t for t in means if t.status == "ok"]

    def incumbent(self, trials: Iterable[Trial]) -> Trial | None:
        """The best feasible of what is `judged`; with none feasible, the least-violating one; else None. Of equals it
        is the one proposed first."""
        return min(self.judged(trials), key=lambda t: (self.rank(t), t.id), default=None)

    def verdict(self, trials: Iterable[Trial]) -> str:
        """One plain line on the result, with the statement that none was feasible where that is so."""
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


def refuse_incomplete(problem: Any) -> None:
    """Raise unless `problem` declares all that a search needs.

    Raises:
        UserError: it is no Problem, has no name, space, fidelity or objective, or no whole number of repeats.
    """
    if not isinstance(problem, Problem):
        raise UserError(f"search: {problem!r} is no Problem; subclass jahslib.core.problem.Problem")
    wanted = {"name": str, "space": object, "fidelity": Fidelity, "objective": Objective}
    for attribute, kind in wanted.items():
        value = getattr(problem, attribute, None)
        if not isinstance(value, kind) or value is None or value == "":
            what = "a text" if kind is str else "a space" if kind is object else f"a {kind.__name__}"
            raise UserError(f"problem {type(problem).__name__}: {attribute} is {value!r}; give it {what}")
    if not isinstance(problem.repeats, int) or isinstance(problem.repeats, bool) or problem.repeats < 1:
        raise UserError(f"problem {problem.name}: repeats={problem.repeats!r}; give 1 or more trainings")
