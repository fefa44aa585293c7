"""ConfigSpace helpers: configurations as plain dictionaries of the active hyperparameters.

Every draw comes from the generator passed in; ConfigSpace's own random state is set from it before each use, so that a
space carries no state from one call to the next.
"""

import hashlib
import itertools
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
from jahslib.errors import UserError, refuse_unknown

FEW, MANY = 100, 10_000  # draws in vain before a space is listed, and configurations of one that is
UNIFORM = (UniformFloatHyperparameter, UniformIntegerHyperparameter)


def plain(configuration: CSConfiguration) -> Configuration:
    """Convert a ConfigSpace configuration to the active hyperparameters, as values of Python's own types."""
    return {name: python(configuration[name]) for name in sorted(configuration.keys())}


def python(value: Any) -> Any:
    """Convert a NumPy scalar to Python's own type; leave other values as they are."""
    return value.item() if isinstance(value, np.generic) else value


def choices(hyperparameter: Hyperparameter) -> list:
    """List the values of a choice, an ordinal or a constant in order; empty for a number."""
    if isinstance(hyperparameter, Constant):
        return [python(hyperparameter.value)]
    values = getattr(hyperparameter, "choices", getattr(hyperparameter, "sequence", ()))
    return [python(value) for value in values]


def digest(configuration: Configuration) -> str:
    """Hash a configuration to eight hexadecimal digits, for file names."""
    return hashlib.sha256(key(configuration).encode()).hexdigest()[:8]


def read(space: ConfigurationSpace, path: str | Path) -> Configuration:
    """Read a configuration from a JSON file as `Report.configuration` writes it; absent values get their defaults.

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
    """Raise `UserError` unless `space` is a ConfigurationSpace; `forbidden` allows it to have forbidden clauses."""
    if not isinstance(space, ConfigurationSpace):
        raise UserError(
            f"{method}: works on a ConfigurationSpace, not on {space}; "
            "use random search, regularized evolution or grammar BO"
        )
    if not forbidden:
        refuse_forbidden_clauses(space, method)


def refuse_forbidden_clauses(space: ConfigurationSpace | Space, method: str) -> None:
    """Raise `UserError` if the space has forbidden clauses, which the method does not support."""
    if isinstance(space, ConfigurationSpace) and space.forbidden_clauses:
        raise UserError(
            f"{method}: supports no forbidden clauses, such as {space.forbidden_clauses[0]}; use random search or "
            "BOHB, or a constraint on a metric known before training"
        )


def refuse_unloggable(space: ConfigurationSpace | Space | None) -> None:
    """Raise `UserError` for a value that JSON, the log's format, does not preserve, or a choice of weight 0."""
    for name, hp in space.items() if isinstance(space, ConfigurationSpace) else ():
        for value in (name, *choices(hp)):
            if not _is_loggable(value):
                raise UserError(f"space: {value!r} of {name!r} is no text, number or truth value; name it by a text")
        for value, share in zip(getattr(hp, "choices", ()), getattr(hp, "probabilities", ()), strict=False):
            if share == 0:
                raise UserError(f"space: the choice {value!r} of {name} has weight 0; leave it out of the choices")


def _is_loggable(value: Any) -> bool:
    if isinstance(value, str):
        return value.encode(errors="replace").decode() == value  # lone surrogates cannot be encoded
    return value is None or (isinstance(value, int | float) and abs(value) < math.inf)


def sample(space: ConfigurationSpace | Space, rng: np.random.Generator) -> Configuration:
    """Draw a configuration from the space's priors."""
    if not isinstance(space, ConfigurationSpace):
        return space.sample(rng)
    space.seed(int(rng.integers(2**31)))
    return plain(space.sample_configuration())


def first_of(
    draw: Callable[[], Configuration],
    accept: Callable[[Configuration], bool],
    attempts: int,
    space: ConfigurationSpace | Space | None = None,
) -> Configuration | None:
    """Return the first accepted configuration of `attempts` draws, else None, early if a small `space` has none."""
    for attempt in range(attempts):
        if attempt == FEW and (all_ := everything(space, MANY)) is not None and not any(map(accept, all_)):
            return None
        if accept(drawn := draw()):
            return drawn
    return None


def everything(space: ConfigurationSpace | Space | None, most: int) -> list[Configuration] | None:
    """List a space's configurations as `Space.everything` does."""
    if not isinstance(space, ConfigurationSpace):
        return space and space.everything(most)
    if math.prod(float(hp.size) for hp in space.values()) > most:  # of a float's it is infinite
        return None
    values = [choices(hp) or range(hp.lower, hp.upper + 1) for hp in space.values()]  # type: ignore[attr-defined]
    listed = (activated(space, dict(zip(space, combined, strict=True))) for combined in itertools.product(*values))
    return [c for c in listed if not any(clause.is_forbidden_value(c) for clause in space.forbidden_clauses)]


def sample_where(
    space: ConfigurationSpace | Space,
    rng: np.random.Generator,
    accept: Callable[[Configuration], bool],
    attempts: int = 10_000,
) -> Configuration | None:
    """Draw an accepted configuration; None after `attempts` rejections."""
    return first_of(lambda: sample(space, rng), accept, attempts, space)


def mutate(
    space: ConfigurationSpace | Space,
    configuration: Configuration,
    rng: np.random.Generator,
    newly_active: Literal["drawn", "default"] = "default",
) -> Configuration:
    """Resample an active hyperparameter; what becomes active is drawn as well, or starts at its default."""
    if not isinstance(space, ConfigurationSpace):
        return space.mutate(configuration, rng)
    name = sorted(configuration)[rng.integers(len(configuration))]
    if newly_active == "drawn":
        return activated(space, {**configuration, name: drawn(space, name, rng)}, rng)
    state = np.random.RandomState(int(rng.integers(2**31)))
    return complete(space, {**configuration, name: python(space[name].sample_value(seed=state))})


def drawn(space: ConfigurationSpace, name: str, rng: np.random.Generator) -> Any:
    """Draw a value of one hyperparameter from its prior."""
    return python(space[name].sample_value(seed=np.random.RandomState(rng.bit_generator)))


def activated(
    space: ConfigurationSpace, values: Configuration, rng: np.random.Generator | None = None
) -> Configuration:
    """Turn legal `values` into a configuration: drop inactive ones, draw those that active ones lack from `rng`.

    Raises:
        UserError: an active hyperparameter has no value and there is no `rng`.
    """
    known: Configuration = dict.fromkeys(space, NotSet)
    for name in space:  # a parent comes before its children
        if all(condition.satisfied_by_value(known) for condition in space.parent_conditions_of[name]):
            if name not in values and rng is None:
                raise UserError(f"configuration: {name} is active and has no value; give it one")
            value = values[name] if name in values else drawn(space, name, rng)  # type: ignore[arg-type]
            known[name] = rounded(value) if isinstance(space[name], FloatHyperparameter) else value  # not of choices
    return {name: known[name] for name in sorted(known) if known[name] is not NotSet}


def rounded(value: Any) -> Any:
    """Round a float to ConfigSpace's precision, so that equal configurations have equal keys."""
    return round(value, ROUND_PLACES) if isinstance(value, float) else value


def nudge(space: ConfigurationSpace, configuration: Configuration, rng: np.random.Generator) -> Configuration:
    """Move one of the active hyperparameters to a neighbour in ConfigSpace's sense.

    Numbers take a normal step with a standard deviation of a fifth of the range, ordinals an adjacent rank, choices
    another value.
    """
    movable = [name for name in sorted(configuration) if space[name].size > 1]
    if not movable:
        return dict(configuration)
    name = movable[rng.integers(len(movable))]
    state = np.random.RandomState(int(rng.integers(2**31)))
    moved = np.atleast_1d(space[name].neighbors_values(configuration[name], n=1, seed=state))
    return completed(space, {**configuration, name: python(moved[0])})


def encoded(space: ConfigurationSpace, configurations: Sequence[Configuration]) -> np.ndarray:
    """Encode configurations in the unit cube, for distance-based kernels: `configurations x columns`.

    Numbers and ordinals have one column on their own scale, choices are one-hot; inactive hyperparameters are 0.
    """
    columns = []
    for name, hp in space.items():
        values = [configuration.get(name) for configuration in configurations]
        if isinstance(hp, CategoricalHyperparameter):
            columns += [[float(value == choice) for value in values] for choice in hp.choices]
        elif isinstance(hp, OrdinalHyperparameter):
            ranks, steps = list(hp.sequence), max(hp.size - 1, 1)
            columns.append([0.0 if value is None else ranks.index(value) / steps for value in values])
        else:
            column, active = np.zeros(len(values)), [value is not None for value in values]
            if any(active):
                column[active] = hp.to_vector(np.array([value for value in values if value is not None]))
            columns.append(column)
    return np.stack(columns, axis=1)


def _is_scalar_for(hyperparameter: Hyperparameter, value: Any) -> bool:
    """Tell whether `legal_value` can judge a value: it accepts [0.1] for .1, and true for 1."""
    if isinstance(hyperparameter, NumericalHyperparameter):
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return isinstance(value, str | int | float | np.generic | None)


def complete(space: ConfigurationSpace, values: Configuration) -> Configuration:
    """Make `values` valid: drop what became inactive, set what became active to its default.

    Raises:
        UserError: a value lies outside its hyperparameter's range, or a name is not in the space.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"configuration: {values!r}; give a mapping of hyperparameters' names to values")
    refuse_unknown("configuration: hyperparameter", values, space)
    for name, value in values.items():
        if not _is_scalar_for(space[name], value) or not space[name].legal_value(value):
            raise UserError(f"configuration: {name}={value!r} is outside {space[name]}")
    full = {name: values.get(name, space[name].default_value) for name in space}
    return plain(deactivate_inactive_hyperparameters(full, space))


def completed(space: ConfigurationSpace, values: Configuration) -> Configuration:
    """Complete legal values of Python's types: five times as fast as `complete` where no clauses forbid anything."""
    if space.forbidden_clauses:
        return complete(space, values)
    return activated(space, {name: python(values.get(name, hp.default_value)) for name, hp in space.items()})


def refuse_unbounded(space: ConfigurationSpace | Space, method: str) -> None:
    """Raise `UserError` unless the space can be divided evenly: no forbidden clauses, no non-uniform distribution."""
    refuse_others(space, method)
    for hp in space.values():  # type: ignore[union-attr]
        if not isinstance(hp, UNIFORM) and not choices(hp):
            raise UserError(f"{method}: cannot divide {hp}; use a uniform float or integer, categorical or ordinal")


def from_unit(space: ConfigurationSpace, point: Sequence[float]) -> Configuration:
    """Map a point of the unit cube to a configuration, one coordinate per hyperparameter, active or not.

    Numbers are scaled linearly or logarithmically as declared, choices get equal shares of the interval.
    """
    values = {}
    for hp, u in zip(space.values(), point, strict=True):
        if isinstance(hp, UNIFORM):
            values[hp.name] = python(hp.to_value(min(max(u, 0.0), 1.0)))
        else:
            values[hp.name] = python(hp.to_value(min(int(u * hp.size), hp.size - 1)))  # vectors of choices are indices
    return activated(space, values)
