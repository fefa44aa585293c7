"""Estimate of a notebook's training time on this CPU, from the trials logged so far."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jahslib import paths
from jahslib.experiments.notebook import experiment, is_described
from jahslib.search import logfiles
from jahslib.search.runs import is_done, size
from jahslib.search.watch import Watch


@dataclass(frozen=True)
class Cost:
    """Remaining cost: sequential training `seconds`, and `epochs` of unknown rate beside them."""

    seconds: float = 0.0
    epochs: float = 0.0


def left(notebook: str | Path, parameters: Mapping[str, Any]) -> Cost:
    """Estimate what remains of the runs that a notebook, by path or name, has planned, without final trainings.

    A rate is that of the same problem's trials in this profile or, before there are any, in the cpu profile: trainings
    of fewer images there, so that it is too low rather than too high.
    """
    name = Path(notebook).stem
    if not is_described(notebook):
        return Cost()
    found = rates("cpu", name) | rates(parameters["profile"], name)
    seconds = epochs = 0.0
    for run in experiment(notebook, parameters).study.planned:
        watch = Watch(run.log).look()
        if is_done(run, watch):
            continue
        more = max(0.0, size(run) - watch.epochs)
        limit = math.inf if run.budget.seconds is None else run.budget.seconds
        rate = found.get(run.problem.name)
        if rate is not None and math.isfinite(more * rate):
            seconds += min(more * rate, limit)
        elif math.isfinite(limit):
            seconds += limit
        elif math.isfinite(more):
            epochs += more
    return Cost(seconds, epochs)


def rates(profile: str, notebook: str) -> dict[str, float]:
    """Compute seconds per epoch by the problem's name, over the trials trained on a CPU."""
    seconds: Counter[str] = Counter()
    epochs: Counter[str] = Counter()
    for log in logfiles.found(paths.results(profile, notebook), "logs/*"):
        watch = Watch(log).look()
        if watch.seconds and str(watch.header.get("device", "")).startswith("cpu"):  # none where they were simulated
            name = watch.problem.get("name", "")
            seconds[name] += watch.seconds
            epochs[name] += watch.epochs
    return {name: seconds[name] / epochs[name] for name in epochs if epochs[name] > 0}
