"""A grammar as a search space: an `architecture` term beside ordinary hyperparameters.

    space = GrammarSpace(examples.grammar("hierarchical"), ConfigurationSpace({"rate": (1e-4, 0.1)}), "hierarchical")
    space.sample(rng)  # {"architecture": "(D2 Linear3 ...)", "rate": 0.05}

Configurations hold the LISP-like form, so that they go to the trial log and to other processes as they are. A `Point`
is the same with the parsed term, which optimizers work on.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ConfigSpace import Configuration as CSConfiguration
from ConfigSpace import ConfigurationSpace
from ConfigSpace.exceptions import ForbiddenValueError

from jahslib.core.problem import Space
from jahslib.core.trials import Configuration
from jahslib.errors import UserError
from jahslib.spaces import configurations as spaces
from jahslib.spaces.grammars import evolve
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term

ARCHITECTURE = "architecture"
ATTEMPTS = 100  # to find a neighbour that is not forbidden


class Point(NamedTuple):
    """A parsed configuration: the term, and the active hyperparameters as (name, value) by name."""

    term: Term
    numeric: tuple[tuple[str, Any], ...] = ()

    @property
    def configuration(self) -> Configuration:
        """The configuration, for the trial log."""
        return {ARCHITECTURE: str(self.term), **dict(self.numeric)}


@dataclass(frozen=True)
class GrammarSpace(Space):
    """The product of a grammar's terms and a space of ordinary hyperparameters.

    Args:
        grammar: of the architectures.
        hyperparameters: searched together with the architecture; None for the architecture alone.
        name: of the grammar, in tables and messages.

    Raises:
        UserError: neither grammar nor space, or a hyperparameter that is named `architecture` or has values that no log
            can hold.
    """

    grammar: Grammar
    hyperparameters: ConfigurationSpace | None = None
    name: str = "grammar"

    def __post_init__(self):
        if not isinstance(self.grammar, Grammar):
            raise UserError(f"grammar space: grammar is {self.grammar!r}; give it a Grammar")
        if not isinstance(self.hyperparameters, ConfigurationSpace | None):
            raise UserError(f"grammar space: hyperparameters is {self.hyperparameters!r}; give it a ConfigurationSpace")
        if self.hyperparameters is not None and ARCHITECTURE in self.hyperparameters:
            raise UserError(f"grammar space: {ARCHITECTURE!r} is the term's own name; rename that hyperparameter")
        spaces.refuse_unloggable(self.hyperparameters)

    def __str__(self) -> str:
        beside = f" beside {', '.join(self.hyperparameters)}" if self.hyperparameters is not None else ""
        return f"grammar space {self.name}{beside}"

    def to_serialized_dict(self) -> dict[str, Any]:
        """Describe the space in JSON types, for the log's fingerprint."""
        return {
            "grammar": self.grammar.text,
            "max_depth": self.grammar.max_depth,
            "name": self.name,
            "hyperparameters": None if self.hyperparameters is None else self.hyperparameters.to_serialized_dict(),
        }

    # Configurations -----------------------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Configuration:
        """Draw a term from the grammar and hyperparameters from their priors."""
        return self.draw(rng).configuration

    def everything(self, most: int) -> list[Configuration] | None:
        """List all configurations; None where they may be more than `most`."""
        numbers = spaces.everything(self.hyperparameters or ConfigurationSpace(), most // self.grammar.count(most + 1))
        return numbers and [{ARCHITECTURE: str(term), **c} for term in self.grammar.enumerate() for c in numbers]

    def check(self, configuration: Configuration) -> None:
        """Raise `UserError` as `term` does, and ConfigSpace's `ValueError` for other hyperparameters."""
        self.term(configuration)
        CSConfiguration(self.hyperparameters or ConfigurationSpace(), values=self.numeric(configuration))

    def mutate(self, configuration: Configuration, rng: np.random.Generator) -> Configuration:
        """Mutate a configuration; see `vary`."""
        return self.vary(self.point(configuration), rng).configuration

    def term(self, configuration: Configuration) -> Term:
        """Parse the configuration's architecture. Raises `UserError` without one that is of this grammar."""
        if ARCHITECTURE not in configuration:
            raise UserError(
                f"configuration: no {ARCHITECTURE!r} in {sorted(configuration)}; give a term of {self.name}"
            )
        return _parse(self.grammar, configuration[ARCHITECTURE])

    def numeric(self, configuration: Configuration) -> Configuration:
        """Select the hyperparameters: all but the architecture."""
        return {name: value for name, value in configuration.items() if name != ARCHITECTURE}

    def point(self, configuration: Configuration) -> Point:
        """Parse a configuration. Raises `UserError` as `term` does."""
        return Point(self.term(configuration), _sorted(self.numeric(configuration)))

    # Points -------------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Point:
        """Draw a point; see `sample`."""
        term = self.grammar.sample(rng)
        return Point(term, () if self.hyperparameters is None else _sorted(spaces.sample(self.hyperparameters, rng)))

    def vary(self, point: Point, rng: np.random.Generator) -> Point:
        """Mutate the term or, with probability 1/2 if there are any, move one hyperparameter to an allowed neighbour.

        Returns the point itself where nothing could be changed.
        """
        if self.hyperparameters is not None and rng.random() < 0.5:
            for _ in range(ATTEMPTS):
                with suppress(ForbiddenValueError):
                    return Point(point.term, _sorted(spaces.nudge(self.hyperparameters, dict(point.numeric), rng)))
            return point
        return Point(evolve.mutate(self.grammar, point.term, rng) or point.term, point.numeric)

    def cross(self, a: Point, b: Point, rng: np.random.Generator) -> tuple[Point, Point] | None:
        """Cross two points: crossover of the terms and uniform crossover of the hyperparameters.

        Equal terms undergo self-crossover. Each hyperparameter active in both points is swapped with probability 1/2;
        none is if the result violates a forbidden clause. None where no crossover of the terms was found.
        """
        terms = evolve.crossover(self.grammar, a.term, b.term, rng)
        if terms is None:
            return None
        first, second = dict(a.numeric), dict(b.numeric)
        if self.hyperparameters is not None:
            for name in sorted(set(first) & set(second)):
                if rng.random() < 0.5:
                    first[name], second[name] = second[name], first[name]
            try:
                first, second = (spaces.completed(self.hyperparameters, values) for values in (first, second))
            except ForbiddenValueError:
                first, second = dict(a.numeric), dict(b.numeric)
        return Point(terms[0], _sorted(first)), Point(terms[1], _sorted(second))

    def columns(self, points: list[Point]) -> np.ndarray | None:
        """Encode the hyperparameters, if any, in the unit cube (`points x columns`), for kernels."""
        if self.hyperparameters is None:
            return None
        return spaces.encoded(self.hyperparameters, [dict(p.numeric) for p in points])


def _sorted(numeric: Configuration) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(numeric.items()))


# An optimizer needs the terms of all trials at each proposal, and terms cache what was computed from them.
@lru_cache(maxsize=10_000)
def _parse(grammar: Grammar, text: str) -> Term:
    return grammar.parse(text)
