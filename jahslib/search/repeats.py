"""Repeated trainings of a configuration, for all optimizers alike, where one training is too noisy to be decisive.

Each that reaches the highest fidelity is trained `Problem.repeats` times; the optimizer is told the mean.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Problem
from jahslib.core.trials import Asked, History, Suggestion, Trial, key, merged


def repeating(optimizer: Optimizer, problem: Problem | None) -> Optimizer:
    """Wrap an optimizer whose problem asks for repeats, as a search of it does."""
    return Repeats(optimizer, problem) if problem is not None and problem.repeats > 1 else optimizer


class Repeats:
    """A wrapper that shows the `inner` optimizer all trainings of a configuration as a single trial.

    Those of a warm start are joined by their configuration and fidelity, in whatever order and number they came.
    """

    def __init__(self, inner: Optimizer, problem: Problem):
        self.inner, self.problem = inner, problem
        self._outer: History | None = None

    def describe(self) -> dict[str, Any]:
        """Return the inner optimizer's settings; the repeats are in the problem's description."""
        return self.inner.describe()

    def ask(self, history: History) -> Suggestion | None:
        """Propose a due repetition, else the inner optimizer's suggestion; see `Optimizer.ask`."""
        self._catch_up(history)
        if self._due[len(self._leaders) - 1]:
            return replace(self._leader, parent=None, bracket=None, rung=None, origin="repeat")
        proposed = self.inner.ask(self._shown)
        if proposed is None or proposed.parent is None:
            return proposed
        return replace(proposed, parent=self._leaders[proposed.parent])

    def _catch_up(self, history: History) -> None:
        if history is not self._outer:
            self._outer, self._read, self._shown = history, 0, History()
            self._leaders: list[int] = []  # outer id by inner id
            self._groups: dict[int, list[int]] = {}  # by inner id: its trainings' outer ids
            self._due: Counter[int] = Counter()  # by inner id: trainings still to come
            self._inner_id: dict[int, int] = {}  # by outer id
            self._done: dict[int, Trial] = {}
            given = filter(self.problem.is_full, history.suggestions[: history.given])
            self._given = Counter(key(suggestion.configuration) for suggestion in given)  # trainings in a warm start
            self._given_as: dict[str, int] = {}  # inner ids of these
        for event in history.events[self._read :]:
            if isinstance(event, Asked):
                self._asked(event)
            else:
                self._finished(event)
        self._read = len(history.events)

    def _asked(self, event: Asked) -> None:
        last, wanted = len(self._leaders) - 1, 1
        given = event.id < self._outer.given  # type: ignore[union-attr]
        inner = last if self._due[last] and not given else None
        if self.problem.is_full(event.suggestion):
            if given:
                name = key(event.suggestion.configuration)
                wanted, inner = self._given[name], self._given_as.get(name)
                self._given_as.setdefault(name, last + 1)
            elif self.problem.admits(event.suggestion.configuration):
                wanted = self.problem.repeats
        if inner is None:
            inner = self._lead(event)
            self._due[inner] = wanted
        self._due[inner] -= 1
        self._inner_id[event.id] = inner
        self._groups.setdefault(inner, []).append(event.id)

    def _lead(self, event: Asked) -> int:
        self._leader = suggestion = event.suggestion
        parent = suggestion.parent
        self._leaders.append(event.id)
        self._shown.given += event.id < self._outer.given  # type: ignore[union-attr]
        return self._shown.ask(suggestion if parent is None else replace(suggestion, parent=self._inner_id[parent]))

    def _finished(self, trial: Trial) -> None:
        self._done[trial.id] = trial
        inner = self._inner_id[trial.id]
        group = self._groups[inner]
        if not self._due[inner] and all(trial_id in self._done for trial_id in group):
            mean = merged([self._done[trial_id] for trial_id in group])
            self._shown.finish(replace(mean, **vars(self._shown.suggestions[inner]), id=inner))
