"""Incremental reading of growing trial logs, and their best results."""

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from jahslib.core.problem import Constraint, Objective
from jahslib.core.trials import key, mean_metrics
from jahslib.errors import UserError
from jahslib.search import logfiles
from jahslib.search.loglines import is_line, other_format
from jahslib.search.triallog import data_name
from jahslib.search.workers import SIMULATED

FOREIGN = "is no trial log"
TAIL = 256  # bytes before the current position that must be unchanged; a trial's line ends with its times


@dataclass
class Watch:
    """A trial log followed as it grows; `look` reads only what is new.

    Trials that finished before `since` (`time.time()`) are not counted; `objective` and `constraints` are by default
    those of the log's header. `statuses` counts trials by status, `full` those that succeeded at the highest fidelity;
    `best` is the objective of the best feasible one of these (by the means of repeated trainings), or NaN; `epochs` and
    `seconds` are what trials took, on a real clock; `last` is when the newest one finished, `end` the line that closed
    the search, if no trial came after it; `trouble` says what cannot be read.
    """

    path: Path
    since: float = 0.0
    objective: Objective | None = None
    constraints: tuple[Constraint, ...] | None = None

    def __post_init__(self):
        self._declared = self.objective, self.constraints
        self._start_over()

    def _start_over(self) -> None:
        self.objective, self.constraints = self._declared
        self.header: dict[str, Any] = {}
        self.end: dict[str, Any] | None = None
        self.statuses: Counter[str] = Counter()
        self.full = 0
        self._repeated: dict[str, list[dict[str, Any]]] = {}
        self._ids: set[int] = set()
        self.epochs, self.seconds, self.best, self.last, self.trouble = 0.0, 0.0, math.nan, math.nan, ""
        self._place, self._tail, self._lines, self._seen = 0, b"", 0, (-1, -1)

    @property
    def trials(self) -> int:
        """Number of trials counted, whatever their status."""
        return self.statuses.total()

    @property
    def problem(self) -> dict[str, Any]:
        """The header's description of the problem; empty before there is a header."""
        return self.header.get("fingerprint", {}).get("problem", {})

    def look(self) -> "Watch":
        """Read the lines written since the last call; a torn last line waits for the next. Returns itself."""
        try:
            now = logfiles.form(self.path).stat()
            if (now.st_size, now.st_mtime_ns) == self._seen:
                return self
            with logfiles.opened(self.path) as file:
                file.seek(self._place - len(self._tail))
                if file.read(len(self._tail)) != self._tail:  # the log was started over
                    self._start_over()
                    file.seek(0)
                self._seen = now.st_size, now.st_mtime_ns
                self._read(file)
        except FileNotFoundError:  # not started yet
            self._start_over()
        except (OSError, EOFError, zlib.error, UserError) as error:
            self.trouble = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        return self

    def _read(self, file: BinaryIO) -> None:
        for line in file:  # one at a time: a log may have 100 MB
            if self.trouble or not line.endswith(b"\n"):
                return
            self._place += len(line)
            self._tail = (self._tail + line)[-TAIL:]
            self._lines += 1
            try:
                record = json.loads(line)
                if self._lines == 1 and not (isinstance(record, dict) and record.get("kind") == "header"):
                    self.trouble = FOREIGN
                    return
                if not is_line(record, self._lines, self._lines) or record.get("id") in self._ids:
                    raise ValueError("not part of a trial log")
                self._take(record)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self.trouble = f"line {self._lines} is damaged"

    def _take(self, record: dict[str, Any]) -> None:
        match record["kind"]:
            case "header":
                self.header, self.trouble = record, other_format(record)
                self.objective = self.objective or Objective(*self.problem["objective"])
                if self.constraints is None:
                    self.constraints = tuple(map(Constraint.parse, self.problem["constraints"]))
            case "trial":
                self.end = None
                self._ids.add(record["id"])
                if record.get("finished", 0.0) >= self.since:
                    self._count(record)
            case "end":
                # an end without a trial since then belongs to the log about to be overwritten
                self.end = record if self.trials or not self.since else None

    def _count(self, trial: dict[str, Any]) -> None:
        self.statuses[trial["status"]] += 1
        self.epochs += trial.get("epochs", 0.0)
        self.seconds += trial.get("seconds", 0.0) if trial.get("worker") != SIMULATED else 0.0
        self.last = trial.get("finished", math.nan)
        metrics = trial["metrics"]
        assert self.objective is not None and self.constraints is not None
        highest = self.problem.get("fidelity", [0, math.inf])[1]
        if trial["status"] != "ok" or trial["fidelity"] < highest:
            return
        self.full += 1
        if (repeats := self.problem.get("repeats", 1)) > 1:  # as `Problem.judged`, but for the order
            group = self._repeated.setdefault(key(trial["configuration"]), [])
            group.append({name: value for name, value in metrics.items() if value is not None})
            if len(group) < repeats:
                return
            metrics = mean_metrics(group)
        if any(c.violation(metrics) for c in self.constraints):
            return
        if math.isnan(self.best) or self.objective.cost(metrics) < self.cost:
            self.best = metrics[self.objective.metric]

    @property
    def cost(self) -> float:
        """Distance of `best` to the objective's bound; infinite without a feasible trial."""
        if self.objective is None or math.isnan(self.best):
            return math.inf
        return self.objective.cost({self.objective.metric: self.best})


def best(watches: Iterable[Watch]) -> str:
    """Format the best feasible objective on each data set; empty without any.

    Values are compared where objective, data and constraints are the same. Of several sets of constraints on one data
    set, that of most searches counts. Neither trainings on a test split count, nor a given list beside searches.
    """
    found = [w for w in watches if w.full and w.problem.get("split") != "test"]
    optimizers = [w.header["fingerprint"].get("optimizer", {}).get("name") for w in found]
    found = [w for w, name in zip(found, optimizers, strict=True) if name != "Listed"] or found
    groups: dict[tuple, list[Watch]] = {}
    for w in found:
        groups.setdefault((w.objective, data_name(w.problem), w.constraints), []).append(w)
    chosen: dict[tuple, list[Watch]] = {}
    for (objective, data, _), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        chosen.setdefault((objective, data), group)
    parts: dict[str, list[str]] = {}
    for (objective, data), group in chosen.items():
        value = min(group, key=lambda w: w.cost).best
        shown = "none feasible" if math.isnan(value) else f"{value:.4g}"
        parts.setdefault(objective.metric, []).append(shown + (f" ({data})" if data and len(chosen) > 1 else ""))
    return "; ".join(f"{metric} {', '.join(values)}" for metric, values in parts.items())


def duration(seconds: float) -> str:
    """Format a duration: 40 s, 12 min, 2.5 h, 3 days."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"
