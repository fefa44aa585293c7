"""Searches without training: evaluations are looked up in trial logs.

    original = experiment("06_ax_bo", {"profile": "cpu"}).METHODS["rs"].problem(seed=0)
    logs = logfiles.found(paths.results("cpu", "06_ax_bo"), "logs/rs-mnist-*")
    problem = Recorded(original, logs, unknown="nearest")
    search(problem, RandomSearch(problem, 0), Budget(trials=25), "again.jsonl", seed=0)

proposes what the logged random search proposed and ends at its incumbent. Any other optimizer runs on the same 250
trials. To describe itself the original reads its data, MNIST here.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import numpy as np
from ConfigSpace import ConfigurationSpace

from jahslib.core.problem import Job, Outcome, Problem, refuse_incomplete
from jahslib.core.trials import Configuration, Trial
from jahslib.errors import EvaluationError, UserError, refuse_illegal
from jahslib.search import logfiles, triallog
from jahslib.spaces import configurations as spaces


@dataclass(frozen=True)
class Record:
    """The trials of a configuration at a fidelity: the mean of those that succeeded.

    `epochs` are those of the whole training, including the trials that it continued. `reason`: why all trials failed.
    """

    configuration: Configuration
    metrics: dict[str, float]
    epochs: float
    trials: int
    reason: str = ""


@dataclass
class Recorded(Problem):
    """A problem whose evaluations are looked up in trial logs.

    Space, fidelity, objective, constraints and what is known before training are the given problem's.

    Args:
        problem: whose trials the logs hold.
        logs: trial logs of that problem, from any optimizers; rejected and cut trials are skipped.
        unknown: treatment of a configuration without a trial at the requested fidelity.
            "refuse" stops the search: nothing is ever made up, so only proposals that were recorded can be replayed.
            "nearest" takes the trials, at that very fidelity, of the configuration at the least Euclidean distance in
            `spaces.encoded`'s unit cube (equal distances: the first by `spaces.key`). All metrics are then that
            record's, also those known before training, so that whatever a search ends at was measured as a whole. The
            landscape is piecewise constant: no search finds anything better than the best record, and refining a
            configuration gains nothing. Methods compared on it are compared on these steps, which favours those that
            wrote the logs; the distances in the trials' outputs say how coarse they are.
        ignoring: parts of `problem.describe()` in which the logs may differ from the problem: its own seed, by default,
            so that the searches of several seeds are pooled. With bounds that were searched under other values, name
            what sets them, such as ("seed", "constraints", "max_model_size").

    Several trials of one configuration at one fidelity count as their mean. A trial is charged the recorded epochs,
    less those of the stage it continues; where one of the two has no record, what the given problem's training would
    take. Curves are not replayed.

    `outputs` of a trial: `recorded_trials` (how many were averaged), `distance` (0 for a configuration with a record)
    and, for one without, `recorded` (the configuration that was looked up).

    Raises:
        UserError: no log, a log of another problem, no trial in any, or "nearest" without a ConfigurationSpace; from
            `evaluate`, under "refuse" a configuration without a record, and a fidelity without any.
    """

    problem: Problem
    logs: Iterable[Path | str] | Path | str
    unknown: Literal["refuse", "nearest"] = "refuse"
    ignoring: tuple[str, ...] = ("seed",)
    _records: dict[float, dict[str, Record]] = field(init=False, repr=False)  # fidelity -> key -> record

    def __post_init__(self):
        refuse_illegal(self, "recorded: ")
        refuse_incomplete(self.problem, computed=False)
        if self.unknown == "nearest" and not isinstance(self.problem.space, ConfigurationSpace):
            raise UserError(f"recorded: there is no distance in {self.problem.space}; use unknown='refuse'")
        self.logs = logs = logfiles.several(self.logs)
        self.name = f"recorded {self.problem.name}"
        self.space, self.fidelity = self.problem.space, self.problem.fidelity
        self.objective, self.constraints = self.problem.objective, tuple(self.problem.constraints)
        self._records = self._pooled(logs)
        self._points = {
            fidelity: np.array([self._point(record.configuration) for record in records.values()])
            for fidelity, records in self._records.items()
            if self.unknown == "nearest"
        }

    def known(self, configuration: Configuration) -> dict[str, float]:
        return self.problem.known(configuration)

    def epochs(self, stages: tuple[float, ...]) -> float:
        return self.problem.epochs(stages)

    def describe(self) -> dict[str, Any]:
        content = [
            [fidelity, key, record.metrics, record.epochs, record.reason]
            for fidelity, records in sorted(self._records.items())
            for key, record in records.items()
        ]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        return {**self.problem.describe(), "name": self.name, "unknown": self.unknown, "records": digest}

    def evaluate(self, job: Job) -> Outcome:
        key = spaces.key(job.configuration)
        epochs = self._charge(job, key)
        outputs: dict[str, Any] = {"distance": 0.0}
        record = self._at(job.fidelity).get(key)
        if record is None:
            record, distance = self._nearest(job)
            outputs = {"distance": distance, "recorded": record.configuration}
        if record.reason:
            raise EvaluationError(record.reason, epochs)
        return Outcome(dict(record.metrics), epochs, outputs={"recorded_trials": record.trials, **outputs})

    def _at(self, fidelity: int) -> dict[str, Record]:
        if fidelity not in self._records:
            recorded = ", ".join(map(str, sorted(self._records)))
            raise UserError(f"{self.name}: no trial at {fidelity} epochs; the logs have some at {recorded}")
        return self._records[fidelity]

    def _nearest(self, job: Job) -> tuple[Record, float]:
        if self.unknown == "refuse":
            raise UserError(
                f"{self.name}: no trial of {spaces.key(job.configuration)} at {job.fidelity} epochs; "
                "add the log that has it, or take unknown='nearest'"
            )
        distances = np.linalg.norm(self._points[job.fidelity] - self._point(job.configuration), axis=1)
        index = int(distances.argmin())
        return list(self._records[job.fidelity].values())[index], float(distances[index])

    def _point(self, configuration: Configuration) -> np.ndarray:
        assert isinstance(self.space, ConfigurationSpace)
        return spaces.encoded(self.space, [configuration])[0]

    def _charge(self, job: Job, key: str) -> float:
        recorded = [self._records.get(stage, {}).get(key) for stage in job.stages[-2:]]
        if None in recorded:
            return self.epochs(job.stages)
        *before, now = (record.epochs for record in recorded if record is not None)
        return max(0.0, now - sum(before))

    def _comparable(self, description: dict[str, Any]) -> dict[str, Any]:
        return triallog.as_logged({name: value for name, value in description.items() if name not in self.ignoring})

    def _pooled(self, logs: list[Path]) -> dict[float, dict[str, Record]]:
        """Pool the logs' trials by fidelity and configuration, independently of the order of logs."""
        if not logs:
            raise UserError(
                "recorded: no trial logs given; run the searches first, or look for them with `logfiles.found`"
            )
        wanted = self._comparable(self.problem.describe())
        found: dict[float, dict[str, list[tuple[Trial, float]]]] = {}
        for log in logs:
            recorded = triallog.read(log)
            theirs = self._comparable(recorded.fingerprint["problem"])
            differing = [name for name in sorted({*theirs, *wanted}) if theirs.get(name) != wanted.get(name)]
            if differing:
                raise UserError(
                    f"recorded: {log} is of another problem; differs in {', '.join(differing[:4])}"
                    f"{' and more' if len(differing) > 4 else ''}; give logs of {wanted['name']} as it is set up here, "
                    "or name in `ignoring` what may differ"
                )
            whole: dict[int | None, float] = {None: 0.0}  # trial -> epochs, with those of all that it continued
            for trial in recorded.trials:
                whole[trial.id] = trial.epochs + whole[trial.parent]
                if trial.status in ("ok", "failed"):
                    of_fidelity = found.setdefault(trial.fidelity, {})
                    of_fidelity.setdefault(spaces.key(trial.configuration), []).append((trial, whole[trial.id]))
        if not found:
            raise UserError(f"recorded: no finished trial in {logs[0]}{' and the other logs' if len(logs) > 1 else ''}")
        return {
            fidelity: {key: _record(trials) for key, trials in sorted(by_key.items())}
            for fidelity, by_key in sorted(found.items())
        }


def _record(trials: list[tuple[Trial, float]]) -> Record:
    good = [(trial, epochs) for trial, epochs in trials if trial.status == "ok"]
    configuration = trials[0][0].configuration
    if not good:
        return Record(configuration, {}, float(mean(epochs for _, epochs in trials)), len(trials), trials[0][0].reason)
    names = sorted({name for trial, _ in good for name in trial.metrics})
    metrics = {name: float(mean(t.metrics[name] for t, _ in good if name in t.metrics)) for name in names}
    return Record(configuration, metrics, float(mean(epochs for _, epochs in good)), len(good))
