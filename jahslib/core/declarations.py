"""What a problem declares of its metrics and its resource: objective, constraints and range of fidelities."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from jahslib.errors import Bounds, Finite, Positive, UserError, bounded, refuse_illegal


def _refuse_nameless(place: str, name: str) -> None:
    if not name:
        raise UserError(f"{place}: {name!r}; give a text that is not empty")


@dataclass(frozen=True)
class Objective:
    """The metric to optimise and the range of its values.

    `worst` is charged to a failed trial and caps every value; `best` is a bound that no trial passes, so that `cost` is
    never negative. The metric is maximised when `best > worst`. `maximize` may state the same; alone it stands for a
    metric from 0 to 1.

    A `best` far beyond what can be reached flattens the logarithm of the cost, which grammar BO models, and changes its
    decisions; BOHB's do not depend on it (`SmacBohb.cost`).

    Raises:
        UserError: the metric is no name, the bounds are equal or not finite, or their order contradicts `maximize`.
    """

    metric: str
    best: Finite = None  # type: ignore[assignment]  # a number once made
    worst: Finite = None  # type: ignore[assignment]
    maximize: bool | None = field(default=None, compare=False)

    def __post_init__(self):
        upwards = self.maximize is not False
        if self.best is None:
            object.__setattr__(self, "best", 1.0 if upwards else 0.0)
        if self.worst is None:
            object.__setattr__(self, "worst", 0.0 if upwards else 1.0)
        refuse_illegal(self, f"objective {self.metric}: ")
        _refuse_nameless("objective: metric", self.metric)
        if self.best == self.worst:
            raise UserError(f"objective {self.metric}: best and worst are {self.best!r}; give two unequal numbers")
        if self.maximize is None:
            object.__setattr__(self, "maximize", self.best > self.worst)
        elif self.maximize != (self.best > self.worst):
            raise UserError(
                f"objective {self.metric}: maximize={self.maximize} with best={self.best}, worst={self.worst}; "
                "exchange the bounds, or leave maximize out"
            )

    def is_beyond_best(self, value: float) -> bool:
        """Tell whether a value is better than `best` by more than rounding (`best` is no bound)."""
        return (value - self.best) / (self.best - self.worst) > 1e-9

    def is_beyond_worst(self, value: float) -> bool:
        """Tell whether a value is worse than `worst` by more than rounding (it counts as `worst`)."""
        return (self.worst - value) / (self.best - self.worst) > 1e-9

    def cost(self, metrics: Mapping[str, float]) -> float:
        """Compute the distance to `best`: 0 is ideal, larger is worse, at most `worst_cost`."""
        return min(abs(self.best - metrics[self.metric]), self.worst_cost)

    @property
    def worst_cost(self) -> float:
        """Cost charged to a failed trial."""
        return abs(self.best - self.worst)


@dataclass(frozen=True)
class Constraint:
    """An inequality constraint `metric <= bound` or `metric >= bound`; equality is feasible.

    Raises:
        UserError: the metric is no name, the relation is neither of the two, or the bound is not a finite number.
    """

    metric: str
    relation: Literal["<=", ">="]
    bound: Finite

    def __post_init__(self):
        refuse_illegal(self, f"constraint {self.metric}: ")
        _refuse_nameless("constraint: metric", self.metric)
        # as read back from the log, for values such as 2**53 + 1 or float32
        object.__setattr__(self, "bound", float(self.bound))

    def excess(self, metrics: Mapping[str, float]) -> float:
        """Compute the signed distance outside the bound, in the metric's unit: at most 0 if feasible, or NaN."""
        value = metrics.get(self.metric, math.nan)
        return value - self.bound if self.relation == "<=" else self.bound - value

    def violation(self, metrics: Mapping[str, float]) -> float:
        """Compute the violation relative to the bound (absolute where that is 0); infinite without a value."""
        excess = self.excess(metrics)
        return math.inf if math.isnan(excess) else max(0.0, excess) / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        """Format for the trial log, with 6 or 12 digits where these are exact, else with all."""
        texts = (f"{self.bound:g}", f"{self.bound:.12g}", repr(float(self.bound)))
        return f"{self.metric} {self.relation} {next(text for text in texts if float(text) == self.bound)}"

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Parse what `str` wrote into a trial log. Raises `ValueError` for any other text."""
        metric, relation, bound = text.rsplit(" ", 2)
        return cls(metric, relation, float(bound))  # type: ignore[arg-type]  # which it checks


@dataclass(frozen=True)
class Fidelity:
    """The range of a trial's resource: training epochs, or another by name, such as `Fidelity(0.03, 1.0, "trainsize")`.

    If both bounds are ints, all fidelities are whole, which epochs must be.

    Raises:
        UserError: not 0 < low <= high, or epochs that are not whole.
    """

    low: Positive
    high: Positive
    name: str = "epochs"

    def __post_init__(self):
        refuse_illegal(self, f"fidelity: {self.name}: ")
        _refuse_nameless("fidelity: name", self.name)
        if self.low > self.high:
            raise UserError(f"fidelity: {self.name} {self.low}..{self.high} are no range; give 0 < low <= high")
        if self.name == "epochs" and not self.whole:
            raise UserError(f"fidelity: epochs {self.low}..{self.high} are not whole; give whole numbers, or a name")

    @property
    def whole(self) -> bool:
        """Whether all fidelities are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def above(self, low: float | None) -> "Fidelity":
        """Raise the lower bound to `low`; None keeps it. Raises `UserError` for one that is not in the range."""
        if low is None:
            return self
        within = Annotated[int if self.whole else float, Bounds(self.low, self.high)]
        return Fidelity(bounded("min_fidelity", low, within), self.high, self.name)

    def describe(self) -> list:
        """Return the range in JSON types; the name is omitted for epochs."""
        return [self.low, self.high] if self.name == "epochs" else [self.low, self.high, self.name]
