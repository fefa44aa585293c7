"""Suggestions, trials and the history: the records that search loop, optimizers and trial log exchange."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from jahslib.problem import Configuration

Status = Literal["ok", "failed", "rejected", "cut"]


@dataclass(frozen=True)
class Suggestion:
    """What an optimizer asks for: a configuration at a fidelity (epochs).

    `parent` is the trial whose checkpoint a promotion continues. `bracket` and `rung` place it in a Hyperband plan.
    `final` marks the last rung (or the highest fidelity), whose trials compete for the incumbent.
    """

    configuration: Configuration
    fidelity: int
    parent: int | None = None
    bracket: int | None = None
    rung: int | None = None
    final: bool = True


@dataclass(frozen=True)
class Trial(Suggestion):
    """A finished evaluation.

    `status`: ok; failed (`reason` says why; counts as the worst cost); rejected (a constraint known before training
    was broken, nothing was trained); cut (a time limit ended it early; never the incumbent).
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
        return Suggestion(self.configuration, self.fidelity, self.parent, self.bracket, self.rung, self.final)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """The event that suggestion number `id` was made."""

    id: int
    suggestion: Suggestion


class History:
    """All that has happened in a search, in order: suggestions made and trials finished.

    This is the whole input of an optimizer beside its seed. Iterating gives the finished trials in completion order.
    """

    def __init__(self):
        self.events: list[Asked | Trial] = []
        self.trials: list[Trial] = []
        self.pending: dict[int, Suggestion] = {}
        self.suggestions: list[Suggestion] = []

    def ask(self, suggestion: Suggestion) -> int:
        """Record that a suggestion was made and return its trial id."""
        id = len(self.suggestions)
        self.suggestions.append(suggestion)
        self.pending[id] = suggestion
        self.events.append(Asked(id, suggestion))
        return id

    def finish(self, trial: Trial) -> None:
        del self.pending[trial.id]
        self.trials.append(trial)
        self.events.append(trial)

    def lineage(self, id: int) -> tuple[int, ...]:
        """Trial ids from the first ancestor to `id` itself."""
        parent = self.suggestions[id].parent
        return (*(self.lineage(parent) if parent is not None else ()), id)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    def __len__(self) -> int:
        return len(self.trials)
