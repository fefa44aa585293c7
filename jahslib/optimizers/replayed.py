"""Base of the optimizers that keep state between suggestions.

Their state is only a cache of the history: it is brought up to date from the history's events before each suggestion,
and rebuilt from the start when the history is not a continuation of what was seen. So a fresh object given a long
history proposes what the object that lived through it would have proposed.
"""

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any

from jahslib.errors import UserError
from jahslib.problem import Problem
from jahslib.trials import Asked, History, Suggestion, Trial


class Described:
    """`describe` for optimizers that are dataclasses: the class's name and every field but the problem."""

    def describe(self) -> dict[str, Any]:
        """See `jahslib.search.Optimizer`."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.init and f.name != "problem"}  # type: ignore[arg-type]
        return {"name": type(self).__name__, **settings}


class Replayed(Described, ABC):
    """Subclasses are dataclasses with `problem` and `seed`, and write the four steps below."""

    problem: Problem
    seed: int

    @abstractmethod
    def start(self) -> None:
        """Forget everything."""

    @abstractmethod
    def propose(self) -> Suggestion | None:
        """The next suggestion; None changes nothing."""

    def accept(self, id: int) -> None:
        """The last proposal became trial `id`."""

    @abstractmethod
    def observe(self, trial: Trial) -> None:
        """A trial has finished."""

    def ask(self, history: History) -> Suggestion | None:
        self._catch_up(history)
        if self._proposal is None:
            self._proposal = self.propose()
        return self._proposal

    def _catch_up(self, history: History) -> None:
        seen: list = self.__dict__.setdefault("_seen", [])
        continues = len(seen) <= len(history.events) and all(a is b for a, b in zip(seen, history.events, strict=False))
        # A proposal that was never taken up has advanced the state past the history.
        untaken = self.__dict__.get("_proposal") is not None and (
            len(seen) < len(history.events) and not isinstance(history.events[len(seen)], Asked)
        )
        if not seen or not continues or untaken:
            self._seen, self._proposal = [], None
            self.start()
        for event in history.events[len(self._seen) :]:
            if isinstance(event, Asked):
                self._take_up(event)
            else:
                self.observe(event)
            self._seen.append(event)

    def _take_up(self, event: Asked) -> None:
        proposal = self.propose() if self._proposal is None else self._proposal
        if proposal != event.suggestion:
            raise UserError(
                f"{type(self).__name__}: trial {event.id} of the log is {event.suggestion}, but the same history now "
                f"leads to {proposal}; resume with the package versions in the log's header, or start over (fresh)"
            )
        self._proposal = None
        self.accept(event.id)
