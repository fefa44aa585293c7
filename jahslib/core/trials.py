"""Suggestions, trials and history: the records shared by search loop, optimizers and log."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

Configuration = dict[str, Any]
Status = Literal["ok", "failed", "rejected", "cut"]
Origin = Literal["", "initial", "random", "model", "variation", "repeat"]


def key(configuration: Configuration) -> str:
    """Serialise a configuration so that equal configurations give equal strings."""
    return json.dumps(configuration, sort_keys=True)


@dataclass(frozen=True)
class Suggestion:
    """An optimizer's request: a configuration at a fidelity, in epochs or in the resource that `Fidelity` names.

    `parent` is the trial whose checkpoint a promotion continues. `bracket` and `rung` place it in a Hyperband plan.
    `final` marks a trial that nothing will continue. `origin` says where the configuration comes from (the initial
    design, a random draw, a model, variation of earlier ones, a requested repetition), or is empty; it takes no part in
    comparisons.
    """

    configuration: Configuration
    fidelity: float
    parent: int | None = None
    bracket: int | None = None
    rung: int | None = None
    final: bool = True
    origin: Origin = field(default="", compare=False)


@dataclass(frozen=True)
class Trial(Suggestion):
    """A finished evaluation.

    `status`: ok; failed (`reason` says why; counts as the worst cost); rejected (a constraint known before training
    was violated, nothing was trained); cut (a time limit ended it early; never the incumbent).
    `epochs` is the training charged, summed over folds; `seconds` the evaluation's own wall time; `elapsed` the
    search's wall time at its end, over all sessions. `asked` counts the suggestions made before this trial was told:
    with the completion order it fixes what every suggestion was based on, so a parallel run can be replayed exactly.
    """

    id: int = -1
    status: Status = "ok"
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    curve: dict[str, list[float]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    epochs: float = 0.0
    seconds: float = 0.0
    elapsed: float = 0.0
    asked: int = 0
    worker: str = ""
    started: float = 0.0
    finished: float = 0.0

    def suggestion(self) -> Suggestion:
        """Return what was asked for, without its results."""
        return Suggestion(**{f.name: getattr(self, f.name) for f in fields(Suggestion)})


def origins(trials: Iterable[Suggestion]) -> dict[str, float]:
    """Compute the share of each origin among the configurations of trials, or of a history; empty without any."""
    told: dict[str, Origin] = {}
    for trial in trials:
        if trial.origin:
            told.setdefault(key(trial.configuration), trial.origin)
    counts = Counter(told.values())
    return {origin: counts[origin] / len(told) for origin in get_args(Origin) if counts[origin]}


def as_proposed(trials: Iterable[Trial]) -> list[Trial]:
    """Sort trials of one search by their proposals: the order they finish in is chance where several train at once."""
    return sorted(trials, key=lambda t: t.id)


def mean_metrics(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average each metric that all have."""
    names = set.intersection(*map(set, measured))
    return {name: sum(metrics[name] for metrics in measured) / len(measured) for name in sorted(names)}


def merged(trials: Sequence[Trial]) -> Trial:
    """Merge trainings of one configuration into the last: metrics averaged, costs summed, ok only if all are."""
    bad = next((t for t in trials if t.status != "ok"), None)
    return replace(
        trials[-1],
        status=bad.status if bad else "ok",
        reason=bad.reason if bad else "",
        metrics=mean_metrics([t.metrics for t in trials]),
        epochs=sum(t.epochs for t in trials),
        seconds=sum(t.seconds for t in trials),
    )


@dataclass(frozen=True)
class Asked:
    """The event that suggestion number `id` was made."""

    id: int
    suggestion: Suggestion


class History:
    """The events of a search in order, suggestions made and trials finished; beside the seed, all an optimizer is told.

    It is append-only and keeps running totals, so that the cost of a decision does not grow with the number of trials:
    `trained` are the finished trials except rejected ones, `spent` the epochs charged so far, `rejected_in_a_row` the
    rejected trials since the last other one, `given` the number of first suggestions, which a warm start brought.
    Iterating gives the finished trials in completion order.
    """

    def __init__(self):
        self.events: list[Asked | Trial] = []
        self.trials: list[Trial] = []
        self.trained: list[Trial] = []
        self.pending: dict[int, Suggestion] = {}
        self.suggestions: list[Suggestion] = []
        self.spent = 0.0
        self.rejected_in_a_row = self.given = 0
        self._keys: set[str] = set()

    def ask(self, suggestion: Suggestion) -> int:
        """Record that a suggestion was made and return its trial id."""
        trial_id = len(self.suggestions)
        self.suggestions.append(suggestion)
        self.pending[trial_id] = suggestion
        self._keys.add(key(suggestion.configuration))
        self.events.append(Asked(trial_id, suggestion))
        return trial_id

    def finish(self, trial: Trial) -> None:
        """Record that a pending trial has finished."""
        del self.pending[trial.id]
        self.trials.append(trial)
        self.rejected_in_a_row += 1
        if trial.status != "rejected":
            self.rejected_in_a_row = 0
            self.trained.append(trial)
        self.spent += trial.epochs
        self.events.append(trial)

    def recall(self, suggestion: Suggestion | None, later: Trial) -> None:
        """Record what was suggested before a logged trial; None, lost in flight, holds its place and is not pending.

        The configuration of the `later` trial fills that place.
        """
        number = self.ask(suggestion or Suggestion(later.configuration, later.fidelity))
        if suggestion is None:
            del self.pending[number]

    def has(self, configuration: Configuration) -> bool:
        """Tell whether a configuration was ever suggested, at any fidelity and with any outcome."""
        return key(configuration) in self._keys

    def lineage(self, trial_id: int) -> tuple[int, ...]:
        """List the trial ids from the first ancestor to `trial_id` itself."""
        ids = [trial_id]
        while (parent := self.suggestions[ids[-1]].parent) is not None:
            ids.append(parent)
        return tuple(reversed(ids))

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    def __len__(self) -> int:
        return len(self.trials)
