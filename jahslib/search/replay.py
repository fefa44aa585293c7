"""On-demand check of whether this machine reproduces the decisions in a trial log.

A model of many trials may turn a last digit, which differs between machines and versions of packages, into another
proposal. A search resumes from its log all the same; this reports where the log's decisions differ from those here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jahslib.core.trials import History, Suggestion
from jahslib.errors import UserError
from jahslib.search import triallog
from jahslib.search.repeats import repeating
from jahslib.search.warm_start import is_copy

SHOWN = 90  # characters of a value


@dataclass(frozen=True)
class Replay:
    """The result of repeating a log's decisions.

    `decisions` were made, `trial` is the first that differs, None where none does; `differences` names each
    hyperparameter and field with (the log's value, this machine's, their relative difference: NaN for non-numbers).
    """

    decisions: int
    trial: int | None = None
    differences: dict[str, tuple[Any, Any, float]] | None = None

    def __str__(self) -> str:
        if self.trial is None:
            return f"all {self.decisions} decisions repeated"
        told = [
            "{} {} in the log, {} here".format(name, *_where_apart(repr(found), repr(own)))
            + ("" if math.isnan(apart) else f" ({apart:.2g} apart)")
            for name, (found, own, apart) in (self.differences or {}).items()
        ]
        return f"trial {self.trial} is the first of {self.decisions} decisions to differ: {'; '.join(told)}"


def _where_apart(*texts: str) -> list[str]:
    """Long texts, such as an architecture's term, from shortly before they differ."""
    if max(map(len, texts)) <= SHOWN:
        return list(texts)
    pairs = enumerate(zip(*texts, strict=False))
    alike = next((i for i, (a, b) in pairs if a != b), min(map(len, texts)))
    begin = max(0, alike - SHOWN // 3)
    end = begin + SHOWN
    return [("..." if begin else "") + text[begin:end] + ("..." if len(text) > end else "") for text in texts]


def replay(optimizer: Any, log: Path | str) -> Replay:
    """Let a new optimizer, not yet asked for anything, decide at each point where the log's search decided.

    Raises:
        UserError: no optimizer, no such log, or a damaged one.
    """
    if isinstance(optimizer, type) or not hasattr(optimizer, "ask"):
        raise UserError(f"replay: {optimizer!r} is no optimizer; give one: replay(RandomSearch(problem, seed), log)")
    trials = triallog.read(log).trials
    optimizer = repeating(optimizer, getattr(optimizer, "problem", None))
    suggestions = {t.id: t.suggestion() for t in trials}
    history, made = History(), 0
    for trial in trials:
        while len(history.suggestions) < trial.asked:
            trial_id = len(history.suggestions)
            logged = suggestions.get(trial_id)
            if is_copy(trial):
                history.given = history.ask(trial.suggestion()) + 1
                continue
            own = optimizer.ask(history)
            if logged is not None:  # lost in flight otherwise: its place counts, its content is not known
                made += 1
                if own != logged:
                    return Replay(made, trial_id, dict(_differences(logged, own)))
            history.recall(logged or own, trial)
        history.finish(trial)
    return Replay(made)


def _differences(logged: Suggestion, own: Suggestion | None) -> Iterator[tuple[str, tuple[Any, Any, float]]]:
    if own is None:
        yield "suggestion", (logged, None, math.nan)
        return
    for name in ("fidelity", "parent", "bracket", "rung", "final"):
        if getattr(logged, name) != getattr(own, name):
            yield name, _compared(getattr(logged, name), getattr(own, name))
    here = own.configuration
    for name in sorted(set(logged.configuration) | set(here)):
        if logged.configuration.get(name) != here.get(name):
            yield name, _compared(logged.configuration.get(name), here.get(name))


def _compared(found: Any, own: Any) -> tuple[Any, Any, float]:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (found, own))
    return found, own, abs(found - own) / (max(abs(found), abs(own)) or 1.0) if numbers else math.nan
