"""Repeated trainings of a configuration, for all optimizers alike, where one training is too noisy to be decisive.

Each that reaches the highest fidelity is trained `Problem.repeats` times; the optimizer is told the mean.
"""

from dataclasses import replace
from typing import Any

from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Problem
from jahslib.core.trials import Asked, History, Suggestion, Trial, mean_of


class Repeats:
    """A wrapper that shows the `inner` optimizer all trainings of a configuration as a single trial."""

    def __init__(self, inner: Optimizer, problem: Problem):
        self.inner, self.problem = inner, problem
        self._outer: History | None = None

    def describe(self) -> dict[str, Any]:
        """Return the inner optimizer's settings; the repeats are in the problem's description."""
        return self.inner.describe()

    def ask(self, history: History) -> Suggestion | None:
        """Propose a due repetition, else the inner optimizer's suggestion; see `Optimizer.ask`."""
        self._catch_up(history)
        if self._due:
            return replace(self._leader, parent=None, bracket=None, rung=None, origin="repeat")
        proposed = self.inner.ask(self._shown)
        if proposed is None or proposed.parent is None:
            return proposed
        return replace(proposed, parent=self._leaders[proposed.parent])

    def _catch_up(self, history: History) -> None:
        if history is not self._outer:
            self._outer, self._read, self._shown = history, 0, History()
            self._due = 0  # repetitions of the last leader still to be asked for
            self._leaders: list[int] = []  # outer id by inner id
            self._groups: dict[int, list[int]] = {}  # by inner id: its trainings' outer ids
            self._inner_id: dict[int, int] = {}  # by outer id
            self._done: dict[int, Trial] = {}
        for event in history.events[self._read :]:
            if isinstance(event, Asked):
                self._asked(event)
            else:
                self._finished(event)
        self._read = len(history.events)

    def _asked(self, event: Asked) -> None:
        if self._due:
            self._due -= 1
            inner = len(self._leaders) - 1
        else:
            self._leader = suggestion = event.suggestion
            parent = suggestion.parent
            inner = self._shown.ask(
                suggestion if parent is None else replace(suggestion, parent=self._inner_id[parent])
            )
            self._leaders.append(event.id)
            self._shown.given += event.id < self._outer.given  # type: ignore[union-attr]
            full = suggestion.fidelity >= self.problem.fidelity.high
            if full and self.problem.admits(suggestion.configuration):
                self._due = self.problem.repeats - 1
        self._inner_id[event.id] = inner
        self._groups.setdefault(inner, []).append(event.id)

    def _finished(self, trial: Trial) -> None:
        self._done[trial.id] = trial
        inner = self._inner_id[trial.id]
        group = self._groups[inner]
        still_due = self._due if inner == len(self._leaders) - 1 else 0
        if not still_due and all(trial_id in self._done for trial_id in group):
            merged = mean_of([self._done[trial_id] for trial_id in group])
            self._shown.finish(replace(merged, **vars(self._shown.suggestions[inner]), id=inner))
