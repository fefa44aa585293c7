"""Translation of a problem to Ax: hyperparameters to parameters, metrics to formula names."""

import builtins
import json
import keyword
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, Constant, OrdinalHyperparameter
from ConfigSpace.hyperparameters import UniformFloatHyperparameter, UniformIntegerHyperparameter

from jahslib.core.problem import Problem
from jahslib.core.trials import Configuration, Trial, key
from jahslib.errors import UserError
from jahslib.spaces import configurations as spaces

if TYPE_CHECKING:
    from ax.api.client import Client

MOST_INTEGERS = 1000  # values of an integer; BoTorch relaxes it anyway, but lists its values
MOST_CHOICES = 1000  # values of a choice, Ax's own limit
NARROW = 2e-5  # width of a float's range on its own scale: Ax refuses one below 1.5e-5
TAKEN = ("trial_index", "arm_name", "metadata", "step")  # reserved columns of Ax's parameter tables


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter as an Ax parameter.

    A choice has `values`, and `codes` that Ax knows them by; without codes it is told as a position. `unit`: a range is
    told as 0..1.
    """

    name: str
    hp: Any
    values: tuple = ()
    codes: tuple = ()
    unit: bool = False

    @property
    def is_integer(self) -> bool:
        """Whether it is a whole number."""
        return isinstance(self.hp, UniformIntegerHyperparameter)

    @property
    def size(self) -> float:
        """Number of values that Ax knows; infinite for what is told as a float."""
        return len(self.codes) or (self.hp.size if self.is_integer and self.hp.size <= MOST_INTEGERS else math.inf)

    @property
    def is_unordered(self) -> bool:
        """Whether Ax treats it as an unordered choice; it always orders two values."""
        return isinstance(self.hp, CategoricalHyperparameter) and 2 < self.size < math.inf

    def config(self) -> Any:
        """Build Ax's parameter configuration."""
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

        if self.codes:
            return ChoiceParameterConfig(
                name=self.name,
                values=list(self.codes),
                parameter_type=type(self.codes[0]).__name__,  # type: ignore[arg-type]
                is_ordered=isinstance(self.hp, OrdinalHyperparameter),
            )
        number, scaling = int if self.size < math.inf else float, "linear"
        if self.values:
            bounds = 0, len(self.values) - 1
        elif self.unit:
            bounds = 0, 1
        else:
            bounds, scaling = (self.hp.lower, self.hp.upper), "log" if self.hp.log else "linear"
        return RangeParameterConfig(
            name=self.name,
            bounds=(number(bounds[0]), number(bounds[1])),
            parameter_type=number.__name__,  # type: ignore[arg-type]
            scaling=scaling,
        )

    def encode(self, value: Any) -> Any:
        """Encode a value for Ax."""
        if self.values:
            same = [i for i, v in enumerate(self.values) if v == value]
            position = next((i for i in same if type(self.values[i]) is type(value)), same[0])
            return self.codes[position] if self.codes else float(position)
        if self.unit:
            return min(max(float(self.hp.to_vector(value)), 0.0), 1.0)
        return int(value) if self.size < math.inf else float(value)

    def decode(self, told: Any) -> Any:
        """Decode a value of Ax; numbers may be off by rounding."""
        if told in self.codes or isinstance(told, str):
            return self.values[self.codes.index(told)]
        if self.codes:
            return self.values[min(range(len(self.codes)), key=lambda i: abs(self.codes[i] - told))]
        if self.values:
            return self.values[round(min(max(told, 0), len(self.values) - 1))]
        if self.unit:
            told = float(self.hp.to_value(min(max(float(told), 0.0), 1.0)))
        value = round(told) if self.is_integer else float(told)
        return min(max(value, self.hp.lower), self.hp.upper)  # log scaling may round past a bound


class Box:
    """The box of all hyperparameters of a space, which Ax searches without conditions.

    They are told as they are, except: choices of mixed types, or with None, as texts (their JSON); integers of more
    than 1,000 values as floats, and choices of so many as their position; floats on a range too narrow for Ax on the
    unit interval.

    Raises:
        UserError: a kind of hyperparameter that Ax does not have.
    """

    def __init__(self, space: ConfigurationSpace):
        self.space = space
        names = distinct(space, lambda name: name not in TAKEN, lambda name: f"hp_{name}")
        self.parameters = {name: _parameter(names[name], hp) for name, hp in space.items()}
        self._defaults = {name: spaces.python(hp.default_value) for name, hp in space.items()}

    def configs(self) -> list:
        """List what Ax's client is configured with, a parameter each."""
        return [parameter.config() for parameter in self.parameters.values()]

    def encode(self, configuration: Configuration) -> dict[str, Any]:
        """Encode a configuration for Ax, inactive hyperparameters at their defaults."""
        values = self._defaults | configuration
        return {parameter.name: parameter.encode(values[name]) for name, parameter in self.parameters.items()}

    def every(self, most: int = 2000) -> set[str]:
        """List the keys of all configurations; empty if the box has more than `most`."""
        values = []
        for p in self.parameters.values():
            values.append(p.values or (range(p.hp.lower, p.hp.upper + 1) if p.is_integer else ()))
            if not values[-1] or math.prod(map(len, values)) > most:
                return set()
        told = (dict(zip(self.parameters, point, strict=True)) for point in product(*values))
        return {key(spaces.complete(self.space, values)) for values in told}

    def values(self, told: dict[str, Any]) -> Configuration:
        """Decode a value for each hyperparameter, active or not."""
        return {name: parameter.decode(told[parameter.name]) for name, parameter in self.parameters.items()}

    def decode(self, told: dict[str, Any]) -> Configuration:
        """Decode a proposal of Ax, without inactive hyperparameters."""
        return spaces.complete(self.space, self.values(told))


def _parameter(name: str, hp: Any) -> Parameter:
    match hp:
        case UniformFloatHyperparameter():
            width = math.log10(hp.upper / hp.lower) if hp.log else hp.upper - hp.lower
            return Parameter(name, hp, unit=min(width, hp.upper - hp.lower) < NARROW)
        case UniformIntegerHyperparameter():
            return Parameter(name, hp)
        case CategoricalHyperparameter() | OrdinalHyperparameter() | Constant():
            # ConfigSpace turns 1 and 2.5 into 1.0 and 2.5.
            values = tuple(spaces.python(hp.to_value(i)) for i in range(int(hp.size)))
            plain = len({type(v) for v in values}) == 1 and isinstance(values[0], str | bool | int | float)
            codes = values if plain else tuple(json.dumps(v) for v in values)
            return Parameter(name, hp, values, codes if len(values) <= MOST_CHOICES else ())
    raise UserError(f"space: Ax has no parameter like {hp}; use a uniform float or integer, categorical or ordinal")


def distinct(names: Iterable[str], may_stay, replacement) -> dict[str, str]:
    """Rename those names that may not stay, with all names remaining distinct."""
    names = list(dict.fromkeys(names))
    given = {name: name for name in names if may_stay(name)}
    for name in names:
        if name not in given:
            base, number = replacement(name), 1
            other = base
            while other in given.values() or not may_stay(other):
                number += 1
                other = f"{base}_{number}"
            given[name] = other
    return given


def metric_names(problem: Problem) -> dict[str, str]:
    """Map the metrics of objective and constraints to distinct names that are valid in Ax's formulas.

    There `sum` is a function and `val-loss` a difference; valid names stay as they are.
    """
    import sympy

    def may_stay(metric: str) -> bool:
        known = hasattr(builtins, metric) or hasattr(sympy, metric) or keyword.iskeyword(metric) or metric == "baseline"
        return metric.isascii() and metric.isidentifier() and not known

    metrics = [problem.objective.metric, *(c.metric for c in problem.constraints)]
    return distinct(metrics, may_stay, lambda metric: "metric_" + re.sub(r"\W", "_", metric, flags=re.ASCII))


def constrained_names(problem: Problem) -> list[str]:
    """List Ax's name for each constraint's metric: a second one for the objective, on which Ax puts no bounds."""
    names = metric_names(problem)
    objective = names[problem.objective.metric]
    own = f"{objective}_bounded"
    while own in names.values():
        own += "_"
    return [own if c.metric == problem.objective.metric else names[c.metric] for c in problem.constraints]


def configure(client: "Client", problem: Problem, box: Box, name: str | None = None) -> None:
    """Set the problem's space, objective and constraints in an Ax client."""
    client.configure_experiment(parameters=box.configs(), name=name)
    sign = "" if problem.objective.maximize else "-"
    bounded = zip(constrained_names(problem), problem.constraints, strict=True)
    client.configure_optimization(
        objective=sign + metric_names(problem)[problem.objective.metric],
        outcome_constraints=[f"{named} {c.relation} {c.bound}" for named, c in bounded],
    )


def outcomes(problem: Problem, trial: Trial) -> dict[str, float]:
    """Compute what Ax is told of a trial; unknown constrained metrics are as far beyond the bound as that is from 0."""
    objective = problem.objective
    measured = trial.metrics.get(objective.metric, objective.worst) if trial.status == "ok" else objective.worst
    told = {metric_names(problem)[objective.metric]: float(measured)}
    for named, c in zip(constrained_names(problem), problem.constraints, strict=True):
        beyond = c.bound + (1 if c.relation == "<=" else -1) * (abs(c.bound) or 1.0)
        told[named] = float(trial.metrics.get(c.metric, beyond))
    return told
