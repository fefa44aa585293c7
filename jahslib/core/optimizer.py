"""The optimizer interface and base classes whose state can be rebuilt from the history.

The state of a `Replayed` optimizer is only a cache: each call of `ask` first updates it with the new events of the
history, or rebuilds it if another history is passed. Logged suggestions are authoritative: where this machine would
have proposed another one (floating-point differences), the optimizer adopts the logged one and continues from there.
"""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, ClassVar, Protocol

from jahslib.core.problem import Problem, refuse_incomplete
from jahslib.core.trials import Asked, Configuration, History, Suggestion, Trial
from jahslib.errors import Bounds, refuse_illegal

log = logging.getLogger(__name__)


class Optimizer(Protocol):
    """Ask interface: proposals depend only on the settings, the seed and the history."""

    def ask(self, history: History) -> Suggestion | None:
        """Propose the next suggestion; None while it must wait for a pending trial or, without one, when done."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return settings and seed in JSON types, for the log's fingerprint."""
        ...


SEEDS = 2**32  # NumPy's RandomState, used by SMAC and scikit-learn, accepts smaller seeds only
Seed = Annotated[int, Bounds(0, SEEDS - 1)]


@dataclass
class Described:
    """Base of optimizers that are dataclasses; refuses seeds and settings that their types do not admit."""

    problem: Problem
    seed: Seed

    later: ClassVar[tuple[str, ...]] = ()  # settings younger than the first logs, described only where they are used

    def __post_init__(self):
        refuse_incomplete(self.problem, computed=False)
        refuse_illegal(self, f"{type(self).__name__}: ")

    def describe(self) -> dict[str, Any]:
        """Return the class name and all fields except the problem; see `Optimizer`."""
        settings = {name: value for name, value in self._settings().items() if value or name not in self.later}
        return {"name": type(self).__name__, **settings}

    def _settings(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init and f.name != "problem"}

    def __reduce__(self) -> tuple:
        """Pickle the settings alone: all else follows from the history."""
        return partial(type(self), self.problem, **self._settings()), ()


class Replayed(Described, ABC):
    """Base of stateful optimizers; subclasses implement the abstract steps."""

    @abstractmethod
    def start(self) -> None:
        """Reset to the initial state."""

    @abstractmethod
    def propose(self) -> Suggestion | None:
        """Propose the next suggestion; None while it must wait, or when it is done."""

    def accept(self, trial_id: int) -> None:
        """Record that the last proposal became trial `trial_id`; by default as `adopt` does."""
        self.adopt(trial_id, self._history.suggestions[trial_id])

    @abstractmethod
    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        """Record that a logged suggestion which was not proposed here became `trial_id`; called only after `start`."""

    @abstractmethod
    def observe(self, trial: Trial) -> None:
        """Record that a trial has finished."""

    def rederives(self) -> bool:
        """Tell whether replaying calls `propose`: not needed, and free, where that depends only on what was told."""
        return True

    def ask(self, history: History) -> Suggestion | None:
        """Bring the state up to date with the history and propose; see `Optimizer.ask`."""
        self._catch_up(history)
        if self._proposal is None:
            self._proposal = self.propose()
        return self._proposal

    def _catch_up(self, history: History) -> None:
        if self.__dict__.get("_history") is not history:
            self._history, self._adopts = history, False
            self._restart()
        while self._told < len(history.events):
            event = history.events[self._told]
            # An unused proposal has advanced the state beyond the history.
            if isinstance(event, Trial) and self._proposal is not None:
                self._restart()
                continue
            if isinstance(event, Trial):
                self.observe(event)
            elif not self._take_up(event):
                continue
            self._told += 1

    def _restart(self) -> None:
        self._told, self._proposal = 0, None
        self.start()

    def _take_up(self, event: Asked) -> bool:
        """Follow a suggestion of the history; False if the replay restarts, adopting all suggestions as logged."""
        own = self._proposal
        # a resumed search that adopted its own suggestions behind given ones too would go on from another state
        derived = own is None and not self._adopts and event.id >= self._history.given and self.rederives()
        if derived:
            own = self.propose()
        self._proposal = None
        if own == event.suggestion:
            self.accept(event.id)
        elif own is None and not derived:
            self.adopt(event.id, event.suggestion)
        else:
            if derived:
                log.info("%s: trial %d is taken as it is logged, not as derived here", type(self).__name__, event.id)
            self._adopts = True
            self._restart()
            return False
        return True


@dataclass
class Listed(Described):
    """Proposes given configurations in turn at the highest fidelity: grids, defaults, the retraining of winners."""

    configurations: list[Configuration]

    def ask(self, history: History) -> Suggestion | None:
        turn = len(history.suggestions)
        if turn >= len(self.configurations):
            return None
        return Suggestion(self.configurations[turn], self.problem.fidelity.high)
