"""ConfigSpace helpers: configurations as plain dictionaries of the active hyperparameters.

Every draw comes from the generator passed in; ConfigSpace's own random state is set from it before each use, so a
space carries nothing from one call to the next.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ConfigSpace import Configuration as CSConfiguration
from ConfigSpace import ConfigurationSpace, Constant
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    FloatHyperparameter,
    Hyperparameter,
    NumericalHyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from ConfigSpace.hyperparameters.hp_components import ROUND_PLACES
from ConfigSpace.types import NotSet
from ConfigSpace.util import deactivate_inactive_hyperparameters

from jahslib.core.problem import Space
from jahslib.core.trials import Configuration, key
from jahslib.errors import UserError


def plain(configuration: CSConfiguration) -> Configuration:
    """Active hyperparameters with Python's own types (ConfigSpace returns NumPy scalars and strings)."""
    return {name: python(configuration[name]) for name in sorted(configuration.keys())}


def python(value: Any) -> Any:
    """With Python's own type."""
    return value.item() if isinstance(value, np.generic) else value


def digest(configuration: Configuration) -> str:
    """Eight hexadecimal digits that tell configurations apart in file names."""
    return hashlib.sha256(key(configuration).encode()).hexdigest()[:8]


def read(space: ConfigurationSpace, path: str | Path) -> Configuration:
    """The configuration in a JSON file, such as `Report.configuration` writes, with absent values at their defaults.

    Raises:
        UserError: no such file, not JSON, or not a configuration of the space.
    """
    try:
        values = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"configuration: no file {path}; give the path of an opt_cfg JSON") from error
    except ValueError as error:
        raise UserError(f"configuration: {path} is not JSON; give the path of an opt_cfg JSON") from error
    return complete(space, values)


def refuse_others(space: ConfigurationSpace | Space, method: str, *, forbidden: bool = False) -> None:
    """At the door of a method that works on named hyperparameters; `forbidden`: it minds forbidden clauses.

    Raises:
        UserError: the space is no ConfigurationSpace, or one with clauses that the method does not mind.
    """
    if not isinstance(space, ConfigurationSpace):
        raise UserError(
            f"{method}: works on a ConfigurationSpace, not on {space}; "
            "use random search, regularized evolution or grammar BO"
        )
    if not forbidden:
        refuse_forbidden_clauses(space, method)


def refuse_forbidden_clauses(space: ConfigurationSpace | Space, method: str) -> None:
    """At the door of a method that would run into forbidden clauses. Raises `UserError` if the space has any."""
    if isinstance(space, ConfigurationSpace) and space.forbidden_clauses:
        raise UserError(
            f"{method}: minds no forbidden clauses, such as {space.forbidden_clauses[0]}; use random search or BOHB, "
            "or a constraint on a metric known before training"
        )


def refuse_unloggable(space: ConfigurationSpace | Space | None) -> None:
    """At the door of a search, whose log is JSON.

    Raises:
        UserError: a hyperparameter has values that JSON would not give back as they are, or choices of weight 0.
    """
    for name, hp in space.items() if isinstance(space, ConfigurationSpace) else ():
        values = [hp.value] if isinstance(hp, Constant) else getattr(hp, "choices", getattr(hp, "sequence", ()))
        for value in (name, *values):
            if not _is_loggable(python(value)):
                raise UserError(f"space: {value!r} of {name!r} is no text, number or truth value; name it by a text")
        for value, share in zip(getattr(hp, "choices", ()), getattr(hp, "probabilities", ()), strict=False):
            if share == 0:
                raise UserError(f"space: the choice {value!r} of {name} has weight 0; leave it out of the choices")


def _is_loggable(value: Any) -> bool:
    if isinstance(value, str):
        return value.encode(errors="replace").decode() == value  # a lone surrogate is no text in any file
    return value is None or (isinstance(value, int | float) and abs(value) < math.inf)


def sample(space: ConfigurationSpace | Space, rng: np.random.Generator) -> Configuration:
    """A configuration from the space's priors."""
    if not isinstance(space, ConfigurationSpace):
        return space.sample(rng)
    space.seed(int(rng.integers(2**31)))
    return plain(space.sample_configuration())


def sample_where(
    space: ConfigurationSpace | Space,
    rng: np.random.Generator,
    accept: Callable[[Configuration], bool],
    attempts: int = 10_000,
) -> Configuration | None:
    """Rejection sampling; None when no accepted configuration was found in `attempts` draws."""
    for _ in range(attempts):
        configuration = sample(space, rng)
        if accept(configuration):
            return configuration
    return None


def resample(space: ConfigurationSpace, name: str, rng: np.random.Generator) -> Any:
    """A fresh value of one hyperparameter from its prior."""
    state = np.random.RandomState(int(rng.integers(2**31)))
    return python(space[name].sample_value(seed=state))


def mutate(
    space: ConfigurationSpace | Space,
    configuration: Configuration,
    rng: np.random.Generator,
    newly_active: Literal["drawn", "default"] = "default",
) -> Configuration:
    """With one of the active hyperparameters drawn afresh from its prior; what becomes active is drawn as well, or
    starts at its default."""
    if not isinstance(space, ConfigurationSpace):
        return space.mutate(configuration, rng)
    name = sorted(configuration)[rng.integers(len(configuration))]
    if newly_active == "drawn":
        return activated(space, {**configuration, name: drawn(space, name, rng)}, rng)
    return complete(space, {**configuration, name: resample(space, name, rng)})


def drawn(space: ConfigurationSpace, name: str, rng: np.random.Generator) -> Any:
    """A fresh value of one hyperparameter from its prior. Faster than `resample`, with other values."""
    return python(space[name].sample_value(seed=np.random.RandomState(rng.bit_generator)))


def activated(
    space: ConfigurationSpace, values: Configuration, rng: np.random.Generator | None = None
) -> Configuration:
    """Legal `values` made a configuration: what is inactive is dropped, what is active and has no value is drawn from
    `rng`, which may be left out where all have one."""
    known: Configuration = dict.fromkeys(space, NotSet)
    for name in space:  # a parent comes before its children
        if all(condition.satisfied_by_value(known) for condition in space.parent_conditions_of[name]):
            if name not in values and rng is None:
                raise UserError(f"configuration: {name} is active and has no value; give it one")
            value = values[name] if name in values else drawn(space, name, rng)  # type: ignore[arg-type]
            known[name] = rounded(value) if isinstance(space[name], FloatHyperparameter) else value
    return {name: known[name] for name in sorted(known) if known[name] is not NotSet}


def rounded(value: Any) -> Any:
    """As ConfigSpace gives back a number from a range of floats, to so many decimals, so that equal configurations have
    equal keys; choices and ordinals it gives back as they were declared."""
    return round(value, ROUND_PLACES) if isinstance(value, float) else value


def nudge(space: ConfigurationSpace, configuration: Configuration, rng: np.random.Generator) -> Configuration:
    """With one of the active hyperparameters moved to a neighbour, as ConfigSpace has it: a normal step of a fifth of
    the range of a number, a rank next to an ordinal's, another value of a choice."""
    movable = [name for name in sorted(configuration) if space[name].size > 1]
    if not movable:
        return dict(configuration)
    name = movable[rng.integers(len(movable))]
    state = np.random.RandomState(int(rng.integers(2**31)))
    moved = np.atleast_1d(space[name].neighbors_values(configuration[name], n=1, seed=state))
    return complete(space, {**configuration, name: python(moved[0])})


def encoded(space: ConfigurationSpace, configuration: Configuration) -> list[float]:
    """Coordinates in the unit cube for a distance-based kernel: numbers and ordinals on their own scale, a column for
    each value of a choice; what is inactive lies at 0."""
    point: list[float] = []
    for name, hp in space.items():
        value = configuration.get(name)
        if isinstance(hp, CategoricalHyperparameter):
            point += [float(value == choice) for choice in hp.choices]
        else:
            steps = hp.size - 1 if isinstance(hp, OrdinalHyperparameter) else 1  # whose vectors are ranks
            point.append(0.0 if value is None else float(hp.to_vector(value)) / max(steps, 1))
    return point


def _is_scalar_for(hyperparameter: Hyperparameter, value: Any) -> bool:
    """Whether a value is of a kind that `legal_value` can judge: it takes [0.1] for .1, and true for 1."""
    if isinstance(hyperparameter, NumericalHyperparameter):
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return isinstance(value, str | int | float | np.generic | None)


def complete(space: ConfigurationSpace, values: Configuration) -> Configuration:
    """Make `values` valid: drop what became inactive, give what became active its default.

    Raises:
        UserError: a value lies outside its hyperparameter's range, or a name is not in the space.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"configuration: {values!r}; give a mapping of hyperparameters' names to values")
    unknown = sorted(set(values) - set(space.keys()))
    if unknown:
        raise UserError(f"configuration: unknown hyperparameter {unknown[0]!r}; known: {', '.join(sorted(space))}")
    for name, value in values.items():
        if not _is_scalar_for(space[name], value) or not space[name].legal_value(value):
            raise UserError(f"configuration: {name}={value!r} is outside {space[name]}")
    full = {name: values.get(name, space[name].default_value) for name in space}
    return plain(deactivate_inactive_hyperparameters(full, space))


def refuse_unbounded(space: ConfigurationSpace | Space, method: str) -> None:
    """At the door of a method that divides the space's box evenly.

    Raises:
        UserError: the space is no ConfigurationSpace, has forbidden clauses, or a hyperparameter that is drawn from
            another distribution than the uniform one.
    """
    refuse_others(space, method)
    for hp in space.values():  # type: ignore[union-attr]
        if not isinstance(hp, UniformFloatHyperparameter | UniformIntegerHyperparameter | Constant) and not (
            hasattr(hp, "choices") or hasattr(hp, "sequence")
        ):
            raise UserError(f"{method}: cannot divide {hp}; use a uniform float or integer, categorical or ordinal")


def from_unit(space: ConfigurationSpace, point: Sequence[float]) -> Configuration:
    """The configuration at a point of the unit cube, one coordinate in [0, 1] for each hyperparameter of the space.

    Numbers are scaled linearly or logarithmically as the space has them, choices get equal shares of the interval.
    Hyperparameters that are inactive there are left out.
    """
    values = {}
    for hp, u in zip(space.values(), point, strict=True):
        if isinstance(hp, UniformFloatHyperparameter | UniformIntegerHyperparameter):
            values[hp.name] = python(hp.to_value(min(max(u, 0.0), 1.0)))
        elif isinstance(hp, Constant):
            values[hp.name] = hp.value
        else:
            values[hp.name] = python(hp.to_value(min(int(u * hp.size), hp.size - 1)))  # their vectors are indices
    return activated(space, values)
