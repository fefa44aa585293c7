"""What an optimizer is, and the bases of ours: a description of the settings, and state that is only a cache.

That state is brought up to date from the history's events before each suggestion, and rebuilt from the start when
another history is given. A logged suggestion is a fact: where this machine would have proposed another one, the
optimizer is told the logged one and goes on from there.
"""

import logging
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from jahslib.core.problem import Problem
from jahslib.core.trials import Asked, Configuration, History, Suggestion, Trial
from jahslib.errors import UserError

log = logging.getLogger(__name__)


class Optimizer(Protocol):
    """What it proposes depends only on its settings, its seed and the history."""

    def ask(self, history: History) -> Suggestion | None:
        """The next suggestion; None while it must wait for a pending trial, or, with none pending, when it is done."""
        ...

    def describe(self) -> dict[str, Any]:
        """Its settings and seed in JSON types, for the fingerprint."""
        ...


SEEDS = 2**32  # what NumPy's RandomState, which SMAC and scikit-learn rest on, can be seeded with


def checked_seed(seed: Any, place: str = "seed") -> int:
    """A seed as Python's own int.

    Raises:
        UserError: it is no whole number from 0 to 2^32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < SEEDS:
        raise UserError(f"{place}: {seed!r}; give a whole number from 0 to {SEEDS - 1}")
    return int(seed)


class Described:
    """Base of optimizers that are dataclasses with `problem` and `seed`.

    Raises:
        UserError: see `checked_seed`.
    """

    problem: Problem
    seed: int

    def __post_init__(self):
        self.seed = checked_seed(self.seed, f"{type(self).__name__}: seed")

    def _refuse_no_count(self, method: str, *names: str, least: int = 1) -> None:
        """Make settings Python's own whole numbers; None stays where it is the default.

        Raises:
            UserError: one is no whole number, or below `least`.
        """
        for name in names:
            value = getattr(self, name)
            if getattr(type(self), name, 0) is None and value is None:
                continue
            number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
            if not (number and least <= value < math.inf and value == int(value)):
                raise UserError(f"{method}: {name}={value!r}; give a whole number, {least} or more")
            setattr(self, name, int(value))

    def describe(self) -> dict[str, Any]:
        """The class's name and every field but the problem; see `Optimizer`."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.init and f.name != "problem"}  # type: ignore[arg-type]
        return {"name": type(self).__name__, **settings}


class Replayed(Described, ABC):
    """Base of those that keep state between suggestions; subclasses write the steps below."""

    @abstractmethod
    def start(self) -> None:
        """Forget everything."""

    @abstractmethod
    def propose(self) -> Suggestion | None:
        """The next suggestion; None while it must wait, or when it is done."""

    def accept(self, id: int) -> None:
        """Take note that the last proposal became trial `id`."""

    @abstractmethod
    def adopt(self, id: int, suggestion: Suggestion) -> None:
        """Take note that a suggestion from a log, which was not proposed here, became trial `id`.

        Called only after `start`, with all suggestions of a history whose decisions this machine does not repeat.
        """

    @abstractmethod
    def observe(self, trial: Trial) -> None:
        """Take note that a trial has finished."""

    def rederives(self) -> bool:
        """Whether `propose` must be called for the next logged suggestion too, for the state to become what it was.

        An optimizer whose proposals depend on nothing but what it was told answers no, and resumes at no cost.
        """
        return True

    def ask(self, history: History) -> Suggestion | None:
        """See `Optimizer`."""
        self._catch_up(history)
        if self._proposal is None:
            self._proposal = self.propose()
        return self._proposal

    def _catch_up(self, history: History) -> None:
        if self.__dict__.get("_history") is not history:
            self._restart(history)
        while self._told < len(history.events):
            event = history.events[self._told]
            # A proposal that was not taken up before the next result has advanced the state past the history.
            if isinstance(event, Trial) and self._proposal is not None:
                self._restart(history)
                continue
            if isinstance(event, Trial):
                self.observe(event)
            elif not self._take_up(event):
                continue
            self._told += 1

    def _restart(self, history: History) -> None:
        if self.__dict__.get("_history") is not history:
            self._history, self._adopts = history, False
        self._told, self._proposal = 0, None
        self.start()

    def _take_up(self, event: Asked) -> bool:
        """Follow a suggestion of the history; False when that begins anew, with all suggestions as they are logged."""
        own = self._proposal
        if own is None and not self._adopts and self.rederives():
            own = self.propose()
            if own != event.suggestion:
                log.info("%s: trial %d is taken as it is logged, not as derived here", type(self).__name__, event.id)
                self._adopts = True
                self._restart(self._history)
                return False
        self._proposal = None
        if own == event.suggestion:
            self.accept(event.id)
        elif own is None:
            self.adopt(event.id, event.suggestion)
        else:  # proposed here, and another one was taken up instead
            self._adopts = True
            self._restart(self._history)
            return False
        return True


@dataclass
class Listed(Described):
    """Proposes the given configurations in turn, at the highest fidelity: for grids, defaults and retrained winners."""

    problem: Problem
    seed: int
    configurations: list[Configuration]

    def ask(self, history: History) -> Suggestion | None:
        turn = len(history.suggestions)
        if turn >= len(self.configurations):
            return None
        return Suggestion(self.configurations[turn], self.problem.fidelity.high)
